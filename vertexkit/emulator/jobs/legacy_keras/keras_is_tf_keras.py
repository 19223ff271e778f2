"""Makes every import of ``keras`` one of ``tf_keras``: the very same modules under both names.

Copied into the interpreter of a job whose image had Keras 2, and imported as it starts. A job has nothing of
vertexkit, so this needs the standard library only.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``keras.x`` as ``tf_keras.x``."""

    def __init__(self) -> None:
        self._own_specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of Keras; None for any other."""
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


sys.meta_path.insert(0, _Alias())
