"""Who gets which GPU."""

import subprocess
import threading

import pytest

from vertexkit.emulator.jobs import gpus
from vertexkit.emulator.jobs.gpus import Gpus, installed_gpus

LISTED = """\
GPU 0: NVIDIA H200 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA H200 (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000000)
"""
NEVER = threading.Event()


@pytest.fixture
def two_installed(monkeypatch):
    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        gpus.subprocess, "run", lambda command, **more: subprocess.CompletedProcess(command, 0, LISTED, "")
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ("0", "1")),
        ("1", ("1",)),
        ("1, 0", ("1", "0")),
        ("", ()),
        ("-1", ()),
        ("GPU-2222", ("GPU-2222",)),
        ("7", ()),
    ],
)
def test_the_gpus_are_those_that_the_emulator_may_use(two_installed, monkeypatch, visible, found):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert installed_gpus() == found


def test_a_machine_without_the_driver_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path / "none")
    assert installed_gpus() == ()
    assert not gpus.has_driver()


def test_gpus_that_the_emulator_may_not_use_are_there_to_be_hidden_all_the_same(two_installed, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (installed_gpus(), gpus.has_driver()) == ((), True)


def test_no_gpu_is_handed_out_twice_and_those_given_back_are_handed_out_again():
    some = Gpus(lambda: ["0", "1", "2"])
    first = some.take([1, 1], NEVER)
    assert first == [("0",), ("1",)]
    assert some.take([1], NEVER) == [("2",)]
    cancelled = threading.Event()
    cancelled.set()
    assert some.take([1], cancelled) is None
    some.give_back(first)
    assert some.take([2], NEVER) == [("0", "1")]


def test_replicas_beyond_what_the_machine_has_get_none_rather_than_wait_for_ever():
    assert Gpus(lambda: ["0", "1"]).take([1, 2, 1], NEVER) == [("0",), ("1",), ()]
    assert Gpus(list).take([1], NEVER) == [()]
