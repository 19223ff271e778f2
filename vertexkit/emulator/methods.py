"""One table of every RPC of the Vertex AI API: paths, messages and HTTP rules.

google-cloud-aiplatform ships neither servicers nor service descriptors, but its generated
transports know everything that those would say. The table is read off them: each gRPC transport
creates its stubs on a channel that only writes down what it is asked for, and the HTTP rules come
from the REST transports' base classes. Both are private to that package, so ``pyproject.toml``
bounds its version and a test counts what is found.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

AIPLATFORM = "google.cloud.aiplatform.v1"
OPERATIONS = "google.longrunning.Operations"
LOCATIONS = "google.cloud.location.Locations"
IAM_POLICY = "google.iam.v1.IAMPolicy"
PROJECTS = "google.cloud.resourcemanager.v3.Projects"
"""Of Resource Manager; the one RPC of another API that programs of Vertex AI call."""

_MIXIN_MODULES = {
    OPERATIONS: "google.longrunning.operations_pb2",
    LOCATIONS: "google.cloud.location.locations_pb2",
    IAM_POLICY: "google.iam.v1.iam_policy_pb2",
}
_NOT_STUBS = frozenset({"grpc_channel", "operations_client", "kind", "host"})


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One way to call an RPC over REST (``google.api.http``)."""

    verb: str
    """``GET``, ``POST``, ``PATCH`` or ``DELETE``."""
    template: str
    """URI template: ``/v1/{name=projects/*/locations/*/models/*}:export``."""
    body: str | None
    """Field that the body holds; ``*`` for the whole request; None for no body."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    service: str
    """Full name of its service: ``google.cloud.aiplatform.v1.ModelService``."""
    name: str
    """``UploadModel``."""
    request: type[Message]
    """Raw protobuf class of the request (not the proto-plus wrapper)."""
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    http: tuple[HttpRule, ...]
    """Empty where REST cannot carry it (bidirectional streams)."""

    @property
    def path(self) -> str:
        """The path of the call over gRPC: ``/google.cloud.aiplatform.v1.ModelService/UploadModel``."""
        return f"/{self.service}/{self.name}"

    @property
    def full_name(self) -> str:
        """``google.cloud.aiplatform.v1.ModelService.UploadModel``, as Google's errors write it."""
        return f"{self.service}.{self.name}"

    @property
    def short_service(self) -> str:
        """The service's name without its package: ``ModelService``."""
        return self.service.rpartition(".")[2]


@functools.cache
def methods() -> Mapping[str, Method]:
    """Every RPC of the API, and of the Operations, Locations, IAMPolicy and Projects services beside it.

    Returns:
        The RPCs by their gRPC path, in the order of the services' names.
    """
    table: dict[str, Method] = {}
    http: dict[str, dict[HttpRule, None]] = {}
    for transports in _transport_modules():
        rest_base = _only_class(importlib.import_module(f"{transports.__name__}.rest_base"), "RestTransport")
        for stub in _stubs(_only_class(transports, "GrpcTransport")):
            # The mixins are part of every service's transport, each with URIs of its own.
            http.setdefault(stub.path, {}).update(dict.fromkeys(_http_rules(rest_base, stub.name)))
            if stub.path not in table:
                table[stub.path] = stub.method()
    found = {
        path: Method(
            **{name: getattr(method, name) for name in Method.__slots__ if name != "http"},
            http=tuple(http[path]),
        )
        for path, method in table.items()
    }
    get_project = _get_project()
    return {**found, get_project.path: get_project}


def _get_project() -> Method:
    from google.cloud import resourcemanager_v3

    request, response = resourcemanager_v3.GetProjectRequest.pb(), resourcemanager_v3.Project.pb()
    rules = (HttpRule("GET", "/v3/{name=projects/*}", None),)
    return Method(PROJECTS, "GetProject", request, response, False, False, rules)


@dataclass(frozen=True)
class _Stub:
    """What a transport asked of its channel for one RPC."""

    path: str
    client_streaming: bool
    server_streaming: bool
    serialize: Callable[..., bytes]
    deserialize: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def service(self) -> str:
        return self.path[1:].rpartition("/")[0]

    def method(self) -> Method:
        """The RPC, still without its HTTP rules."""
        if self.service in _MIXIN_MODULES:
            request, response = _mixin_messages(self.service, self.name)
        else:
            request, response = _raw_class(self.serialize), _raw_class(self.deserialize)
        return Method(
            self.service, self.name, request, response, self.client_streaming, self.server_streaming, ()
        )


class _RecordingChannel:
    """Stands in for a ``grpc.Channel``, and notes what stubs are made on it."""

    def __init__(self) -> None:
        self.stubs: list[_Stub] = []

    def unary_unary(self, path: str, **codec: Any) -> object:
        return self._record(path, False, False, codec)

    def unary_stream(self, path: str, **codec: Any) -> object:
        return self._record(path, False, True, codec)

    def stream_unary(self, path: str, **codec: Any) -> object:
        return self._record(path, True, False, codec)

    def stream_stream(self, path: str, **codec: Any) -> object:
        return self._record(path, True, True, codec)

    def _record(
        self, path: str, client_streaming: bool, server_streaming: bool, codec: Mapping[str, Any]
    ) -> object:
        stub = _Stub(
            path,
            client_streaming,
            server_streaming,
            codec["request_serializer"],
            codec["response_deserializer"],
        )
        self.stubs.append(stub)
        return stub


def _transport_modules() -> Iterator[Any]:
    """``google.cloud.aiplatform_v1.services.X.transports`` of every service, in their order."""
    services = importlib.import_module("google.cloud.aiplatform_v1.services")
    for found in sorted(pkgutil.iter_modules(services.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{services.__name__}.{found.name}.transports")


def _only_class(module: Any, suffix: str) -> Any:
    """The one class defined for ``module`` whose name ends in ``suffix``."""
    package = module.__name__.removesuffix(".rest_base")
    found = [
        value
        for name, value in vars(module).items()
        if name.endswith(suffix) and isinstance(value, type) and value.__module__.startswith(package)
    ]
    if len(found) != 1:
        raise LookupError(f"{module.__name__} has {len(found)} classes named *{suffix}, expected one")
    return found[0]


def _stubs(transport_class: Any) -> list[_Stub]:
    """What the transport would call, without connecting to anything."""
    # Without __init__, which wraps every stub in retries (0.5 s for all the services).
    transport = transport_class.__new__(transport_class)
    channel = _RecordingChannel()
    transport._stubs = {}
    transport._logged_channel = channel
    for name in dir(transport_class):
        if name not in _NOT_STUBS and isinstance(getattr(transport_class, name), property):
            getattr(transport, name)
    return channel.stubs


def _http_rules(rest_base: Any, name: str) -> Iterator[HttpRule]:
    """The HTTP rules of one RPC; none for those that REST cannot carry."""
    options = getattr(getattr(rest_base, f"_Base{name}", None), "_get_http_options", None)
    for option in options() if options is not None else ():
        yield HttpRule(option["method"].upper(), option["uri"], option.get("body"))


def _raw_class(codec: Any) -> type[Message]:
    """The raw protobuf class behind a bound ``serialize``, ``deserialize`` or ``FromString``."""
    owner = codec.__self__
    raw: type[Message] = owner if issubclass(owner, Message) else owner.pb()
    return raw


def _mixin_messages(service: str, name: str) -> tuple[type[Message], type[Message]]:
    """Request and response of a mixin's RPC, whose module (unlike the API's) describes its service."""
    pb2 = importlib.import_module(_MIXIN_MODULES[service])
    rpc = pb2.DESCRIPTOR.services_by_name[service.rpartition(".")[2]].methods_by_name[name]
    return message_factory.GetMessageClass(rpc.input_type), message_factory.GetMessageClass(rpc.output_type)
