"""Where the SavedModel lies in the folder that a replica is given."""

from __future__ import annotations

from pathlib import Path

from vertexkit.emulator.serving.model_server.errors import LoadError

_NAMES = ("saved_model.pb", "saved_model.pbtxt")


def find_saved_model(folder: Path) -> Path:
    """The SavedModel at the folder's root, or in its single numeric version sub-folder.

    TensorFlow Serving itself takes only the second; the prebuilt containers take both.

    Raises:
        LoadError: There is no SavedModel, or more than one version of it.
    """
    if _is_saved_model(folder):
        return folder
    versions = sorted(
        (path for path in folder.glob("*") if path.name.isdecimal() and _is_saved_model(path)),
        key=lambda path: int(path.name),
    )
    if not versions:
        found = ", ".join(sorted(path.name for path in folder.glob("*"))[:10]) or "nothing"
        raise LoadError(
            "Could not find SavedModel .pb or .pbtxt at the model's folder, nor in a numeric version "
            f"sub-folder of it; it holds: {found}"
        )
    if len(versions) > 1:
        names = ", ".join(path.name for path in versions)
        raise LoadError(f"The model's folder holds several versions ({names}); deploy the folder of one")
    return versions[0]


def _is_saved_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _NAMES)
