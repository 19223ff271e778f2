"""The traffic split, as requests see it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.routing import Route, Routes

ENDPOINT = f"projects/{project_number('p')}/locations/us-central1/endpoints/1"


def route(number: int, starting: Future[None] | None = None) -> Route:
    return Route(f"key-{number}", str(number), "models/1", "mnist", "1", starting=starting)


@st.composite
def splits(draw: st.DrawFn) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=5)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, 100], strict=True)]


@given(splits(), st.integers(0, 250))
def test_over_any_100_requests_in_a_row_the_split_is_honoured_exactly(split: list[int], skipped: int) -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(number), percent) for number, percent in enumerate(split)])
    for _ in range(skipped):
        routes.pick(ENDPOINT)
    picked = Counter(routes.pick(ENDPOINT).deployed_model_id for _ in range(100))
    assert picked == Counter({str(number): percent for number, percent in enumerate(split) if percent})


def test_asking_whether_an_endpoint_is_dedicated_takes_nobodys_turn() -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(replace(route(1), dedicated=True), 50), (replace(route(2), dedicated=True), 50)])
    first = routes.pick(ENDPOINT)
    assert routes.is_dedicated(ENDPOINT)
    assert routes.pick(ENDPOINT) != first
    with pytest.raises(ApiError) as missing:
        routes.is_dedicated(f"{ENDPOINT}1")
    assert missing.value.code is Code.NOT_FOUND


def test_turns_are_spread_evenly() -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(1), 90), (route(2), 10)])
    turns = [routes.pick(ENDPOINT).deployed_model_id for _ in range(100)]
    canaries = [position for position, who in enumerate(turns) if who == "2"]
    assert {after - before for before, after in itertools.pairwise(canaries)} == {10}


def test_threads_share_the_turns_exactly() -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(1), 37), (route(2), 63)])
    picked: list[str] = []

    def ask() -> None:
        picked.extend([routes.pick(ENDPOINT).deployed_model_id for _ in range(1000)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(picked) == {"1": 2960, "2": 5040}


def test_an_endpoint_is_found_by_project_id_and_by_number() -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(1), 100)])
    assert routes.pick("projects/p/locations/us-central1/endpoints/1") is routes.pick(ENDPOINT)


def test_without_traffic_there_is_no_route() -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(1), 0)])
    with pytest.raises(ApiError, match=r"doesn't have traffic_split\.") as error:
        routes.pick(ENDPOINT)
    assert error.value.code is Code.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("projects/p/locations/us-central1/endpoints/2", Code.NOT_FOUND),
        ("projects/p/locations/us-central1/models/1", Code.INVALID_ARGUMENT),
        ("endpoints/1", Code.INVALID_ARGUMENT),
        ("", Code.INVALID_ARGUMENT),
    ],
)
def test_a_name_without_an_endpoint_is_refused(name: str, code: Code) -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(1), 100)])
    with pytest.raises(ApiError) as error:
        routes.pick(name)
    assert error.value.code is code


def test_a_renamed_model_is_told_by_its_new_name_and_takes_no_other_turns() -> None:
    routes = Routes()
    other = replace(route(2), model_name="models/2")
    routes.set(ENDPOINT, [(route(1), 50), (other, 50)])
    first = routes.pick(ENDPOINT)
    routes.rename_model("models/1", "digits")
    second = routes.pick(ENDPOINT)
    assert {first.deployed_model_id, second.deployed_model_id} == {"1", "2"}
    names = {
        one.deployed_model_id: one.model_display_name
        for one in (routes.pick(ENDPOINT), routes.pick(ENDPOINT))
    }
    assert names == {"1": "digits", "2": "mnist"}


def test_a_removed_endpoint_is_not_found() -> None:
    routes = Routes()
    routes.set(ENDPOINT, [(route(1), 100)])
    routes.remove(ENDPOINT)
    with pytest.raises(ApiError) as error:
        routes.pick(ENDPOINT)
    assert error.value.code is Code.NOT_FOUND


def test_a_prediction_waits_for_a_deployment_that_is_coming_back() -> None:
    starting: Future[None] = Future()

    async def waits() -> bool:
        waiting = asyncio.create_task(route(1, starting).up())
        await asyncio.sleep(0)
        before = waiting.done()
        starting.set_result(None)
        await waiting
        return before

    assert asyncio.run(waits()) is False


def test_a_deployment_that_does_not_come_back_is_unavailable() -> None:
    failed: Future[None] = Future()
    failed.set_exception(ApiError(Code.UNAVAILABLE, "out of memory"))
    with pytest.raises(ApiError, match="out of memory"):
        asyncio.run(route(1, failed).up())
    never: Future[None] = Future()
    with pytest.raises(ApiError, match="still starting") as error:
        asyncio.run(route(1, never).up(timeout=0.01))
    assert error.value.code is Code.UNAVAILABLE
    # Those that wait longer still get their answer.
    assert not never.cancelled()
