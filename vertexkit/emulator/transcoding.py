"""Between HTTP/JSON and protobuf messages, as Google's API front does it.

Source: https://cloud.google.com/endpoints/docs/grpc/transcoding and
https://github.com/googleapis/googleapis/blob/master/google/api/http.proto
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from vertexkit.emulator.asgi import JSON
from vertexkit.emulator.dispatch import not_implemented
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.uri_templates import Match

_IGNORED_PARAMETERS = frozenset(
    {"key", "access_token", "oauth_token", "quotaUser", "prettyPrint", "uploadType", "upload_protocol"}
)
"""System parameters that change nothing here: https://cloud.google.com/apis/docs/system-parameters."""
_UNKNOWN_FIELD = re.compile(r'has no field named "(?P<name>[^"]*)" at "(?P<at>[^"]*)"')
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Wanted:
    """How the client wants its response written (``$alt=json;enum-encoding=int``)."""

    enums_as_integers: bool = False


def decode(match: Match, query: str, body: bytes) -> tuple[Message, Wanted]:
    """Build the request message of a call.

    Args:
        match: What the path said.
        query: The query string, without ``?``.
        body: The body.

    Raises:
        ApiError: INVALID_ARGUMENT, in the API's words, or UNIMPLEMENTED for a system parameter
            that the emulator does not honour.
    """
    request = match.method.request()
    rule = match.rule
    parameters, wanted = _system_parameters(query)
    if rule.body is None:
        if body.strip() not in {b"", b"{}"}:
            raise _bad("Invalid JSON payload received. This call takes no request body.")
    elif rule.body == "*":
        _parse(_loaded(body), request, "")
        if parameters:
            raise _unknown_parameter(parameters[0][0])
    else:
        part = getattr(request, rule.body)
        part.SetInParent()
        _parse(_loaded(body), part, rule.body)
    if parameters:
        bound = type(request)()
        _parse(_nested(request.DESCRIPTOR, parameters), bound, "")
        request.MergeFrom(bound)
    _set(request, match.variables)
    return request, wanted


def encode(response: Message, wanted: Wanted) -> tuple[str, bytes]:
    """Content type and body of a response."""
    if isinstance(response, HttpBody):
        return response.content_type, response.data
    return JSON, orjson.dumps(_as_dict(response, wanted), option=orjson.OPT_INDENT_2)


def encode_stream(responses: Sequence[Message], wanted: Wanted) -> tuple[str, bytes]:
    """Content type and body of a stream of responses: a JSON array."""
    values = [_as_dict(response, wanted) for response in responses]
    return JSON, orjson.dumps(values, option=orjson.OPT_INDENT_2)


def _as_dict(message: Message, wanted: Wanted) -> Any:
    return json_format.MessageToDict(message, use_integers_for_enums=wanted.enums_as_integers)


def _bad(message: str) -> ApiError:
    return ApiError(Code.INVALID_ARGUMENT, message)


def _unknown_parameter(name: str) -> ApiError:
    return _bad(
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )


def _system_parameters(query: str) -> tuple[list[tuple[str, str]], Wanted]:
    """The query without its system parameters, and what those ask for."""
    rest: list[tuple[str, str]] = []
    wanted = Wanted()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise _bad(f"The query string is not UTF-8: {error}") from error
    for key, value in pairs:
        name = key.removeprefix("$")
        if name == "alt":
            form, _, options = value.partition(";")
            if form != "json":
                raise not_implemented(f"alt={form}")
            wanted = Wanted(enums_as_integers="enum-encoding=int" in options.split(";"))
        elif name in {"fields", "callback"}:
            raise not_implemented(f"The system parameter {name!r}")
        elif name not in _IGNORED_PARAMETERS and not name.startswith(".xgafv"):
            rest.append((key, value))
    return rest, wanted


def _loaded(body: bytes) -> Any:
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise _bad("Invalid JSON payload received. Root element must be a message.")
    return value


def _parse(value: Any, message: Message, prefix: str) -> None:
    """Fill ``message`` from JSON, whose errors are told with the path below ``prefix``."""
    try:
        json_format.ParseDict(value, message)
    except json_format.ParseError as error:
        raise _bad(_told(str(error), prefix)) from error
    except (RecursionError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        # json_format lets these out for values of an unforeseen type.
        raise _bad(f"Invalid JSON payload received. {error}") from error


def _told(problem: str, prefix: str) -> str:
    """json_format's words for a problem, turned into the API's."""
    unknown = _UNKNOWN_FIELD.search(problem)
    if unknown is None:
        return f"Invalid JSON payload received. {problem}"
    below = unknown["at"].partition(".")[2]
    place = re.sub(r"([A-Z])", lambda upper: "_" + upper[1].lower(), ".".join(filter(None, (prefix, below))))
    at = f" at '{place}'" if place else ""
    return f'Invalid JSON payload received. Unknown name "{unknown["name"]}"{at}: Cannot find field.'


def _nested(descriptor: Any, parameters: list[tuple[str, str]]) -> dict[str, Any]:
    """Query parameters (``a.b=1&c=2&c=3``) as the JSON object that they stand for."""
    tree: dict[str, Any] = {}
    for key, text in parameters:
        *parents, last = key.split(".")
        node, message = tree, descriptor
        for name in parents:
            field = _field(message, name)
            if field is None or field.message_type is None or field.is_repeated:
                raise _unknown_parameter(key)
            node, message = node.setdefault(field.name, {}), field.message_type
            if not isinstance(node, dict):
                raise _unknown_parameter(key)
        field = _field(message, last)
        if field is None:
            raise _unknown_parameter(key)
        value = _converted(field, text)
        if field.is_repeated:
            node.setdefault(field.name, []).append(value)
        elif field.name in node:
            raise _bad(f"Invalid value at '{key}': the parameter may be given once.")
        else:
            node[field.name] = value
    return tree


def _field(message: Any, name: str) -> FieldDescriptor | None:
    found: FieldDescriptor | None = message.fields_by_name.get(name)
    return found or message.fields_by_camelcase_name.get(name)


def _converted(field: FieldDescriptor, text: str) -> Any:
    """A parameter's text as JSON of the field's type; json_format reads numbers out of text itself."""
    message = field.message_type
    if message is not None:
        if message.full_name == FieldMask.DESCRIPTOR.full_name:
            # The API takes snake_case here too, where the JSON form of a mask is camelCase.
            return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), text)
        if message.full_name.startswith("google.protobuf.") and "value" in message.fields_by_name:
            field = message.fields_by_name["value"]
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in _BOOLEANS:
            raise _bad(f"Invalid value at '{field.name}' (TYPE_BOOL), \"{text}\"")
        return _BOOLEANS[text]
    return text


def _set(request: Message, variables: Mapping[str, str]) -> None:
    """Put what the path says where it belongs; the path wins over the body."""
    for path, value in variables.items():
        *parents, last = path.split(".")
        target: Any = request
        for name in parents:
            target = getattr(target, name)
        setattr(target, last, value)
