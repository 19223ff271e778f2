"""ModelService: models uploaded, listed, changed and deleted.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#modelservice
"""

from __future__ import annotations

import re
from collections.abc import Callable

from vertexkit._core.names import ResourceName
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.field_masks import update_paths
from vertexkit.emulator.filters import Filterable
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.messages import (
    DeleteOperationMetadata,
    Empty,
    ListModelsResponse,
    ListModelVersionsResponse,
    Model,
    Raw,
    UploadModelOperationMetadata,
    UploadModelResponse,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.artifacts import check_artifact, check_schemata
from vertexkit.emulator.services.listing import list_page
from vertexkit.emulator.services.model_registry import (
    DEFAULT_ALIAS,
    MODEL_FIELDS,
    MODELS,
    VERSION_FIELDS,
    VERSIONS,
    ModelRegistry,
    check_model_etag,
    combined,
)
from vertexkit.emulator.store import Store
from vertexkit.emulator.validation import (
    canonical_location,
    canonical_name,
    check_display_name,
    check_labels,
    invalid,
    invalid_field,
    new_id,
)

_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_INPUT_FORMATS = ("jsonl", "bigquery", "csv", "tf-record", "tf-record-gzip", "file-list")
_OUTPUT_FORMATS = ("jsonl", "csv", "bigquery")


def _model_id(model: Raw) -> str:
    return str(model.name.partition("@")[0].rpartition("/")[2])


_MODEL_FILTER = Filterable(Model, {"display_name", "labels"}, {"model": _model_id})
_VERSION_FILTER = Filterable(Model, {"labels"})


class ModelService:
    """Answers the RPCs that it has a method for. Safe to use from any thread.

    Args:
        store: Where models are kept.
        operations: Where long-running operations are kept.
        objects: The local Cloud Storage, which holds the artifacts.
        renamed: Told a model's name and its new display name.
    """

    def __init__(
        self,
        store: Store,
        operations: Operations,
        objects: ObjectStore,
        *,
        renamed: Callable[[str, str], None] | None = None,
    ) -> None:
        self._store = store
        self._operations = operations
        self._objects = objects
        self._registry = ModelRegistry(store)
        self._renamed = renamed

    def UploadModel(self, request: Raw) -> Raw:
        """Upload a model, or a new version of one."""
        of = self.check_upload(request)
        uploaded = request.model
        check_artifact(self._objects, uploaded.artifact_uri, uploaded.container_spec.image_uri)
        check_schemata(self._objects, uploaded.predict_schemata)
        version = _as_kept(uploaded)
        with self._store.transaction():
            if request.parent_model:
                kept = self._registry.add_version(str(of), version)
            else:
                kept = self._registry.add_model(of, version)
            response = UploadModelResponse(model=str(of), model_version_id=kept.version_id)
            return self._operations.done(str(of), UploadModelOperationMetadata(), response)

    def check_upload(self, request: Raw) -> ResourceName:
        """Refuse what is wrong with an upload but for its artifact, which a training may have yet to write.

        Args:
            request: An UploadModelRequest.

        Returns:
            The model that it makes, or that it makes a version of.

        Raises:
            ApiError: INVALID_ARGUMENT; NOT_FOUND, there is no such parent model; UNIMPLEMENTED.
        """
        parent = canonical_location(request.parent)
        uploaded = request.model
        check_display_name(uploaded.display_name, "model.display_name")
        check_labels(uploaded.labels, "model.labels")
        for alias in uploaded.version_aliases:
            _check_alias(alias, "model.version_aliases")
        if not uploaded.container_spec.image_uri:
            raise invalid_field("model.container_spec.image_uri", "Required field is not set.")
        if uploaded.HasField("encryption_spec"):
            raise ApiError(Code.UNIMPLEMENTED, "The local Vertex AI does not support model.encryption_spec.")
        if request.parent_model:
            of = canonical_name(request.parent_model, "models")
            if of.version is not None or of.parent != parent:
                raise invalid_field(
                    "parent_model", f"{request.parent_model} is not the name of a model in {parent}."
                )
            if request.model_id not in {"", of.id}:
                raise invalid_field("model_id", "It cannot be set together with parent_model.")
            self._store.get(MODELS, str(of))
            return of
        if request.model_id and not _MODEL_ID.fullmatch(request.model_id):
            raise invalid_field(
                "model_id",
                f'"{request.model_id}" is not 1 to 63 characters of [a-z0-9_-] from a letter or _ on.',
            )
        return _named(parent, request.model_id or new_id())

    def GetModel(self, request: Raw) -> Raw:
        """Get a model, or one version of it by id or alias."""
        return self._registry.show(canonical_name(request.name, "models"))

    def ListModels(self, request: Raw) -> Raw:
        """List the models of a location, each with its default version."""
        parent = canonical_location(request.parent)
        models, token = list_page(
            self._store, MODELS, parent, request, filterable=_MODEL_FILTER, view=self._registry.show_default
        )
        return ListModelsResponse(models=models, next_page_token=token)

    def ListModelVersions(self, request: Raw) -> Raw:
        """List the versions of a model, oldest first; each is named with its version id."""
        name = canonical_name(request.name, "models")
        model = self._store.get(MODELS, str(name.unversioned))
        versions, token = list_page(
            self._store,
            VERSIONS,
            model.name,
            request,
            filterable=_VERSION_FILTER,
            view=lambda version: combined(model, version),
            orderable=("create_time", "update_time"),
            oldest_first=True,
        )
        return ListModelVersionsResponse(models=versions, next_page_token=token)

    def UpdateModel(self, request: Raw) -> Raw:
        """Change a model's display name, description or labels, or a version's description or labels."""
        wanted = request.model
        name = canonical_name(wanted.name, "models")
        if name.version == "-":
            name = name.unversioned
        paths = update_paths(request.update_mask, Model)
        immutable = paths - MODEL_FIELDS - VERSION_FIELDS
        if immutable:
            raise invalid(f"These fields of a Model cannot be updated: {', '.join(sorted(immutable))}.")
        wrong = paths - (MODEL_FIELDS if name.version is None else VERSION_FIELDS)
        if wrong:
            what = "model" if name.version is None else "model version"
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"{wanted.name} names a {what}, of which {', '.join(sorted(wrong))} cannot be updated: "
                "display_name and description belong to the model, version_description to models/ID@VERSION.",
            )
        if "display_name" in paths:
            check_display_name(wanted.display_name, "model.display_name")
        if "labels" in paths:
            check_labels(wanted.labels, "model.labels")
        with self._store.transaction():
            version = self._registry.version(name)
            model = self._store.get(MODELS, str(name.unversioned))
            check_model_etag(model, version, wanted.etag, of_version=name.version is not None)
            changed = model if name.version is None else version
            for path in paths - {"labels"}:
                setattr(changed, path, getattr(wanted, path))
            if "labels" in paths:
                changed.labels.clear()
                changed.labels.update(wanted.labels)
            if changed is version:
                self._store.replace(VERSIONS, version)
            self._store.replace(MODELS, model)
            if self._renamed is not None and "display_name" in paths:
                # Within the transaction, so that two renamings are told in their order.
                self._renamed(model.name, model.display_name)
            return self._registry.show(name)

    def MergeVersionAliases(self, request: Raw) -> Raw:
        """Add aliases to a version, and remove those that are written with a ``-`` before them."""
        name = canonical_name(request.name, "models")
        if name.version is None:
            raise invalid(f'Invalid name "{request.name}": a version has to be named, models/ID@VERSION.')
        if not request.version_aliases:
            raise invalid_field("version_aliases", "Required field is not set.")
        added = [alias for alias in request.version_aliases if not alias.startswith("-")]
        removed = [alias[1:] for alias in request.version_aliases if alias.startswith("-")]
        for alias in (*added, *removed):
            _check_alias(alias, "version_aliases")
        added, removed = (
            [alias for alias in added if alias not in removed],
            [alias for alias in removed if alias not in added],
        )
        with self._store.transaction():
            version = self._registry.version(name)
            if DEFAULT_ALIAS in removed and DEFAULT_ALIAS in version.version_aliases:
                raise ApiError(
                    Code.FAILED_PRECONDITION,
                    f'The alias "{DEFAULT_ALIAS}" cannot be removed from {version.name}: there must be '
                    "exactly one default version. Give the alias to another version instead.",
                )
            self._registry.give_aliases(version.name, added, removed)
            return self._registry.show(name.at(version.version_id))

    def DeleteModelVersion(self, request: Raw) -> Raw:
        """Delete one version of a model."""
        name = canonical_name(request.name, "models")
        if name.version is None:
            raise invalid(f'Invalid name "{request.name}": a version has to be named, models/ID@VERSION.')
        with self._store.transaction():
            version = self._registry.version(name)
            if len(self._registry.versions(str(name.unversioned))) == 1:
                raise ApiError(
                    Code.FAILED_PRECONDITION,
                    f"{version.name} is the only version of its model. Delete the model instead.",
                )
            if DEFAULT_ALIAS in version.version_aliases:
                raise ApiError(
                    Code.FAILED_PRECONDITION,
                    f"{version.name} is the default version. Give the alias "
                    f'"{DEFAULT_ALIAS}" to another version first.',
                )
            _refuse_deployed(version.name, [version])
            self._registry.delete_version(version)
            return self._operations.done(str(name.unversioned), DeleteOperationMetadata(), Empty())

    def DeleteModel(self, request: Raw) -> Raw:
        """Delete a model with all its versions."""
        name = canonical_name(request.name, "models")
        if name.version is not None:
            raise invalid(f'Invalid name "{request.name}": DeleteModelVersion deletes a version of a model.')
        with self._store.transaction():
            model = self._store.get(MODELS, str(name))
            _refuse_deployed(model.name, self._registry.versions(model.name))
            self._registry.delete_model(model.name)
            return self._operations.done(model.name, DeleteOperationMetadata(), Empty())


def _named(parent: str, model_id: str) -> ResourceName:
    return canonical_name(f"{parent}/models/{model_id}", "models")


def _as_kept(uploaded: Raw) -> Raw:
    """An uploaded model without what only the service may say, and with what it says."""
    version = Model()
    for field, value in uploaded.ListFields():
        if field.name in _GIVEN:
            if field.is_repeated:
                getattr(version, field.name).MergeFrom(value)
            elif field.message_type is not None:
                getattr(version, field.name).CopyFrom(value)
            else:
                setattr(version, field.name, value)
    version.supported_deployment_resources_types.append(Model.DEDICATED_RESOURCES)
    version.supported_input_storage_formats.extend(_INPUT_FORMATS)
    version.supported_output_storage_formats.extend(_OUTPUT_FORMATS)
    version.model_source_info.source_type = type(version.model_source_info).CUSTOM
    return version


_GIVEN = frozenset(
    {
        "artifact_uri",
        "base_model_source",
        "container_spec",
        "default_checkpoint_id",
        "description",
        "display_name",
        "explanation_spec",
        "labels",
        "metadata",
        "metadata_schema_uri",
        "pipeline_job",
        "predict_schemata",
        "version_aliases",
        "version_description",
    }
)
"""Fields of a Model that an upload may set; the others are output only, and ignored."""


def _check_alias(alias: str, field: str) -> None:
    if not _ALIAS.fullmatch(alias):
        raise invalid_field(field, f'The alias "{alias}" does not match [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9].')


def _refuse_deployed(name: str, versions: list[Raw]) -> None:
    endpoints = sorted({used.endpoint for version in versions for used in version.deployed_models})
    if endpoints:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"The Model {name} is deployed or being deployed at the following Endpoint(s): "
            f"{', '.join(endpoints)}. Undeploy it first.",
        )
