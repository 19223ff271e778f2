import pytest

from vertexkit.emulator.methods import AIPLATFORM, IAM_POLICY, LOCATIONS, OPERATIONS, Method, methods
from vertexkit.emulator.uri_templates import Router, UriTemplate


def of(service: str) -> list[Method]:
    return [method for method in methods().values() if method.service == service]


def test_the_table_holds_every_rpc_of_the_pinned_sdk() -> None:
    # A new google-cloud-aiplatform changes these; look at what came and went before changing them.
    services = {method.service for method in methods().values()}
    assert len(services) == 38
    assert len(methods()) == 356
    assert sum(len(method.http) for method in methods().values()) == 906


def test_the_mixin_services_are_in_the_table_once() -> None:
    assert [len(of(service)) for service in (OPERATIONS, LOCATIONS, IAM_POLICY)] == [5, 2, 3]


def test_messages_are_raw_protobuf_classes_of_the_right_type() -> None:
    upload = methods()[f"/{AIPLATFORM}.ModelService/UploadModel"]
    assert upload.request.DESCRIPTOR.full_name == "google.cloud.aiplatform.v1.UploadModelRequest"
    assert upload.response.DESCRIPTOR.full_name == "google.longrunning.Operation"
    get = methods()["/google.longrunning.Operations/GetOperation"]
    assert get.request.DESCRIPTOR.full_name == "google.longrunning.GetOperationRequest"


def test_streaming_is_known() -> None:
    found = {
        method.name: (method.client_streaming, method.server_streaming)
        for method in of(f"{AIPLATFORM}.PredictionService")
    }
    assert found["Predict"] == (False, False)
    assert found["ServerStreamingPredict"] == (False, True)
    assert found["StreamingPredict"] == (True, True)


def test_only_bidirectional_streams_have_no_http_rule() -> None:
    assert {m.path for m in methods().values() if not m.http} == {
        m.path for m in methods().values() if m.client_streaming
    }


def test_every_http_rule_parses_and_names_a_field_of_its_request() -> None:
    for method in methods().values():
        for rule in method.http:
            template = UriTemplate.parse(rule.template)
            fields = method.request.DESCRIPTOR.fields_by_name
            assert template.variable is None or template.variable.split(".")[0] in fields, rule
            assert rule.body in {None, "*"} or rule.body in fields, rule


def test_every_http_rule_is_found_again_by_a_path_made_from_it() -> None:
    router = Router(methods().values())
    for method in methods().values():
        for rule in method.http:
            template = UriTemplate.parse(rule.template)
            segments = [f"x{i}" if s == "*" else s for i, s in enumerate(template.segments)]
            path = "/" + "/".join(segments) + (f":{template.custom_verb}" if template.custom_verb else "")
            match = router.find(rule.verb, path)
            assert match is not None, rule
            assert match.method is method, rule
            if template.variable is not None:
                value = "/".join(segments[template.start : template.stop])
                assert match.variables == {template.variable: value}


@pytest.mark.parametrize("template", ["/v1/{name=**}", "/v1/{a=x/*}/{b=y/*}", "v1/x", "/v1/{name}"])
def test_a_template_of_an_unknown_form_is_noticed(template: str) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        UriTemplate.parse(template)


def test_a_colon_in_an_id_is_not_a_verb() -> None:
    match = Router(methods().values()).find("GET", "/v1/projects/p/locations/l/models/a:b")
    assert match is not None
    assert (match.method.name, match.variables["name"]) == ("GetModel", "projects/p/locations/l/models/a:b")


def test_percent_escapes_in_a_path_are_undone_except_the_slash() -> None:
    match = Router(methods().values()).find("GET", "/v1/projects/p/locations/l/models/a%40b%2Fc")
    assert match is not None
    assert match.variables["name"] == "projects/p/locations/l/models/a@b%2Fc"


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/projects//locations/l/models", "/v2/projects/p"])
def test_a_path_that_no_rule_fits_finds_nothing(path: str) -> None:
    assert Router(methods().values()).find("GET", path) is None
