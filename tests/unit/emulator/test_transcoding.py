import json
from typing import Any

import pytest
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.methods import methods
from vertexkit.emulator.transcoding import Wanted, decode, encode, encode_stream
from vertexkit.emulator.uri_templates import Match, Router

ROUTER = Router(methods().values())
MODELS = "/v1/projects/p/locations/l/models"
ENDPOINT = "/v1/projects/p/locations/l/endpoints/1"


def match(verb: str, path: str) -> Match:
    found = ROUTER.find(verb, path)
    assert found is not None
    return found


def request(verb: str, path: str, query: str = "", body: Any = b"") -> Any:
    """The message that an HTTP request becomes; ``body`` as bytes or as something for JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode(match(verb, path), query, data)[0]


def refusal(verb: str, path: str, query: str = "", body: Any = b"") -> str:
    """The words with which an HTTP request is refused as a bad one."""
    with pytest.raises(ApiError) as caught:
        request(verb, path, query, body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_path_and_query_become_fields() -> None:
    made = request("GET", MODELS, "pageSize=7&filter=display_name%3D%22a%20b%22&orderBy=create_time")
    assert made.parent == "projects/p/locations/l"
    assert (made.page_size, made.filter, made.order_by) == (7, 'display_name="a b"', "create_time")


@pytest.mark.parametrize("mask", ["displayName,createTime", "display_name,create_time"])
def test_a_field_mask_is_read_in_either_case(mask: str) -> None:
    assert list(request("GET", MODELS, f"readMask={mask}").read_mask.paths) == ["display_name", "create_time"]


@pytest.mark.parametrize("name", ["pageSize", "page_size"])
def test_a_parameter_is_named_in_either_case(name: str) -> None:
    assert request("GET", MODELS, f"{name}=3").page_size == 3


def test_a_nested_parameter_reaches_its_field() -> None:
    made = request("PATCH", ENDPOINT, "endpoint.displayName=x", {})
    assert made.endpoint.display_name == "x"


def test_a_repeated_parameter_keeps_every_value() -> None:
    rule = "/v1/projects/p/locations/l/featurestores/f/entityTypes/e/features/x"
    assert request("GET", rule).name.endswith("features/x")
    made = request("GET", "/v1/projects/p/locations/l/featurestores:searchFeatures", "query=a&pageSize=1")
    assert made.query == "a"
    path = "/v1/projects/p/locations/l/tensorboards/t:batchRead"
    made = request("GET", path, "timeSeries=a&timeSeries=b")
    assert list(made.time_series) == ["a", "b"]


def test_a_boolean_parameter_is_true_or_false_and_nothing_else() -> None:
    path = "/v1/projects/p/locations/l/featurestores/f"
    assert request("DELETE", path, "force=true").force is True
    assert request("DELETE", path, "force=false").force is False
    assert "TYPE_BOOL" in refusal("DELETE", path, "force=yes")


def test_the_whole_body_becomes_the_request() -> None:
    made = request("POST", f"{MODELS}:upload", body={"model": {"displayName": "m"}, "parentModel": "x"})
    assert (made.parent, made.model.display_name, made.parent_model) == ("projects/p/locations/l", "m", "x")


def test_a_body_field_is_filled_from_the_body_and_the_path_wins() -> None:
    made = request("PATCH", f"{MODELS}/1", "updateMask=displayName", {"name": "other", "display_name": "d"})
    assert made.model.name == "projects/p/locations/l/models/1"
    assert made.model.display_name == "d"
    assert list(made.update_mask.paths) == ["display_name"]


def test_an_empty_body_still_means_the_field_was_sent() -> None:
    assert request("POST", "/v1/projects/p/locations/l/endpoints").HasField("endpoint")


def test_an_unknown_field_is_named_with_its_place() -> None:
    assert refusal("POST", f"{MODELS}:upload", body={"foo": 1}) == (
        'Invalid JSON payload received. Unknown name "foo": Cannot find field.'
    )
    nested = {"model": {"containerSpec": {"foo": 1}}}
    assert refusal("POST", f"{MODELS}:upload", body=nested) == (
        "Invalid JSON payload received. Unknown name \"foo\" at 'model.container_spec': Cannot find field."
    )
    assert refusal("PATCH", f"{MODELS}/1", body={"foo": 1}) == (
        "Invalid JSON payload received. Unknown name \"foo\" at 'model': Cannot find field."
    )


def test_an_unknown_parameter_is_named() -> None:
    assert refusal("GET", MODELS, "foo=1") == (
        'Invalid JSON payload received. Unknown name "foo": Cannot bind query parameter. '
        "Field 'foo' could not be found in request message."
    )
    assert "Cannot bind" in refusal("GET", MODELS, "pageSize.x=1")
    assert "Cannot bind" in refusal("POST", f"{MODELS}:upload", "parentModel=x", {})


def test_a_parameter_given_twice_for_one_value_is_refused() -> None:
    assert "once" in refusal("GET", MODELS, "pageSize=1&pageSize=2")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"text"', b"3", b"\xff\xfe", b'{"model": }', b'{"model": NaN}', b'{"model": 3}',
     b'{"model": {"labels": []}}', b'{"model": {"labels": {"a": 1}}}', b'{"model": {"displayName": 3}}',
     b'{"model": {"supportedDeploymentResourcesTypes": ["NO_SUCH"]}}', b'{"model": {"createTime": "noon"}}',
     b'{"model": [1]}', b'{"parentModel": {}}', b"{" * 10_000],
)  # fmt: skip
def test_a_malformed_body_is_a_bad_request(body: bytes) -> None:
    assert refusal("POST", f"{MODELS}:upload", body=body).startswith("Invalid JSON payload received.")


def test_a_call_without_a_body_refuses_one() -> None:
    assert request("GET", MODELS, body=b" {} ").parent
    assert "no request body" in refusal("GET", MODELS, body={"pageSize": 3})


@pytest.mark.parametrize("query", ["alt=proto", "$alt=media", "fields=name", "callback=f"])
def test_a_system_parameter_that_is_not_honoured_is_refused_by_name(query: str) -> None:
    with pytest.raises(ApiError, match="not implemented") as caught:
        request("GET", MODELS, query)
    assert caught.value.code is Code.UNIMPLEMENTED


def test_system_parameters_are_not_fields() -> None:
    assert request("GET", MODELS, "key=k&prettyPrint=false&$.xgafv=1&quotaUser=u&alt=json").parent


def test_enums_are_names_unless_integers_are_asked_for() -> None:
    model = types.Model(supported_deployment_resources_types=["DEDICATED_RESOURCES"])
    raw = types.Model.pb(model)
    assert json.loads(encode(raw, Wanted())[1]) == {
        "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"]
    }
    wanted = decode(match("GET", MODELS), "%24alt=json%3Benum-encoding%3Dint", b"")[1]
    assert json.loads(encode(raw, wanted)[1]) == {"supportedDeploymentResourcesTypes": [1]}


def test_an_http_body_is_answered_as_it_is() -> None:
    from google.api.httpbody_pb2 import HttpBody

    assert encode(HttpBody(content_type="image/png", data=b"\x89"), Wanted()) == ("image/png", b"\x89")


def test_a_stream_is_answered_as_an_array() -> None:
    raw = [types.Model.pb(types.Model(display_name=name)) for name in "ab"]
    assert json.loads(encode_stream(raw, Wanted())[1]) == [{"displayName": "a"}, {"displayName": "b"}]
    assert encode_stream([], Wanted())[1] == b"[]"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
some_names = st.sampled_from(
    ["model", "displayName", "labels", "containerSpec", "env", "predictSchemata", "metadata", "versionId",
     "createTime", "supportedExportFormats", "explanationSpec", "@type", "parent", "name"]
)  # fmt: skip
near_misses = st.recursive(
    json_values, lambda inner: st.dictionaries(some_names, inner, max_size=4), max_leaves=20
)


@given(near_misses)
def test_no_json_whatsoever_breaks_the_decoder(value: Any) -> None:
    try:
        request("POST", f"{MODELS}:upload", body=value)
    except ApiError as error:
        assert error.code is Code.INVALID_ARGUMENT


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_break_the_decoder(body: bytes) -> None:
    try:
        request("POST", f"{MODELS}:upload", body=body)
    except ApiError as error:
        assert error.code is Code.INVALID_ARGUMENT


@given(st.text(max_size=60))
def test_no_query_whatsoever_breaks_the_decoder(query: str) -> None:
    try:
        request("GET", MODELS, query)
    except ApiError as error:
        assert error.code in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}


@given(
    st.builds(
        dict,
        display_name=st.text(max_size=20),
        labels=st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=3),
        version_aliases=st.lists(st.text(max_size=5), max_size=3),
    )
)
def test_a_message_survives_the_way_out_and_back(fields: dict[str, Any]) -> None:
    raw = aiplatform_v1.Model.pb(aiplatform_v1.Model(fields))
    _, body = encode(raw, Wanted())
    back = request("PATCH", f"{MODELS}/1", body=body).model
    back.name = ""
    assert back == raw
