"""Resources: durable, in pages, with etags, in transactions."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.store import Kind, PageRequest, Store, check_etag

MODEL = types.Model.pb()
MODELS = Kind("models", MODEL, "Model")
PARENT = "projects/1/locations/us-central1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "vertex.sqlite")
    yield opened
    opened.close()


def insert(store: Store, number: int, display_name: str = "mnist", parent: str = PARENT) -> Any:
    model = MODEL(name=f"{parent}/models/{number}", display_name=display_name)
    store.insert(MODELS, parent, model)
    return model


def numbers(models: list[Any]) -> list[int]:
    return [int(model.name.rpartition("/")[2]) for model in models]


def every_page(store: Store, size: int, **request: Any) -> list[list[int]]:
    pages, token = [], ""
    while True:
        found, token = store.page(MODELS, PARENT, PageRequest(size, token, **request))
        pages.append(numbers(found))
        if not token:
            return pages


def test_what_is_kept_is_found_again_after_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path / "vertex.sqlite")
    kept = insert(first, 1)
    first.close()
    second = Store(tmp_path / "vertex.sqlite")
    assert second.get(MODELS, kept.name) == kept
    second.close()


def test_an_acknowledged_write_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "vertex.sqlite"
    script = f"""
from google.cloud.aiplatform_v1 import types
from pathlib import Path
from vertexkit.emulator.store import Kind, Store
store, number = Store(Path({str(path)!r})), 0
while True:
    number += 1
    model = types.Model.pb()(name="{PARENT}/models/%d" % number)
    store.insert(Kind("models", types.Model.pb(), "Model"), "{PARENT}", model)
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [
            int(line) for line in writer.stdout.read().splitlines(keepends=True) if line[-1] == "\n"
        ]
    reopened = Store(path)
    assert set(acknowledged) <= set(numbers(reopened.all(MODELS)))
    reopened.close()


def test_a_name_is_given_once(store: Store) -> None:
    insert(store, 1)
    with pytest.raises(ApiError, match=r"The Model .*/models/1 already exists\.") as error:
        insert(store, 1)
    assert error.value.code is Code.ALREADY_EXISTS


def test_what_is_not_there_is_not_found(store: Store) -> None:
    missing = MODEL(name=f"{PARENT}/models/1")
    assert store.find(MODELS, missing.name) is None
    for ask in (
        lambda: store.get(MODELS, missing.name),
        lambda: store.delete(MODELS, missing.name),
        lambda: store.replace(MODELS, missing),
    ):
        with pytest.raises(ApiError) as error:
            ask()
        assert error.value.code is Code.NOT_FOUND


def test_an_update_renews_etag_and_update_time_but_not_create_time(store: Store) -> None:
    created = insert(store, 1)
    changed = store.get(MODELS, created.name)
    store.replace(MODELS, changed)
    assert changed.etag != created.etag
    assert changed.update_time.ToNanoseconds() > created.update_time.ToNanoseconds()
    assert changed.create_time == created.create_time
    store.replace(MODELS, changed, touch=False)
    assert store.get(MODELS, created.name) == changed


def test_only_the_current_etag_lets_a_change_through(store: Store) -> None:
    model = insert(store, 1)
    check_etag(model, model.etag)
    check_etag(model, "")
    with pytest.raises(ApiError, match="has been changed since it was read") as error:
        check_etag(model, "AMEwstale")
    assert error.value.code is Code.ABORTED


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        insert(store, 1)
        with store.transaction():
            insert(store, 2)
        raise RuntimeError
    assert store.all(MODELS) == []


def test_an_inner_failure_that_is_dealt_with_does_not_undo_the_transaction(store: Store) -> None:
    with store.transaction():
        insert(store, 1)
        with pytest.raises(ApiError):
            insert(store, 1)
    assert numbers(store.all(MODELS)) == [1]


def test_concurrent_updates_are_one_after_another(store: Store) -> None:
    name = insert(store, 1, "0").name

    def count() -> None:
        for _ in range(50):
            with store.transaction():
                model = store.get(MODELS, name)
                model.display_name = str(int(model.display_name) + 1)
                store.replace(MODELS, model)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(MODELS, name).display_name == "400"


def test_pages_are_newest_first_and_hold_everything_once(store: Store) -> None:
    for number in range(7):
        insert(store, number)
    insert(store, 99, parent="projects/2/locations/us-central1")
    assert every_page(store, 3) == [[6, 5, 4], [3, 2, 1], [0]]
    assert every_page(store, 7) == [[6, 5, 4, 3, 2, 1, 0]]


def test_pages_can_be_ordered_by_several_fields(store: Store) -> None:
    for number, name in enumerate(["b", "a", "b", "a", "c"]):
        insert(store, number, name)
    order = [("display_name", False), ("create_time", True)]
    assert every_page(store, 2, order_by=order) == [[3, 1], [2, 0], [4]]
    assert every_page(store, 2, order_by=[("display_name", True)]) == [[4, 2], [0, 3], [1]]


def test_what_is_created_and_deleted_between_two_pages_shifts_nothing(store: Store) -> None:
    for number in range(6):
        insert(store, number)
    first, token = store.page(MODELS, PARENT, PageRequest(2))
    insert(store, 6)
    store.delete(MODELS, first[1].name)
    store.delete(MODELS, f"{PARENT}/models/2")
    rest, _ = store.page(MODELS, PARENT, PageRequest(10, token))
    assert numbers(first) + numbers(rest) == [5, 4, 3, 1, 0]


def test_a_filter_fills_pages_and_the_last_page_has_no_token(store: Store) -> None:
    for number in range(1200):
        insert(store, number, "even" if number % 2 == 0 else "odd")
    pages, token = [], ""
    while True:
        found, token = store.page(
            MODELS, PARENT, PageRequest(200, token), matches=lambda model: model.display_name == "even"
        )
        pages.append(numbers(found))
        if not token:
            break
    assert [len(page) for page in pages] == [200, 200, 200]
    assert [number for page in pages for number in page] == list(range(1198, -2, -2))


def test_a_page_has_100_by_default_and_1000_at_most(store: Store) -> None:
    with store.transaction():
        for number in range(1001):
            insert(store, number)
    assert len(every_page(store, 0)[0]) == 100
    assert len(every_page(store, 5000)[0]) == 1000


@pytest.mark.parametrize("token", ["x", "é", "bm9wZQ==", "W10=", "W1tbW1tb", "bnVsbA=="])
def test_a_made_up_token_is_an_invalid_argument(store: Store, token: str) -> None:
    with pytest.raises(ApiError, match="page_token") as error:
        store.page(MODELS, PARENT, PageRequest(1, token))
    assert error.value.code is Code.INVALID_ARGUMENT


def test_a_token_of_another_list_is_an_invalid_argument(store: Store) -> None:
    insert(store, 1)
    insert(store, 2)
    _, token = store.page(MODELS, PARENT, PageRequest(1, fingerprint="model=1"))
    with pytest.raises(ApiError, match="page_token"):
        store.page(MODELS, PARENT, PageRequest(1, token, fingerprint="model=2"))
    with pytest.raises(ApiError, match="page_token"):
        store.page(MODELS, PARENT, PageRequest(1, token, order_by=[("display_name", False)]))
    with pytest.raises(ApiError, match="page_token"):
        store.page(MODELS, "projects/2/locations/us-central1", PageRequest(1, token, fingerprint="model=1"))


def test_a_negative_page_size_is_an_invalid_argument(store: Store) -> None:
    with pytest.raises(ApiError) as error:
        store.page(MODELS, PARENT, PageRequest(-1))
    assert error.value.code is Code.INVALID_ARGUMENT


def test_a_counter_never_gives_a_number_twice(tmp_path: Path) -> None:
    first = Store(tmp_path / "vertex.sqlite")
    assert [first.next_number("a"), first.next_number("a"), first.next_number("b")] == [1, 2, 1]
    first.close()
    second = Store(tmp_path / "vertex.sqlite")
    assert second.next_number("a") == 3
    second.close()
