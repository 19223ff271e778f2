"""Reads what a SavedModel takes and gives, in milliseconds and without TensorFlow.

``saved_model.pb`` is a protocol buffer. The few fields needed of it are declared here at run time;
protobuf's parser keeps everything else aside unread.

Format: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/saved_model.proto
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertexkit.errors import InvalidArgument
from vertexkit.types import Signature, TensorSpec

__all__ = ["SERVING_SIGNATURE", "SavedModelInfo", "read_saved_model", "served_signature"]

SERVING_SIGNATURE = "serving_default"
"""The signature that TensorFlow's serving containers answer predictions with."""
_SERVING_TAG = "serve"
_PB, _PBTXT = "saved_model.pb", "saved_model.pbtxt"
_INTERNAL = "__saved_model_"
"""How the names of SavedModel's own signatures, of initialisers, start."""

_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16",
    16: "quint16", 17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant",
    22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip
"""https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/types.proto"""


@dataclass(frozen=True)
class SavedModelInfo:
    """What a SavedModel folder holds."""

    folder: Path
    signatures: Mapping[str, Signature]
    """The signatures that can be called, by name."""
    default: Signature
    """The one that serving answers with."""
    files: int
    """How many files are in the folder and below."""
    size_bytes: int
    """Their size together."""
    tensorflow_version: str
    """The TensorFlow that wrote it, such as ``"2.21.0"``; empty if it does not say."""
    has_weights: bool
    """Whether there is something to restore from ``variables/``."""

    def __str__(self) -> str:
        """``my_model: serving_default(...) -> ... (12 files, 1.3 MB)``."""
        return f"{self.folder.name}: {self.default} ({self.files} files, {self.size_bytes / 1e6:.1f} MB)"


def read_saved_model(folder: Path | str, *, argument: str = "artifact") -> SavedModelInfo:
    """Read a SavedModel's signatures.

    Args:
        folder: The folder that holds ``saved_model.pb``.
        argument: What to call the folder in errors.

    Returns:
        Its signatures and size. Variables are not read.

    Raises:
        InvalidArgument: It is no SavedModel that can be served; the message says what is there.
    """
    path = Path(folder)
    if not path.is_dir():
        raise _no_folder(argument, path)
    file = path / _PB
    if not file.is_file():
        raise _no_saved_model(argument, path)
    meta_graph = _serving_graph(argument, str(path), file.read_bytes())
    signatures = _signatures(meta_graph)
    sizes = [entry.stat().st_size for entry in path.rglob("*") if entry.is_file()]
    return SavedModelInfo(
        folder=path,
        signatures=signatures,
        default=_served(argument, str(folder), signatures),
        files=len(sizes),
        size_bytes=sum(sizes),
        has_weights=bool(meta_graph.saver_def.restore_op_name),
        tensorflow_version=meta_graph.meta_info_def.tensorflow_version,
    )


def served_signature(data: bytes, source: str, *, argument: str = "artifact") -> Signature:
    """Read the signature that serving answers with.

    Args:
        data: The content of ``saved_model.pb``.
        source: Where it is from, for errors.
        argument: What to call that.

    Raises:
        InvalidArgument: It is no SavedModel that can be served.
    """
    return _served(argument, source, _signatures(_serving_graph(argument, source, data)))


def _served(argument: str, source: str, signatures: Mapping[str, Signature]) -> Signature:
    default = signatures.get(SERVING_SIGNATURE)
    if default is None:
        found = ", ".join(signatures) or "none"
        raise InvalidArgument(
            argument,
            source,
            f"has no signature {SERVING_SIGNATURE!r}, which serving answers with (it has: {found})",
            remedy="write it with model.export(folder), or with "
            f"tf.saved_model.save(model, folder, signatures={{{SERVING_SIGNATURE!r}: function}})",
        )
    if not default.inputs or not default.outputs:
        missing = "inputs" if not default.inputs else "outputs"
        raise InvalidArgument(argument, source, f"has a signature that has no {missing}: {default}")
    return default


def _signatures(meta_graph: Any) -> dict[str, Signature]:
    return {
        name: _signature(name, definition)
        for name, definition in sorted(meta_graph.signature_def.items())
        if not name.startswith(_INTERNAL)
    }


def _serving_graph(argument: str, source: str, data: bytes) -> Any:
    from google.protobuf.message import DecodeError

    saved_model = _message_class()()
    try:
        saved_model.ParseFromString(data)
    except DecodeError as error:
        raise InvalidArgument(
            argument,
            source,
            f"has a {_PB} ({len(data)} bytes) that is torn or something else",
            remedy="export the model again",
        ) from error
    for meta_graph in saved_model.meta_graphs:
        if _SERVING_TAG in meta_graph.meta_info_def.tags:
            return meta_graph
    tags = [tuple(meta_graph.meta_info_def.tags) for meta_graph in saved_model.meta_graphs]
    raise InvalidArgument(
        argument,
        source,
        f"has a {_PB} without a graph for serving, tagged {_SERVING_TAG!r} (it has: {tags or 'no graph'})",
        remedy="export the model again, with model.export(folder)",
    )


def _signature(name: str, definition: Any) -> Signature:
    return Signature(dict(_specs(definition.inputs)), dict(_specs(definition.outputs)), name=name)


def _specs(tensors: Any) -> Iterator[tuple[str, TensorSpec]]:
    for name in sorted(tensors, key=_natural):
        tensor = tensors[name]
        shape = None
        if tensor.HasField("tensor_shape") and not tensor.tensor_shape.unknown_rank:
            shape = tuple(None if axis.size < 0 else axis.size for axis in tensor.tensor_shape.dim)
        # From 100 on, dtypes are those of references: TensorFlow 1's variables.
        dtype = _DTYPES.get(tensor.dtype % 100, f"dtype {tensor.dtype}")
        yield name, TensorSpec(name, dtype, shape)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts ``output_2`` before ``output_10``."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def _no_folder(argument: str, path: Path) -> InvalidArgument:
    if not path.exists():
        return InvalidArgument(argument, str(path), "does not exist")
    remedy = "give the folder that holds it" if path.name == _PB else _export_remedy(path)
    return InvalidArgument(argument, str(path), "is a file, not a SavedModel folder", remedy=remedy)


def _no_saved_model(argument: str, path: Path) -> InvalidArgument:
    entries = sorted(path.iterdir())
    below = [entry for entry in entries if entry.is_dir() and (entry / _PB).is_file()]
    keras = [entry for entry in entries if entry.suffix in {".keras", ".h5", ".hdf5"}]
    if len(below) == 1:
        remedy = f"give {below[0]}, which holds it"
    elif below:
        remedy = f"give one of its versions: {', '.join(entry.name for entry in below)}"
    elif keras:
        remedy = _export_remedy(keras[0])
    elif (path / _PBTXT).is_file():
        remedy = "save it in binary form: serving does not read the text form"
    else:
        remedy = "write one with model.export(folder)"
    names = [entry.name + "/" * entry.is_dir() for entry in entries]
    there = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    problem = f"holds no {_PB} ({f'it holds {there}' if names else 'it is empty'})"
    return InvalidArgument(argument, str(path), problem, remedy=remedy)


def _export_remedy(path: Path) -> str:
    if path.suffix in {".keras", ".h5", ".hdf5"}:
        return (
            f"write a SavedModel with keras.models.load_model({str(path)!r}).export(folder): "
            f"{path.name} is a model for Keras, not for serving"
        )
    return "give a folder written by model.export(folder)"


@functools.cache
def _message_class() -> Any:
    """The class of SavedModel messages, with the fields that are read here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="vertexkit/saved_model.proto", package="vertexkit.saved_model", syntax="proto3"
    )

    def message(name: str, **fields: tuple[int, Any, bool]) -> Any:
        made = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added = made.field.add(name=field_name, number=number, label=label)
            if isinstance(kind, str):
                added.type = field.TYPE_MESSAGE
                added.type_name = f".{file.package}.{kind}"
            else:
                added.type = kind
        return made

    def map_of(owner: Any, value: str, **numbers: int) -> None:
        for field_name, number in numbers.items():
            entry = owner.nested_type.add(name=f"{field_name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            optional = field.LABEL_OPTIONAL
            entry.field.add(name="key", number=1, label=optional, type=field.TYPE_STRING)
            entry.field.add(
                name="value",
                number=2,
                label=optional,
                type=field.TYPE_MESSAGE,
                type_name=f".{file.package}.{value}",
            )
            owner.field.add(
                name=field_name,
                number=number,
                label=field.LABEL_REPEATED,
                type=field.TYPE_MESSAGE,
                type_name=f".{file.package}.{owner.name}.{entry.name}",
            )

    message("Dim", size=(1, field.TYPE_INT64, False))
    message("TensorShape", dim=(2, "Dim", True), unknown_rank=(3, field.TYPE_BOOL, False))
    message("TensorInfo", dtype=(2, field.TYPE_INT32, False), tensor_shape=(3, "TensorShape", False))
    map_of(message("SignatureDef"), "TensorInfo", inputs=1, outputs=2)
    message("MetaInfo", tags=(4, field.TYPE_STRING, True), tensorflow_version=(5, field.TYPE_STRING, False))
    message("Saver", restore_op_name=(3, field.TYPE_STRING, False))
    meta_graph = message("MetaGraph", meta_info_def=(1, "MetaInfo", False), saver_def=(3, "Saver", False))
    map_of(meta_graph, "SignatureDef", signature_def=5)
    message("SavedModel", meta_graphs=(2, "MetaGraph", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.SavedModel"))
