"""Which object names the service takes, and which of them a plain path can hold."""

import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit._core.names import MAX_OBJECT_NAME_BYTES, object_name_problem
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.names import (
    checked_name,
    odd_file_name,
    path_components,
)

NAMES = st.text(min_size=1, max_size=60)
PATHLIKE = st.lists(st.sampled_from(["", ".", "..", "a", "b c", "ü", "x" * 255, "x" * 256]), min_size=1).map(
    "/".join
)


@given(NAMES | PATHLIKE)
def test_a_plain_path_stays_below_its_folder_and_says_its_name(name: str) -> None:
    components = path_components(name)
    if components is None:
        return
    assert "/".join(components) == name
    path = os.path.normpath(Path("/bucket", *components))
    assert path == f"/bucket/{name}"


@given(NAMES | PATHLIKE)
def test_different_names_have_different_places(name: str) -> None:
    other = name + "x"
    assert odd_file_name("b", name) != odd_file_name("b", other)
    assert odd_file_name("b", name) != odd_file_name("c", name)
    assert set(odd_file_name("b", name)) <= set(string.hexdigits)


@pytest.mark.parametrize(
    "name", ["/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b", "x" * 256, "é" * 128]
)
def test_no_path_can_hold_an_odd_name(name: str) -> None:
    assert path_components(name) is None


@pytest.mark.parametrize("name", ["a", "a/b", "...", ".a", "a.", "x" * 255, "é" * 127, " ", "~", "\x01"])
def test_a_path_can_hold_most_names(name: str) -> None:
    assert path_components(name) == name.split("/")


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=MAX_OBJECT_NAME_BYTES + 10))
def test_a_name_is_measured_in_bytes(name: str) -> None:
    size = len(name.encode())
    problem = object_name_problem(name)
    assert (problem is not None and str(size) in problem) == (size > MAX_OBJECT_NAME_BYTES)


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "a\rb", ".well-known/acme-challenge/x", "\udcff"])
def test_a_name_that_the_service_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(StorageError) as refused:
        checked_name(name)
    assert refused.value.status == 400
