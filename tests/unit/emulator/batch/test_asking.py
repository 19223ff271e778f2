"""Instances refused, unanswered or answered wrongly: the good ones are answered all the same."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_memory import (
    ANY_FOLDER,
    JSON,
    A,
    Flaky,
    Model,
    Objects,
    answer,
    bytes_of,
    errors,
    fresh,
    results,
    spec,
)
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.batch.asking import Patience
from vertexkit.emulator.batch.run import BatchRun
from vertexkit.emulator.batch.types import (
    Answer,
    BatchFailed,
    NoAnswer,
)


@ANY_FOLDER
@given(
    instances=st.lists(JSON | st.just({"bad": 1}), max_size=20),
    batch_size=st.integers(1, 9),
    what_fails=st.sampled_from(["nothing", "503", "500", "no answer"]),
    every=st.integers(2, 4),
)
def test_every_good_instance_is_answered_and_every_bad_one_listed(
    tmp_path: Path, instances: list[Any], batch_size: int, what_fails: str, every: int
) -> None:
    model = Model(refuses=lambda instance: instance == {"bad": 1})
    trouble: dict[str, Answer | NoAnswer] = {
        "503": Answer(503, b"busy"),
        "500": Answer(500, b"broken"),
        "no answer": NoAnswer("killed"),
    }
    predict = Flaky(model, every, trouble[what_fails]) if what_fails in trouble else model
    what, sources = spec([A], batch_size=batch_size, in_flight=1), Objects({A: bytes_of(instances)})
    came = answer(what, sources, fresh(tmp_path), predict, Patience((0.0, 0.0, 0.0)))
    good = [one for one in instances if one != {"bad": 1}]
    assert results(came) == [{"instance": one, "prediction": [one]} for one in good]
    assert [error["instance"] for error in errors(came)] == [{"bad": 1}] * (len(instances) - len(good))


def test_a_prediction_that_is_not_finite_stays_so(tmp_path: Path) -> None:
    def predict(body: bytes) -> Answer:
        return Answer(200, b'{"predictions":[[NaN,0.5],[1.0,-Infinity]]}')

    came = answer(spec([A]), Objects({A: b"1\n2"}), tmp_path, predict)
    assert came.results[0].read_bytes() == (
        b'{"instance":1,"prediction":[NaN,0.5]}\n{"instance":2,"prediction":[1.0,-Infinity]}\n'
    )


@pytest.mark.parametrize("reply", [b'{"predictions":[[1,2]]}', b'{"predictions":7}', b"hm", b"[]"])
def test_a_reply_without_a_prediction_for_every_instance_fails_those_alone(
    tmp_path: Path, reply: bytes
) -> None:
    def predict(body: bytes) -> Answer:
        return Answer(200, reply) if b"9" in body else Model()(body)

    came = answer(spec([A]), Objects({A: b"1\n2\n9\n4"}), tmp_path, predict)
    if reply == b'{"predictions":[[1,2]]}':
        # For one instance, that is one prediction.
        assert [line["instance"] for line in results(came)] == [1, 2, 9, 4]
    else:
        assert [line["instance"] for line in results(came)] == [1, 2, 4]
        assert "The model's reply" in errors(came)[0]["error"]["message"]


@pytest.mark.parametrize(("bad", "most"), [((17,), 1 + 3 * 4), (range(64), 1 + 4 + 16 + 64), ((), 1)])
def test_a_bad_instance_is_found_with_few_requests(tmp_path: Path, bad: Sequence[int], most: int) -> None:
    model = Model(refuses=lambda instance: instance in bad)
    came = answer(spec([A]), Objects({A: bytes_of(list(range(64)))}), tmp_path, model)
    assert [error["instance"] for error in errors(came)] == list(bad)
    assert len(model.bodies) == most


def test_an_instance_that_kills_every_replica_is_found_and_listed(tmp_path: Path) -> None:
    def predict(body: bytes) -> Answer:
        if b"13" in body:
            raise NoAnswer("the replica died")
        return Model()(body)

    content = bytes_of(list(range(20)))
    came = answer(spec([A], in_flight=1), Objects({A: content}), tmp_path, predict)
    assert came.progress.succeeded == 19
    (error,) = errors(came)
    assert (error["instance"], error["error"]["code"]) == (13, 14)
    assert error["error"]["message"] == f"{A}, line 14: the replica died"


def test_an_instance_that_kills_every_replica_takes_no_other_with_it(tmp_path: Path) -> None:
    lock, deaths = threading.Lock(), 0

    def predict(body: bytes) -> Answer:
        nonlocal deaths
        before = deaths
        threading.Event().wait(0.005)
        with lock:
            deaths += b"13" in body
            if deaths > before:
                # All that the replica was asked goes with it.
                raise NoAnswer("the replica died")
        return Model()(body)

    what = spec([A], batch_size=4, in_flight=4)
    came = answer(what, Objects({A: bytes_of(list(range(60)))}), tmp_path, predict)
    assert [line["instance"] for line in results(came)] == [one for one in range(60) if one != 13]
    assert [line["instance"] for line in errors(came)] == [13]


def test_without_any_replica_it_is_given_up_and_can_go_on_later(tmp_path: Path) -> None:
    def predict(body: bytes) -> Answer:
        raise NoAnswer("none is up")

    what, sources = spec([A], batch_size=10), Objects({A: bytes_of(list(range(100)))})
    for patience in (Patience((0.0,), unanswered=5), Patience((0.01,) * 999, seconds=0.1)):
        run = BatchRun(what, sources, predict, tmp_path, patience=patience)
        with pytest.raises(BatchFailed, match=r"answered the last \d+ requests, in \d+ s: none is up"):
            run.run(threading.Event())
        assert run.progress.failed == 0
    assert len(results(answer(what, sources, tmp_path))) == 100


def test_an_error_that_stays_costs_patience_once(tmp_path: Path) -> None:
    asked = []

    def predict(body: bytes) -> Answer:
        asked.append(body)
        return Answer(500, b'{"error": "boom"}') if b'"bad"' in body else Model()(body)

    content = bytes_of(["bad", 1, 2, 3] * 10)
    what = spec([A], batch_size=4, in_flight=1)
    came = answer(what, Objects({A: content}), tmp_path, predict, Patience((0.0,) * 8))
    assert (came.progress.succeeded, came.progress.failed) == (30, 10)
    assert errors(came)[0]["error"] == {"code": 13, "message": f"{A}, line 1: boom"}
    assert len(asked) == 8 + 10 * 5


def test_waiting_for_a_replica_ends_when_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()

    def predict(body: bytes) -> Answer:
        cancelled.set()
        raise NoAnswer("none")

    run = BatchRun(spec([A]), Objects({A: b"1"}), predict, tmp_path, patience=Patience((600.0,)))
    assert not run.run(cancelled).complete


def test_what_is_too_much_at_once_is_asked_for_in_parts(tmp_path: Path) -> None:
    asked = []

    def predict(body: bytes) -> Answer:
        asked.append(body)
        return Answer(429, b"OOM") if body.count(b",") >= 3 else Model()(body)

    impatient = Patience(delays=(600.0,))
    what = spec([A], batch_size=8, in_flight=1)
    came = answer(what, Objects({A: bytes_of([0] * 16)}), tmp_path, predict, impatient)
    assert came.progress.succeeded == 16
    assert len(asked) == 2 * 5
