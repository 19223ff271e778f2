"""What requests are made of: field selections, globs, multipart bodies, ranges, conditions, routes."""

import asyncio
import fnmatch
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.conditions import Conditions, from_headers, from_query, http_etag, version_tag
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.fields import parse_fields, select, selects
from vertexkit.emulator.gcs.globs import Glob
from vertexkit.emulator.gcs.http import Request, Response
from vertexkit.emulator.gcs.json_errors import json_error
from vertexkit.emulator.gcs.listing import after_prefix, decode_token, encode_token
from vertexkit.emulator.gcs.media import requested_range
from vertexkit.emulator.gcs.multipart import RelatedUpload, boundary_of, split_parts
from vertexkit.emulator.gcs.records import Identity, ObjectInfo
from vertexkit.emulator.gcs.routing import Route, Router

RESOURCE = {"kind": "k", "items": [{"name": "a", "size": "1", "acl": {"x": 1, "y": 2}}], "token": "t"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("*", RESOURCE),
        ("kind", {"kind": "k"}),
        ("items/name,token", {"items": [{"name": "a"}], "token": "t"}),
        ("items(name,size)", {"items": [{"name": "a", "size": "1"}]}),
        ("items(acl/x, name)", {"items": [{"acl": {"x": 1}, "name": "a"}]}),
        ("items/acl(x,y),kind", {"items": [{"acl": {"x": 1, "y": 2}}], "kind": "k"}),
        ("items(*)", {"items": RESOURCE["items"]}),
        ("items/name,items/size", {"items": [{"name": "a", "size": "1"}]}),
        ("nothing", {}),
    ],
)
def test_a_selection_keeps_what_it_names(fields: str, expected: dict[str, Any]) -> None:
    assert select(RESOURCE, parse_fields(fields)) == expected


@pytest.mark.parametrize("fields", [",", "a,", "a(", "a(b", "a)", "a(b))", "/a", "a//b", "a(b)c"])
def test_a_malformed_selection_is_refused(fields: str) -> None:
    with pytest.raises(StorageError) as refused:
        parse_fields(fields)
    assert refused.value.status == 400


def test_a_selection_says_what_it_holds() -> None:
    selection = parse_fields("items(name,acl/x),kind")
    assert selects(selection, "items", "name")
    assert selects(selection, "items", "acl")
    assert not selects(selection, "items", "crc32c")
    assert not selects(selection, "prefixes")
    assert selects(None, "anything", "at all")
    assert selects(parse_fields("items"), "items", "crc32c")


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("foo*bar", ["foobar", "foo-bar"], ["foo/bar", "foobarx"]),
        ("foo**bar", ["foobar", "foo/bar", "foo/a/b/bar"], ["fooba"]),
        ("**/foo", ["foo", "a/foo", "a/b/foo"], ["afoo"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab"]),
        ("fo?", ["foo", "fox"], ["fo", "fo/"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("{foo,ba{r,z}}.txt", ["foo.txt", "bar.txt", "baz.txt"], ["fooba.txt", ".txt"]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("a.b+(c)", ["a.b+(c)"], ["aXb+(c)"]),
        ("[]]", ["]"], ["x"]),
        ("{a,b{,c}}*{.x,}", ["a", "bc", "b.x", "azz.x"], ["c", "a/x"]),
        ("", [""], ["a"]),
    ],
)
def test_a_glob_matches(glob: str, matching: list[str], other: list[str]) -> None:
    pattern = Glob(glob)
    assert [name for name in matching + other if pattern.matches(name)] == matching


@pytest.mark.parametrize("glob", ["{a", "a{b,c", "[a", "a}b{", "[z-a]"])
def test_a_malformed_glob_is_refused(glob: str) -> None:
    with pytest.raises(StorageError):
        Glob(glob)


@given(st.text(alphabet="ab*?.-x"), st.text(alphabet="ab.-x"))
def test_a_glob_without_slashes_is_a_shell_s(glob: str, name: str) -> None:
    assert Glob(glob).matches(name) == fnmatch.fnmatchcase(name, glob)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("glob", ["**a" * 300 + "b", "*a" * 400 + "b", "{a,aa,**}" * 100 + "b"])
def test_a_glob_costs_no_more_than_its_length_times_the_name_s(glob: str) -> None:
    pattern = Glob(glob)
    assert not pattern.matches("a" * 1000)
    assert pattern.matches("a" * 1000 + "b")


@pytest.mark.parametrize("glob", ["{" * 3000, "{" * 40 + "a" + "}" * 40, "a" * 3000])
def test_a_glob_that_is_too_deep_or_too_long_is_refused(glob: str) -> None:
    with pytest.raises(StorageError) as refused:
        Glob(glob)
    assert refused.value.status == 400


def in_pieces(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        for cut in [*sorted(cut % (len(body) + 1) for cut in cuts), len(body)]:
            if body[at:cut]:
                yield body[at:cut]
            at = cut

    return pieces()


async def related(body: bytes, cuts: list[int]) -> tuple[bytes, dict[str, str], bytes]:
    upload = RelatedUpload(in_pieces(body, cuts), b"bo")
    resource = (await upload.resource()).body
    headers = dict(await upload.content_headers())
    return resource, headers, b"".join([piece async for piece in upload.content()])


CONTENT = st.binary(max_size=60) | st.lists(st.sampled_from([b"\r", b"\n", b"--", b"b", b"o", b"--bx"])).map(
    b"".join
)


@given(
    content=CONTENT, cuts=st.lists(st.integers(0, 1000), max_size=8), end=st.sampled_from([b"\r\n", b"\n"])
)
def test_an_upload_in_any_pieces_is_the_same(content: bytes, cuts: list[int], end: bytes) -> None:
    if end + b"--bo" in end + content + end:
        return
    lines = [b"--bo", b"Content-Type: application/json", b"", b"{}", b"--bo", b"Content-Type: a/b", b""]
    body = end.join([*lines, content, b"--bo--"])
    assert asyncio.run(related(body, cuts)) == (b"{}", {"content-type": "a/b"}, content)


@given(content=st.binary(max_size=20), size=st.integers(0, 200))
def test_an_upload_that_is_cut_short_is_refused(content: bytes, size: int) -> None:
    whole = b"--bo\r\n\r\n{}\r\n--bo\r\n\r\n" + content.replace(b"-", b"") + b"\r\n--bo--"
    with pytest.raises(StorageError):
        asyncio.run(related(whole[: size % len(whole)], []))


def test_parts_of_a_batch_are_told_apart() -> None:
    body = b"preamble\r\n--b\r\nA: 1\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    assert [(dict(part.headers), part.body) for part in split_parts(body, b"b")] == [
        ({"a": "1"}, b"one"),
        ({}, b"two"),
    ]


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "multipart/mixed", "text/plain; boundary=b"]
)
def test_a_body_without_a_boundary_is_refused(content_type: str | None) -> None:
    with pytest.raises(StorageError):
        boundary_of(content_type, "multipart/mixed")


@given(first=st.integers(0, 30), last=st.none() | st.integers(0, 30), size=st.integers(1, 20))
def test_a_range_is_what_slicing_gives(first: int, last: int | None, size: int) -> None:
    content = bytes(range(size))
    header = f"bytes={first}-{'' if last is None else last}"
    expected = content[first:] if last is None else content[first : last + 1]
    if last is not None and last < first:
        assert requested_range(header, size) is None
    elif not expected:
        with pytest.raises(StorageError) as refused:
            requested_range(header, size)
        assert refused.value.status == 416
    else:
        span = requested_range(header, size)
        assert span is not None
        assert content[span[0] : span[1] + 1] == expected


@given(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=1), st.text(alphabet=st.characters(codec="utf-8"))
)
def test_nothing_lies_between_a_prefix_and_what_comes_after_it(prefix: str, rest: str) -> None:
    assert prefix + rest < after_prefix(prefix)
    assert decode_token(encode_token(prefix)) == prefix


INFO = ObjectInfo(
    "b", "n", 10, 2, 5, "AAAAAA==", None, "a/b", 5_000_000, 5_000_000, "", Identity(1, 5, 1), False
)


@pytest.mark.parametrize(
    ("conditions", "current", "status"),
    [
        (Conditions(), None, None),
        (Conditions(), INFO, None),
        (Conditions(generation_match=0), None, None),
        (Conditions(generation_match=0), INFO, 412),
        (Conditions(generation_match=10), INFO, None),
        (Conditions(generation_match=10), None, 412),
        (Conditions(generation_not_match=0), None, 412),
        (Conditions(generation_not_match=0), INFO, None),
        (Conditions(generation_not_match=10), INFO, 412),
        (Conditions(metageneration_match=2), INFO, None),
        (Conditions(metageneration_match=1), INFO, 412),
        (Conditions(metageneration_match=1), None, 412),
        (Conditions(metageneration_not_match=2), INFO, 412),
        (Conditions(metageneration_not_match=2), None, None),
        (Conditions(etag_match="*"), None, 412),
        (Conditions(etag_match="*"), INFO, None),
        (Conditions(etag_match=f'"x", {http_etag(INFO)}'), INFO, None),
        (Conditions(etag_match=version_tag(10, 2)), INFO, None),
        (Conditions(etag_match='"x"'), INFO, 412),
        (Conditions(etag_not_match="*"), INFO, 412),
        (Conditions(etag_not_match="*"), None, None),
        (Conditions(modified_since="Thu, 01 Jan 1970 00:00:05 GMT"), INFO, 412),
        (Conditions(modified_since="Thu, 01 Jan 1970 00:00:04 GMT"), INFO, None),
        (Conditions(unmodified_since="Thu, 01 Jan 1970 00:00:04 GMT"), INFO, 412),
        (Conditions(unmodified_since="no date"), INFO, None),
    ],
)
def test_a_condition_holds_or_not(
    conditions: Conditions, current: ObjectInfo | None, status: int | None
) -> None:
    try:
        conditions.check(current)
    except StorageError as error:
        assert error.status == status
    else:
        assert status is None


def test_conditions_are_read_from_either_api() -> None:
    query = {"ifGenerationMatch": "1", "ifMetagenerationNotMatch": "2", "ifSourceGenerationMatch": "3"}
    assert from_query(query) == Conditions(generation_match=1, metageneration_not_match=2)
    assert from_query(query, source=True) == Conditions(generation_match=3)
    assert from_query({"ifMetaGenerationMatch": "4"}) == Conditions(metageneration_match=4)
    headers = {b"x-goog-if-generation-match": b"1", b"if-none-match": b"*", b"host": b"x"}
    assert from_headers(headers) == Conditions(generation_match=1, etag_not_match="*")
    headers = {b"x-goog-copy-source-if-generation-match": b"3", b"if-match": b"x"}
    assert from_headers(headers, source=True) == Conditions(generation_match=3)
    with pytest.raises(StorageError):
        from_query({"ifGenerationMatch": "one"})


async def _handled(request: Request, **_values: str) -> Response:
    return Response(200)


def test_the_first_route_that_fits_answers() -> None:
    templates = ["/api/b/{bucket}", "/api/b/{bucket}/o/{name}", "/api/{rest...}", "/{bucket}/{name...}"]
    router = Router([Route("GET PUT", template, _handled, json_error) for template in templates])

    def routed(method: str, path: bytes) -> tuple[str, dict[str, str]] | None:
        scope = {"method": method, "raw_path": path, "headers": [], "query_string": b""}
        found = router.match(Request(scope, None))  # type: ignore[arg-type]  # nothing is received
        return None if found is None else (found[0].template, found[1])

    assert routed("GET", b"/api/b/x") == (templates[0], {"bucket": "x"})
    assert routed("PUT", b"/api/b/x/o/a%2Fb%20c") == (templates[1], {"bucket": "x", "name": "a/b c"})
    assert routed("GET", b"/api/b/x/o/a/b") == (templates[2], {"rest": "b/x/o/a/b"})
    assert routed("GET", b"/b/a//b%C3%BC") == (templates[3], {"bucket": "b", "name": "a//bü"})
    assert routed("DELETE", b"/api/b/x") is None
    assert routed("GET", b"/alone") is None
    with pytest.raises(StorageError):
        routed("GET", b"/b/%ff")


def test_a_refusal_names_its_place() -> None:
    scope = {"method": "GET", "raw_path": b"/", "headers": [], "query_string": b""}
    request = Request(scope, None)  # type: ignore[arg-type]  # nothing is received
    body = json_error(request, errors.required("name")).body
    assert b'"location":"name"' in body
    assert b'"locationType":"parameter"' in body
    assert json_error(request, errors.not_modified("If-None-Match")).body == b""
