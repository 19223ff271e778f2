"""A folder to mount at, which nobody finds once it is of no use."""

from __future__ import annotations

import threading
from pathlib import Path

from vertexkit.emulator.jobs.mount_point import MountPoint


def test_it_is_there_as_long_as_one_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "hypertune"
    first, second = MountPoint(folder), MountPoint(folder)
    first.hold()
    first.hold()
    second.hold()
    assert folder.is_dir()
    first.release()
    assert folder.is_dir()
    second.release()
    assert not folder.exists()
    second.release()
    first.hold()
    assert folder.is_dir()
    first.release()


def test_what_somebody_keeps_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    point = MountPoint(tmp_path)
    point.hold()
    point.release()
    assert (tmp_path / "mine").exists()


def test_where_it_cannot_be_nothing_is_held(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    point = MountPoint(tmp_path / "file")
    point.hold()
    point.release()
    assert (tmp_path / "file").exists()


def test_a_link_that_leads_nowhere_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    point = MountPoint(tmp_path / "link")
    point.hold()
    point.release()
    assert not (tmp_path / "nowhere").exists()


def test_who_holds_it_finds_it_whatever_others_do(tmp_path: Path) -> None:
    folder = tmp_path / "hypertune"
    missing = []

    def use() -> None:
        point = MountPoint(folder)
        for _ in range(60):
            point.hold()
            if not folder.is_dir():
                missing.append(1)
            point.release()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not missing
    assert not folder.exists()
