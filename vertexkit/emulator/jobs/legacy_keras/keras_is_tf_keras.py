"""Makes every import of ``keras`` one of ``tf_keras``: the very same modules under both names.

Copied into the interpreter of a job whose image had Keras 2, and imported as it starts. A job has nothing of
vertexkit, so this needs the standard library only.

``tf.keras`` is a module of tf_keras too, which has lost one name that programs print: ``__version__``.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence

# As an attribute of TensorFlow's module, and as one that is imported by that name.
_KERAS_OF_TENSORFLOW = frozenset({"tf_keras.api._v2.keras", "tensorflow.keras"})


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``keras.x`` as ``tf_keras.x``."""

    def __init__(self) -> None:
        self._own_specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of Keras; None for any other."""
        if fullname in _KERAS_OF_TENSORFLOW:
            found = importlib.machinery.PathFinder.find_spec(fullname, path)
            if found is not None and found.loader is not None:
                found.loader = _WithVersion(found.loader)
            return found
        if fullname != "keras" and not fullname.startswith("keras."):
            return None
        try:
            known = importlib.util.find_spec(f"tf_{fullname}")
        except ModuleNotFoundError:
            return None
        if known is None:
            return None
        return importlib.util.spec_from_loader(
            fullname, self, origin=known.origin, is_package=known.submodule_search_locations is not None
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The module of tf_keras itself, which keeps its own name."""
        module = importlib.import_module(f"tf_{spec.name}")
        self._own_specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Give the module, which has been executed already, its own spec back."""
        if module.__spec__ is not None:
            module.__spec__ = self._own_specs.pop(module.__spec__.name)


class _WithVersion(importlib.abc.Loader):
    """Loads what is ``tf.keras``, and gives it its version."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """The module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute it."""
        self._loader.exec_module(module)
        if not hasattr(module, "__version__"):
            version = importlib.import_module("tf_keras.src").__version__
            module.__version__ = version  # type: ignore[attr-defined]


sys.meta_path.insert(0, _Alias())
