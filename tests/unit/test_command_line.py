"""The arguments and variables of a training program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.command_line import check_args, check_env, command_line


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (None, []),
        ({}, []),
        ({"epochs": 10, "learning-rate": 1e-3}, ["--epochs=10", "--learning-rate=0.001"]),
        ({"data": Path("a b/c.npz"), "name": "x=y"}, ["--data=a b/c.npz", "--name=x=y"]),
        ({"cache": True, "shuffle": False, "seed": None}, ["--cache"]),
        ({"layer": [64, 32], "none": []}, ["--layer=64", "--layer=32"]),
        ({"rate": np.float32(0.5), "count": np.int64(3)}, ["--rate=0.5", "--count=3"]),
        (["--epochs", "10"], ["--epochs", "10"]),
        (("train", "-v"), ["train", "-v"]),
    ],
)
def test_names_and_values_become_arguments(args: Any, line: list[str]) -> None:
    assert check_args(args) == []
    assert command_line(args) == line


@pytest.mark.parametrize(
    ("args", "where"),
    [
        ("--epochs=10", "args"),
        (b"x", "args"),
        (10, "args"),
        ({"--epochs": 10}, "args"),
        ({"a b": 1}, "args"),
        ({"": 1}, "args"),
        ({3: 1}, "args"),
        ({"a": {"b": 1}}, "args['a']"),
        ({"a": [1, None]}, "args['a']"),
        ({"a": "x\0y"}, "args['a']"),
        ({"a": b"x"}, "args['a']"),
        (["--epochs", 10], "args[1]"),
        (["a\0"], "args[0]"),
    ],
)
def test_what_is_no_argument_is_found(args: Any, where: str) -> None:
    (found,) = check_args(args)
    assert found.argument == where
    assert not found.warning


def test_a_name_with_its_dashes_is_written_without() -> None:
    (found,) = check_args({"--epochs": 10})
    assert found.remedy == "write 'epochs'"


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_-]{0,8}", fullmatch=True), st.text()))
def test_every_text_arrives_as_it_is(args: dict[str, str]) -> None:
    if any("\0" in value for value in args.values()):
        assert check_args(args)
        return
    pairs = [part.removeprefix("--").partition("=") for part in command_line(args)]
    assert {name: value for name, _, value in pairs} == args


@pytest.mark.parametrize(
    ("env", "where"),
    [
        ([("A", "1")], "env"),
        ({"A B": "1"}, "env"),
        ({"1A": "1"}, "env"),
        ({"A": 1}, "env['A']"),
        ({"A": "\0"}, "env['A']"),
        ({"TF_CONFIG": "{}"}, "env['TF_CONFIG']"),
        ({"AIP_MODEL_DIR": "x"}, "env['AIP_MODEL_DIR']"),
        ({"CLOUD_ML_JOB_ID": "1"}, "env['CLOUD_ML_JOB_ID']"),
    ],
)
def test_what_is_no_variable_of_a_program_is_found(env: Any, where: str) -> None:
    (found,) = check_env(env)
    assert found.argument == where


def test_variables_of_ones_own_are_taken() -> None:
    assert check_env({"MY_SWITCH": "", "_x": "a=b", "TF_CPP_MIN_LOG_LEVEL": "2"}) == []
    assert check_env(None) == []
