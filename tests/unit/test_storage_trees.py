"""What of a folder is uploaded: everything, or a word about what cannot be."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from vertexkit._transfer.content import read_whole
from vertexkit._transfer.local_tree import read_tree


def names(folder: Path, pattern: str = "**/*", prefix: str = "p/") -> list[str]:
    return [file.relative for file in read_tree(folder, pattern, prefix).files]


def failures(folder: Path, pattern: str = "**/*", prefix: str = "p/") -> dict[str, str]:
    return {Path(path).name: why for path, why in read_tree(folder, pattern, prefix).failures.items()}


def make(folder: Path, *relatives: str) -> None:
    for relative in relatives:
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(relative)


def test_hidden_empty_and_nested_files_are_all_found_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b", ".hidden", "a/.x/y", "a/z", "A")
    (tmp_path / "empty").touch()
    (tmp_path / "no files").mkdir()
    tree = read_tree(tmp_path, "**/*", "")
    assert [file.relative for file in tree.files] == [".hidden", "A", "a/.x/y", "a/z", "b", "empty"]
    assert [file.size for file in tree.files if file.relative == "empty"] == [0]
    assert tree.failures == {}


def test_a_pattern_leaves_out_the_rest(tmp_path: Path) -> None:
    make(tmp_path, "a.pb", "b.txt", "deep/c.pb")
    assert names(tmp_path, "*.pb") == ["a.pb"]
    assert names(tmp_path, "**/*.pb") == ["a.pb", "deep/c.pb"]


def test_links_to_files_and_folders_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make(outside, "blob", "more/x")
    folder = tmp_path / "folder"
    make(folder, "a")
    (folder / "link").symlink_to(outside / "blob")
    (folder / "linked").symlink_to(outside / "more", target_is_directory=True)
    tree = read_tree(folder, "**/*", "")
    assert [(file.relative, file.size) for file in tree.files] == [("a", 1), ("link", 4), ("linked/x", 6)]


def test_a_link_to_a_folder_around_it_is_a_failure_and_not_endless(tmp_path: Path) -> None:
    make(tmp_path, "a/b")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to("self")
    tree = read_tree(tmp_path, "**/*", "")
    assert [file.relative for file in tree.files] == ["a/b"]
    found = failures(tmp_path)
    assert "no end" in found["up"]
    assert "self" in found


def test_two_links_to_one_folder_are_no_loop(tmp_path: Path) -> None:
    make(tmp_path, "data/x")
    (tmp_path / "one").symlink_to("data", target_is_directory=True)
    (tmp_path / "two").symlink_to("data", target_is_directory=True)
    assert names(tmp_path) == ["data/x", "one/x", "two/x"]


def test_a_link_to_nothing_is_a_failure_unless_it_is_not_wanted(tmp_path: Path) -> None:
    make(tmp_path, "a.pb")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    assert failures(tmp_path) == {"broken.txt": "is a link to nothing"}
    assert failures(tmp_path, "*.pb") == {}


def test_pipes_and_sockets_are_failures_and_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # A socket's path is short, and pytest's are long.
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
            found = failures(tmp_path)
    finally:
        os.chdir(here)
    assert set(found) == {"pipe", "socket"}
    assert all("not a file" in why for why in found.values())


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems keep names in UTF-8")
def test_a_name_that_is_not_utf8_is_a_failure_that_can_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).write_text("x")
    make(tmp_path, "good")
    tree = read_tree(tmp_path, "**/*", "")
    assert [file.relative for file in tree.files] == ["good"]
    ((path, why),) = tree.failures.items()
    assert path.endswith(r"caf\xe9")
    assert path.encode()
    assert "UTF-8" in why


def test_a_name_too_long_with_its_prefix_is_a_failure(tmp_path: Path) -> None:
    make(tmp_path, "a" * 200, "b")
    tree = read_tree(tmp_path, "**/*", "p" * 900 + "/")
    assert [file.relative for file in tree.files] == ["b"]
    assert "at most 1024" in next(iter(tree.failures.values()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    make(tmp_path, "closed/x", "open/y")
    (tmp_path / "closed").chmod(0)
    try:
        assert names(tmp_path) == ["open/y"]
        assert failures(tmp_path) == {"closed": "Permission denied"}
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_what_vertexkit_itself_left_of_a_download_is_no_file_of_the_folders(tmp_path: Path) -> None:
    make(tmp_path, ".vertexkit-0123.part", "real.part", ".vertexkit-notes")
    assert names(tmp_path) == [".vertexkit-notes", "real.part"]


def test_a_file_that_changes_while_it_is_read_is_never_sent_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"x" * 10)
    statuses = []
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if status.st_size < 13:
            # A writer between the two looks that are taken at the file.
            with path.open("ab") as file:
                file.write(b"y")
        statuses.append(status.st_size)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    data = read_whole(path)
    assert data == b"x" * 10 + b"y" * 3
    assert len(statuses) > 2


def test_a_file_that_never_holds_still_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x")
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        with path.open("ab") as file:
            file.write(b"y")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(OSError, match="changed while it was read"):
        read_whole(path)
