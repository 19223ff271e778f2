"""What a keeper is started with, by what the machine allows."""

import os
import sys
from pathlib import Path

import pytest

from vertexkit.emulator.jobs import gcs_mount, keeper


class Entry:
    def __init__(self, path, link=None):
        self.path, self.name, self._link = str(path), Path(path).name, link

    def is_symlink(self):
        return self._link is not None


def test_unshare_gives_a_namespace_of_mounts_and_of_processes_and_of_nothing_else():
    command = gcs_mount.by_unshare(root=True).keeper_command("--probe")
    assert command[:7] == ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    assert command[7:] == [*keeper.COMMAND, "--probe"]
    assert keeper.COMMAND[:3] == (sys.executable, "-I", "-S")


def test_unshare_needs_a_user_namespace_without_being_root():
    wrapper = gcs_mount.by_unshare(root=False).wrapper
    assert wrapper[:3] == ("unshare", "--user", "--map-root-user")
    assert wrapper[3:] == gcs_mount.by_unshare(root=True).wrapper[1:]


def test_bubblewrap_binds_all_that_the_root_has_but_gcs_and_shows_the_buckets_there(tmp_path):
    (tmp_path / "bin").symlink_to("usr/bin")
    entries = [
        Entry("/usr"),
        Entry("/gcs"),
        Entry("/proc"),
        Entry("/etc"),
        Entry(tmp_path / "bin", "usr/bin"),
    ]
    isolation = gcs_mount.by_bubblewrap(tmp_path, entries)
    said = " ".join(isolation.wrapper)
    assert said == (
        f"bwrap --unshare-pid --as-pid-1 --die-with-parent --symlink usr/bin {tmp_path}/bin "
        "--dev-bind /etc /etc --dev-bind /usr /usr --proc /proc "
        f"--dev-bind {os.path.realpath(tmp_path)} /gcs --"
    )
    assert isolation.first and not isolation.mounts
    command = isolation.keeper_command("--probe", mounts=[["/a", "/tmp/b"]])
    assert " ".join(command).startswith(f"{said.removesuffix('--')}--dev-bind /a /tmp/b -- {sys.executable} ")


def test_a_link_that_is_not_ours_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(gcs_mount.shutil, "which", lambda name: None)
    for target in (tmp_path / "somebody's", Path("/nonexistent/mount")):
        link = tmp_path / "gcs"
        link.unlink(missing_ok=True)
        (tmp_path / "somebody's").mkdir(exist_ok=True)
        link.symlink_to(target)
        (tmp_path / "data" / "gcs").mkdir(parents=True, exist_ok=True)
        mount = gcs_mount.GcsMount(tmp_path / "data" / "gcs", mount_point=link)
        assert mount.isolation() is gcs_mount.BY_NOTHING
        mount.close()
        assert link.readlink() == target


@pytest.mark.parametrize("answer", [b"", b"gcs 1 2\n", b"unshare: unshare failed: Operation not permitted\n"])
def test_what_does_not_show_our_folder_is_not_used(tmp_path, monkeypatch, answer):
    class Done:
        stdout, stderr = answer, b"why"

    monkeypatch.setattr(gcs_mount.shutil, "which", lambda name: name)
    tried = []
    monkeypatch.setattr(
        gcs_mount.subprocess, "run", lambda command, **more: tried.append(command[0]) or Done()
    )
    (tmp_path / "data" / "gcs").mkdir(parents=True)
    nowhere = tmp_path / "missing" / "gcs"
    assert (
        gcs_mount.GcsMount(tmp_path / "data" / "gcs", mount_point=nowhere).isolation() is gcs_mount.BY_NOTHING
    )
    assert tried == ["unshare", "bwrap"]
