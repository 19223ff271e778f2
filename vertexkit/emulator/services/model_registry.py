"""Models and their versions, as they are kept and as they are shown.

A model is one row with what all its versions share (display name, description, labels), and one
row per version with the rest. What is shown is both together. The model's row names its default
version in ``version_id``.

An etag stands for what UpdateModel can change, and for nothing else: not for where a version is
deployed, nor for which version has which alias. It has a half for the model and one for the version,
because Google's client reads a version and sends its etag back in an update of the model.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from vertexkit._core.names import ResourceName
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import DeployedModelRef, Model, Raw
from vertexkit.emulator.store import Kind, Store, check_etag

MODELS = Kind("models", Model, "Model")
VERSIONS = Kind("modelVersions", Model, "Model version")
DEFAULT_ALIAS = "default"
MODEL_FIELDS = frozenset({"display_name", "description", "labels"})
"""What UpdateModel can change of a model."""
VERSION_FIELDS = frozenset({"version_description", "labels"})
"""What UpdateModel can change of a version."""
_SHARED = ("display_name", "description", "create_time", "update_time")


class ModelRegistry:
    """Finds, shows and changes models. Every method is one transaction, or joins the caller's."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def version(self, name: ResourceName) -> Raw:
        """The row of the version that a name means: by id, by alias, or the default one.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self.store.transaction():
            model = self.store.get(MODELS, str(name.unversioned))
            if name.version is None or name.version == DEFAULT_ALIAS:
                return self.store.get(VERSIONS, f"{model.name}@{model.version_id}")
            by_id = self.store.find(VERSIONS, str(name))
            if by_id is not None:
                return by_id
            for version in self.versions(model.name):
                if name.version in version.version_aliases:
                    return version
        raise ApiError(Code.NOT_FOUND, f"The Model {name} does not exist.")

    def has(self, model_name: str) -> bool:
        """Whether there is a model of that name."""
        return self.store.find(MODELS, model_name) is not None

    def versions(self, model_name: str) -> list[Raw]:
        """The rows of all versions of a model, oldest first."""
        return self.store.all(VERSIONS, model_name)

    def show(self, name: ResourceName) -> Raw:
        """The model, or the version of it, as an answer shows it.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self.store.transaction():
            version = self.version(name)
            model = self.store.get(MODELS, str(name.unversioned))
        shown = combined(model, version)
        shown.name = model.name if name.version is None else version.name
        return shown

    def show_default(self, model: Raw) -> Raw:
        """A model's row with its default version, as a list of models shows it."""
        shown = combined(model, self.store.get(VERSIONS, f"{model.name}@{model.version_id}"))
        shown.name = model.name
        return shown

    def add_model(self, name: ResourceName, version: Raw) -> Raw:
        """Keep a new model with its first version, which becomes the default one.

        Args:
            name: The model's name.
            version: The first version; its name, id and aliases are filled in.

        Returns:
            The version's row.

        Raises:
            ApiError: ALREADY_EXISTS.
        """
        model = Model(
            name=str(name),
            display_name=version.display_name,
            description=version.description,
            version_id="1",
        )
        model.labels.update(version.labels)
        version.labels.clear()
        with self.store.transaction():
            self.store.insert(MODELS, name.parent, model)
            return self.add_version(model.name, version)

    def add_version(self, model_name: str, version: Raw) -> Raw:
        """Keep a new version of a model, and give it the aliases that it asks for.

        Raises:
            ApiError: NOT_FOUND, there is no such model.
        """
        with self.store.transaction():
            self.store.get(MODELS, model_name)
            version.version_id = str(self.store.next_number(_counter(model_name)))
            version.name = f"{model_name}@{version.version_id}"
            aliases = list(version.version_aliases)
            if version.version_id == "1":
                aliases.append(DEFAULT_ALIAS)
            del version.version_aliases[:]
            # What versions share is kept once, in the model's row.
            version.display_name = version.description = ""
            self.store.insert(VERSIONS, model_name, version)
            self.give_aliases(version.name, aliases, ())
            return self.store.get(VERSIONS, version.name)

    def give_aliases(self, version_name: str, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add aliases to a version, taking them from whichever has them, and remove others from it.

        Args:
            version_name: The version.
            added: What it gets, after those that it has and in this order.
            removed: What it loses.
        """
        model_name, _, version_id = version_name.partition("@")
        added = list(dict.fromkeys(added))
        with self.store.transaction():
            for version in self.versions(model_name):
                gets, loses = (added, set(removed)) if version.name == version_name else ((), set(added))
                before = list(version.version_aliases)
                after = [alias for alias in dict.fromkeys([*before, *gets]) if alias not in loses]
                if after != before:
                    version.version_aliases[:] = after
                    self.store.replace(VERSIONS, version)
            model = self.store.get(MODELS, model_name)
            if DEFAULT_ALIAS in added:
                model.version_id = version_id
            self.store.replace(MODELS, model)

    def delete_version(self, version: Raw) -> None:
        """Drop a version."""
        with self.store.transaction():
            self.store.delete(VERSIONS, version.name)
            model_name = version.name.partition("@")[0]
            self.store.replace(MODELS, self.store.get(MODELS, model_name))

    def delete_model(self, model_name: str) -> None:
        """Drop a model with all its versions."""
        with self.store.transaction():
            for version in self.versions(model_name):
                self.store.delete(VERSIONS, version.name)
            self.store.delete(MODELS, model_name)
            self.store.forget_counter(_counter(model_name))

    def deployed(self, version_name: str, endpoint: str, deployed_model_id: str) -> None:
        """Note on a version that it is deployed."""
        reference = DeployedModelRef(endpoint=endpoint, deployed_model_id=deployed_model_id)
        with self.store.transaction():
            version = self.store.get(VERSIONS, version_name)
            version.deployed_models.append(reference)
            self.store.replace(VERSIONS, version, touch=False)

    def undeployed(self, version_name: str, endpoint: str, deployed_model_id: str) -> None:
        """Note on a version that it is no longer deployed."""
        with self.store.transaction():
            version = self.store.find(VERSIONS, version_name)
            if version is None:
                return
            kept = [
                reference
                for reference in version.deployed_models
                if (reference.endpoint, reference.deployed_model_id) != (endpoint, deployed_model_id)
            ]
            del version.deployed_models[:]
            version.deployed_models.extend(kept)
            self.store.replace(VERSIONS, version, touch=False)


def combined(model: Raw, version: Raw) -> Raw:
    """A version as it is shown: with what all versions of its model share."""
    shown = Model()
    shown.CopyFrom(version)
    shown.etag = f"{_edition(model, MODEL_FIELDS)}.{_edition(version, VERSION_FIELDS)}"
    shown.version_create_time.CopyFrom(version.create_time)
    shown.version_update_time.CopyFrom(version.update_time)
    for field in _SHARED:
        value = getattr(model, field)
        if isinstance(value, str):
            setattr(shown, field, value)
        else:
            getattr(shown, field).CopyFrom(value)
    for key, value in model.labels.items():
        if key not in version.labels:
            shown.labels[key] = value
    return shown


def check_model_etag(model: Raw, version: Raw, etag: str, *, of_version: bool) -> None:
    """Refuse an update that was made from an older state of what it changes.

    Args:
        model: The model's row.
        version: The row of a version.
        etag: The etag in the request; an empty one overwrites blindly.
        of_version: Whether the version is to be changed, rather than the model.

    Raises:
        ApiError: ABORTED.
    """
    current = combined(model, version)
    half = 2 if of_version else 0
    if etag.partition(".")[half] != current.etag.partition(".")[half]:
        check_etag(current, etag)


def _edition(row: Raw, fields: frozenset[str]) -> str:
    """Half an etag: the same as long as these fields of a row are."""
    edited = Model()
    for field in fields - {"labels"}:
        setattr(edited, field, getattr(row, field))
    edited.labels.update(row.labels)
    digest = hashlib.sha256(edited.SerializeToString(deterministic=True)).digest()
    return base64.urlsafe_b64encode(digest[:12]).decode()


def _counter(model_name: str) -> str:
    return f"versions of {model_name}"
