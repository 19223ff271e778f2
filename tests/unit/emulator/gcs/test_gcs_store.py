"""The store: any name, any order of doing things, nothing outside its folder."""

import os
import threading
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vertexkit._core.names import object_name_problem
from vertexkit.emulator.gcs.checksums import decode_crc32c
from vertexkit.emulator.gcs.conditions import Conditions
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.listing import Query
from vertexkit.emulator.gcs.store import ObjectStore

ANY_NAME = st.text(
    alphabet=st.characters(codec="utf-8") | st.sampled_from("/.ab"), min_size=1, max_size=80
).filter(lambda name: object_name_problem(name) is None)
CLASHING_NAME = st.lists(st.sampled_from(["a", "b", "", "..", "a-", "a0"]), min_size=1, max_size=4).map(
    "/".join
)
CLASHING_NAME = CLASHING_NAME.filter(lambda name: object_name_problem(name) is None)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=ANY_NAME | st.text(alphabet="./", min_size=1, max_size=10), content=st.binary(max_size=100))
def test_any_name_that_the_api_takes_comes_and_goes(
    store: ObjectStore, tmp_path: Path, name: str, content: bytes
) -> None:
    if object_name_problem(name) is not None:
        return
    info = store.write("bucket", name, content)
    assert (info.name, info.size) == (name, len(content))
    assert store.read("bucket", name) == content
    assert [listed.name for listed in store.list("bucket")] == [name]
    assert [listed.name for listed in store.list("bucket", name)] == [name]
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    store.delete("bucket", name)
    assert list(store.list("bucket")) == []
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert {path.name.partition("-")[0] for path in left} <= {"gcs.sqlite"}


class StoreMachine(RuleBasedStateMachine):
    """The store against a dict, with files that come and go behind its back."""

    root: Path

    @initialize(number=st.integers(0, 2**64))
    def open(self, number: int) -> None:
        self.data = self.root / f"{number}-{os.urandom(4).hex()}"
        self.store = ObjectStore(self.data)
        self.store.create_bucket("bucket", "project")
        self.model: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}

    @rule(name=CLASHING_NAME, content=st.binary(max_size=8))
    def write(self, name: str, content: bytes) -> None:
        info = self.store.write("bucket", name, content)
        assert info.generation > self.generations.get(name, 0)
        assert decode_crc32c(info.crc32c or "") == google_crc32c.value(content)
        self.generations[name] = info.generation
        self.model[name] = content

    @rule(name=CLASHING_NAME)
    def create(self, name: str) -> None:
        try:
            self.store.write("bucket", name, b"new", conditions=Conditions(generation_match=0))
        except StorageError as error:
            assert error.status == 412
            assert name in self.model
        else:
            assert name not in self.model
            self.model[name] = b"new"

    @rule(name=CLASHING_NAME)
    def delete(self, name: str) -> None:
        try:
            self.store.delete("bucket", name)
        except StorageError as error:
            assert error.status == 404
            assert name not in self.model
        else:
            del self.model[name]

    @rule(source=CLASHING_NAME, to=CLASHING_NAME)
    def move(self, source: str, to: str) -> None:
        try:
            self.store.move("bucket", source, to)
        except StorageError as error:
            assert error.status == (400 if source in self.model else 404)
            assert source == to or source not in self.model
        else:
            self.model[to] = self.model.pop(source)

    @rule(name=st.sampled_from(["a", "a/a", "b/b", "a/b/a"]), content=st.binary(max_size=8))
    def write_from_outside(self, name: str, content: bytes) -> None:
        path = self.data / "gcs" / "bucket" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:
            return
        self.model[name] = content

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = ObjectStore(self.data)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        assert [info.name for info in self.store.list("bucket")] == sorted(self.model)
        for name, content in self.model.items():
            assert self.store.read("bucket", name) == content
            info = self.store.find("bucket", name)
            assert info is not None
            assert decode_crc32c(self.store.with_crc32c(info).crc32c or "") == google_crc32c.value(content)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_the_store_agrees_with_a_dict(tmp_path: Path) -> None:
    machine = type("Machine", (StoreMachine,), {"root": tmp_path})
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )


@given(
    names=st.sets(CLASHING_NAME, max_size=25),
    prefix=st.sampled_from(["", "a", "a/", "a/a", "b/", "/", "a-"]),
    delimiter=st.sampled_from(["", "/", "a", "//"]),
    start=CLASHING_NAME | st.just(""),
    end=CLASHING_NAME | st.just(""),
    limit=st.integers(1, 5),
    trailing=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_pages_add_up_to_what_the_documentation_says(
    tmp_path_factory: pytest.TempPathFactory,
    names: set[str],
    prefix: str,
    delimiter: str,
    start: str,
    end: str,
    limit: int,
    trailing: bool,
) -> None:
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    try:
        store.create_bucket("bucket", "project")
        for name in names:
            store.write("bucket", name, b"")
        items: list[str] = []
        prefixes: list[str] = []
        following: str | None = start
        while following is not None:
            query = Query(prefix, delimiter, following, end, limit, trailing)
            page = store.page("bucket", query)
            assert len(page.items) + len(page.prefixes) <= limit + trailing
            items += [info.name for info in page.items]
            prefixes += page.prefixes
            following = page.next_start
    finally:
        store.close()
    chosen = [
        name
        for name in sorted(names)
        if name.startswith(prefix) and name >= start and (not end or name < end)
    ]
    folded = {}
    for name in chosen:
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        folded[name] = None if cut < 0 else name[: cut + len(delimiter)]
    assert items == [name for name in chosen if folded[name] is None or (trailing and folded[name] == name)]
    assert prefixes == sorted({fold for fold in folded.values() if fold is not None})


def test_a_file_put_into_a_folder_whose_time_is_put_back_is_listed(store: ObjectStore) -> None:
    store.write("bucket", "a", b"x")
    folder = Path(store.uploads_dir).parent / "gcs" / "bucket"
    while [info.name for info in store.list("bucket")] == ["a"] and not store._lister._kept:
        os.sched_yield()  # until the folder has stood still for long enough to be remembered
    before = folder.stat()
    (folder / "b").write_bytes(b"x")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [info.name for info in store.list("bucket")] == ["a", "b"]


def test_a_tree_is_copied_as_files(store: ObjectStore, tmp_path: Path) -> None:
    for name in ("model/a", "model/b/c", "model/empty/", "modelling/not"):
        store.write("bucket", name, name.encode() if not name.endswith("/") else b"")
    assert store.copy_tree("bucket", "model", tmp_path / "copy") == 2
    assert (tmp_path / "copy" / "b" / "c").read_bytes() == b"model/b/c"
    assert store.copy_tree("bucket", "model/", tmp_path / "again") == 2
    assert store.copy_tree("bucket", "nothing", tmp_path / "none") == 0


@pytest.mark.parametrize("name", ["model/../../up", "model//slash", "model/a/../b"])
def test_a_tree_that_would_leave_its_folder_is_refused(store: ObjectStore, tmp_path: Path, name: str) -> None:
    store.write("bucket", name, b"x")
    with pytest.raises(StorageError, match="no place"):
        store.copy_tree("bucket", "model", tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_many_threads_write_and_read_at_once(store: ObjectStore) -> None:
    failures = []

    def work(number: int) -> None:
        try:
            for turn in range(50):
                content = f"{number} {turn}".encode()
                store.write("bucket", f"own/{number}", content)
                assert store.read("bucket", f"own/{number}") == content
                store.write("bucket", "shared/name", content)
                assert b" " in store.read("bucket", "shared/name")
                for info in store.list("bucket"):
                    assert info.known, "one of our own files was taken for one from outside"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len([*store.list("bucket", "own")]) == 4


def test_a_reader_keeps_what_it_opened(store: ObjectStore) -> None:
    store.write("bucket", "a", b"before")
    info, fd = store.open("bucket", "a")
    store.write("bucket", "a", b"after")
    store.delete("bucket", "a")
    assert os.read(fd, 100) == b"before"
    assert info.size == 6
    os.close(fd)
