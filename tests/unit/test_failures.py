"""The one table of failures."""

from __future__ import annotations

import grpc
import pytest
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage

from vertexkit import errors
from vertexkit._core.failures import BY_CLASS, from_http, from_status, is_service_failure, translate
from vertexkit._core.rpc import translated


def _subclasses(base: type) -> set[type]:
    below = {one for one in base.__subclasses__() if one.__module__ == base.__module__}
    return below | {deeper for one in below for deeper in _subclasses(one)}


@pytest.mark.parametrize("kind", sorted(_subclasses(api.GoogleAPIError), key=lambda kind: kind.__name__))
def test_every_exception_of_google_api_core_is_in_the_table_by_its_own_name(kind: type) -> None:
    assert f"{kind.__module__}.{kind.__qualname__}" in BY_CLASS


@pytest.mark.parametrize(
    "module", [auth, requests.exceptions, urllib3.exceptions, storage], ids=lambda module: module.__name__
)
def test_every_exception_of_the_libraries_below_is_known(module: object) -> None:
    unknown = [
        name
        for name, kind in vars(module).items()
        if isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__ == module.__name__  # type: ignore[attr-defined]
        and not any(f"{base.__module__}.{base.__qualname__}" in BY_CLASS for base in kind.__mro__)
        # Raised for a wrong argument of urllib3, of which requests makes its own errors.
        and not issubclass(kind, ValueError | AssertionError)
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.CANCELLED, errors.Cancelled),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.BadRequest),
        (grpc.StatusCode.OUT_OF_RANGE, errors.BadRequest),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, errors.AlreadyExists),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDenied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.QuotaExceeded),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.ABORTED, errors.Conflict),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unimplemented),
        (grpc.StatusCode.INTERNAL, errors.InternalError),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
        (grpc.StatusCode.DATA_LOSS, errors.InternalError),
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
    ],
)
def test_a_status_means_the_same_over_grpc_rest_and_in_an_operation(
    status: grpc.StatusCode, kind: type[errors.ServiceError]
) -> None:
    class Rpc(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return status

        def details(self) -> str:
            return "the service's words"

    body = b'{"error": {"status": "%s", "message": "the service\'s words"}}' % status.name.encode()
    for error in (
        translate(Rpc(), resource="projects/p"),
        translate(api.from_grpc_status(status, "the service's words"), resource="projects/p"),
        from_http(500, body, resource="projects/p"),
        from_status(status.value[0], "the service's words", resource="projects/p"),
    ):
        assert type(error) is kind
        assert str(error).startswith("projects/p: the service's words")
        assert isinstance(error, errors.ServiceError)
        assert error.service_message == "the service's words"


def test_an_http_status_decides_where_there_is_no_canonical_one() -> None:
    # Cloud Storage gives numbers only.
    assert type(from_http(412, b'{"error": {"code": 412, "message": "m"}}')) is errors.FailedPrecondition
    assert type(from_http(503, b"<html>overloaded</html>")) is errors.Unavailable
    assert "overloaded" in str(from_http(503, b"<html>overloaded</html>"))
    assert type(from_http(418, b"")) is errors.BadRequest
    assert str(from_http(418, b"")) == "HTTP 418"


def test_a_broken_error_body_is_still_an_error() -> None:
    for body in (b"", b"[]", b'{"error": "text"}', b'{"error": null}', b"\xff\xfe"):
        assert type(from_http(404, body)) is errors.NotFound


def test_the_request_is_not_put_before_the_service_s_own_words() -> None:
    reply = requests.Response()
    reply.status_code = 404
    reply.request = requests.Request("DELETE", "https://storage.test/b/x?a=1").prepare()
    reply._content = b'{"error": {"message": "GET it: there is no such bucket"}}'
    for error in (
        api.from_http_response(reply),
        api.NotFound("GET it: there is no such bucket"),
        api.format_http_response_error(reply, "DELETE", "https://x.test/v1/y", reply.json()),
    ):
        translated_error = translate(error, resource="gs://x")
        assert type(translated_error) is errors.NotFound
        assert str(translated_error) == "gs://x: GET it: there is no such bucket"


def test_only_what_the_local_one_does_not_do_is_looked_up_in_its_list() -> None:
    ours = api.MethodNotImplemented("RestoreModel is not implemented by the local Vertex AI.")
    assert "vertexkit emulator methods" in str(translate(ours))
    theirs = api.MethodNotImplemented("Operation is not implemented, or supported, or enabled.")
    assert translate(theirs).remedy is None
    assert "emulator" not in str(from_http(501, b'{"error": {"message": "not here"}}'))


def test_credentials_that_cannot_be_refreshed_say_how_to_log_in() -> None:
    error = translate(auth.RefreshError("expired"))
    assert type(error) is errors.Unauthenticated
    assert "gcloud auth application-default login" in str(error.remedy)


def test_a_used_up_quota_is_named_with_where_to_raise_it() -> None:
    error = translate(
        api.ResourceExhausted(
            "The following quotas are exceeded: CustomModelServingT4GPUsPerProjectPerRegion"
        )
    )
    assert type(error) is errors.QuotaExceeded
    assert "CustomModelServingT4GPUsPerProjectPerRegion" in str(error.remedy)
    assert "https://console.cloud.google.com/iam-admin/quotas" in str(error.remedy)


def test_a_disabled_api_says_where_to_enable_it() -> None:
    words = (
        "Vertex AI API has not been used in project 123456 before or it is disabled. Enable it by visiting "
        "https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=123456"
    )
    error = translate(api.PermissionDenied(words))
    assert "https://console.cloud.google.com/apis/library/aiplatform.googleapis.com?project=123456" in str(
        error.remedy
    )


def test_a_missing_permission_is_named() -> None:
    error = translate(
        api.PermissionDenied(
            "Permission 'aiplatform.endpoints.deploy' denied on resource '//x' (or it may not exist)."
        )
    )
    assert "aiplatform.endpoints.deploy" in str(error.remedy)


def test_an_unreachable_host_is_said_in_plain_words() -> None:
    with pytest.raises(requests.ConnectionError) as raised:
        requests.get("http://127.0.0.1:9/v1/projects?secret=1", timeout=5)
    error = translate(raised.value)
    assert type(error) is errors.Unavailable
    assert str(error).startswith("http://127.0.0.1:9 cannot be reached: ")
    assert error.service_message.endswith("Connection refused")
    assert "HTTPConnection" not in str(error)


def test_a_mistake_in_code_stays_what_it_is() -> None:
    assert not is_service_failure(TypeError("x"))
    with pytest.raises(TypeError, match="x"), translated("projects/p"):
        raise TypeError("x")


def test_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), translated("projects/p"):
        raise KeyboardInterrupt


def test_an_error_of_ours_is_not_wrapped_again() -> None:
    ours = errors.NotFound("gone")
    assert translate(ours) is ours
