"""Names of objects and patterns over them: what is refused, and that no name leads out of a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vertexkit._core.names import object_name_problem
from vertexkit._transfer.glob import compiled, matches
from vertexkit._transfer.object_names import (
    checked_name,
    file_below,
    folder_prefix,
    name_in_bucket,
)
from vertexkit._transfer.obstore_engine import carries
from vertexkit.errors import InvalidArgument

FOLDER = Path("/folder")
PIECES = st.sampled_from(["/", ".", "..", "a", "b.txt", "C:", "\\", "\0", "\n", "é", "~", " "])
ODD = st.lists(PIECES, max_size=8).map("".join)


@given(st.one_of(ODD, st.text(max_size=30)))
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
@example("a//../b")
@example("C:/windows")
@example("c:\\x")
def test_no_name_of_an_object_leads_out_of_the_folder(name: str) -> None:
    try:
        path = file_below(FOLDER, name)
    except ValueError:
        return
    assert ".." not in path.parts
    assert path != FOLDER
    assert path.relative_to(FOLDER).as_posix() == name


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/..", "/a", "a//b", "a/", "", ".", "./a", "C:/x", "d:\\x", "a\0b"]
)
def test_a_name_that_no_file_can_have_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(ValueError, match="its name"):
        file_below(FOLDER, name)


@pytest.mark.parametrize("name", ["a", "a/b", ".hidden", "a..b", "...", "é/ü", "a b", "x:y", "a\\b"])
def test_an_ordinary_name_becomes_that_path(name: str) -> None:
    assert file_below(FOLDER, name) == FOLDER / name


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "is empty"), ("x" * 1025, "at most 1024"), ("é" * 513, "at most 1024"), ("a\nb", "line break"),
     ("a\rb", "line break"), (".", "'.'"), ("..", "'..'"), (".well-known/acme-challenge/x", "acme"),
     ("\udcff", "UTF-8")],
)  # fmt: skip
def test_a_name_that_the_service_would_refuse_is_found_before_anything_is_sent(name: str, words: str) -> None:
    problem = object_name_problem(name)
    assert problem is not None
    assert words in problem
    with pytest.raises(InvalidArgument, match="name="):
        checked_name("bucket", name, "name")


@pytest.mark.parametrize("name", ["x" * 1024, "é" * 512, "a/../b", "//", "a\tb", "..."])
def test_an_odd_name_that_the_service_takes_is_taken(name: str) -> None:
    assert object_name_problem(name) is None
    assert checked_name("bucket", name, "name") == name


def test_a_uri_of_this_bucket_is_its_name() -> None:
    assert name_in_bucket("bucket", "gs://bucket/a/b", "name") == "a/b"
    assert folder_prefix("bucket", "gs://bucket/a/b", "prefix") == "a/b/"
    assert folder_prefix("bucket", "gs://bucket", "prefix") == ""
    assert folder_prefix("bucket", "a/", "prefix") == "a/"


def test_a_uri_of_another_bucket_is_refused_and_says_which_bucket_to_use() -> None:
    with pytest.raises(InvalidArgument, match=r"buckets\.get\('other'\)") as caught:
        name_in_bucket("bucket", "gs://other/a", "prefix")
    assert caught.value.argument == "prefix"


@pytest.mark.parametrize("given_name", ["gs://", "gs:///a", "gs://UPPER/a", 7, None, b"a"])
def test_what_is_no_name_is_refused(given_name: object) -> None:
    with pytest.raises(InvalidArgument):
        name_in_bucket("bucket", given_name, "name")  # type: ignore[arg-type] # the point


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("**/*", "a", True),
        ("**/*", "a/b/.c", True),
        ("*.pb", "saved_model.pb", True),
        ("*.pb", "variables/x.pb", False),
        ("**/*.pb", "saved_model.pb", True),
        ("**/*.pb", "a/b/x.pb", True),
        ("variables/*", "variables/x", True),
        ("variables/*", "variables/a/x", False),
        ("variables/**", "variables/a/x", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "ab", False),
        ("?", "é", True),
        ("x?z", "x/z", False),
        ("[a-c]1", "b1", True),
        ("[!a-c]1", "b1", False),
        ("[!a]", "/", False),
        ("[]^]", "^", True),
        ("a[", "a[", True),
        ("a.b", "axb", False),
        ("*", "line\nbreak", True),
    ],
)
def test_patterns_match_as_pathlib_writes_them(pattern: str, path: str, matched: bool) -> None:
    assert matches(pattern, path) is matched


@pytest.mark.parametrize("pattern", ["", "/a", "[z-a]", None, 3])
def test_a_pattern_that_makes_no_sense_is_refused(pattern: object) -> None:
    with pytest.raises(InvalidArgument, match="pattern="):
        compiled(pattern)  # type: ignore[arg-type] # the point


@given(st.text(max_size=20).filter(lambda text: text and not text.startswith("/")))
def test_a_pattern_without_wildcards_matches_itself_alone(text: str) -> None:
    literal = text.translate({ord(char): f"[{char}]" for char in "*?["})
    assert compiled(literal).fullmatch(text)
    assert not compiled(literal).fullmatch(f"{text}x")


@given(st.text(max_size=20))
@example("a/")
@example("/a")
@example("a//b")
@example("a/./b")
@example("a\x7fb")
def test_obstore_is_given_only_names_that_it_writes_as_they_are(name: str) -> None:
    if carries(name):
        assert PurePosixPath(name).as_posix() == name
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert name.isprintable() or not any(ord(char) < 32 or ord(char) == 127 for char in name)
