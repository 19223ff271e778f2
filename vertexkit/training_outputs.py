"""What a training job has written beside its model: checkpoints, and the scalars that TensorBoard shows."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from vertexkit._core.fan_out import fan_out
from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit._transfer.jobs import attempted
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit.errors import ConfigurationError, DeadlineExceeded, InvalidArgument, NotFound
from vertexkit.event_files import Scalar, is_event_file, scalars
from vertexkit.progress import amount
from vertexkit.storage import Bucket, ObjectInfo

if TYPE_CHECKING:
    import pandas as pd

    from vertexkit._core.context import Context

__all__ = ["Checkpoint", "checkpoints", "metrics"]

_COLUMNS: Final = ("run", "tag", "step", "wall_time", "value")
_AT_ONCE: Final = 8
_LOOKS: Final = 5
_SECONDS: Final = 600.0
_SHARD: Final = re.compile(r"(.+)\.data-\d{5}-of-(\d{5})")
_FILES: Final = (".keras", ".weights.h5", ".h5", ".hdf5")
# A whole number, and no part of one with a decimal point: 12 in "epoch-12-loss-0.25".
_NUMBER: Final = re.compile(r"(?<![\d.])\d+(?![\d]|\.\d)")
_BACKUP: Final = "training_metadata.json"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a job, complete."""

    name: str
    """What it is called in the folder of checkpoints: ``ckpt-3``, ``model-03.keras``."""
    uri: str
    """What to restore: ``tf.train.Checkpoint.restore(uri)``, ``keras.models.load_model(uri)``."""
    kind: Literal["tensorflow", "keras", "saved_model"]
    """Who reads it."""
    step: int | None
    """The step or epoch in its name, or in what Keras's BackupAndRestore wrote beside it."""
    time: datetime
    """When the last of it was written, in UTC."""
    size: int
    """Bytes, of all its files."""

    def __str__(self) -> str:
        """``gs://b/job/checkpoints/ckpt-3 (step 3, 2.1 MB, 2026-11-22 08:30:05 UTC)``."""
        step = "" if self.step is None else f"step {self.step}, "
        return f"{self.uri} ({step}{amount(self.size, 'bytes')}, {self.time:%Y-%m-%d %H:%M:%S} UTC)"


def checkpoints(context: Context, uri: str) -> list[Checkpoint]:
    """The checkpoints in a folder of a bucket, the newest last.

    TensorFlow's (``.index`` with all of its ``.data``), Keras's (``.keras``, ``.weights.h5``, ``.h5``, and
    what ``BackupAndRestore`` keeps) and SavedModels. One that is still being written is left out.

    Args:
        context: The session's parts.
        uri: The folder: the job's ``AIP_CHECKPOINT_DIR``.

    Raises:
        InvalidArgument: It is no ``gs://`` URI.
        NotFound: There is no such bucket.
    """
    bucket, folder = _place(context, uri)
    objects = {item.name[len(folder.name) :]: item for item in bucket.list(folder.name)}
    found = [*_saved_models(objects, folder), *_tensorflow(objects, folder), *_keras(objects, folder, bucket)]
    return sorted(found, key=lambda item: (item.time, -1 if item.step is None else item.step, item.name))


def metrics(context: Context, logs_uri: str) -> pd.DataFrame:
    """The scalars that a job has logged for TensorBoard; also while it is running.

    Args:
        context: The session's parts.
        logs_uri: The folder of the event files: the job's ``AIP_TENSORBOARD_LOG_DIR``.

    Returns:
        A row for each value: ``run`` (the folder of its event file: ``train``, ``validation``; ``.`` for the
        logs' own), ``tag`` (``epoch_loss``), ``step``, ``wall_time`` (UTC) and ``value``, ordered by the
        first three. Of a step that was done again after an interruption the later value counts. No rows
        where nothing is logged.

    Raises:
        InvalidArgument: It is no ``gs://`` URI.
        ConfigurationError: pandas or tensorboard is not installed.
        NotFound: There is no such bucket.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ConfigurationError(
            "the scalars of a job come as a frame of pandas, which is not installed",
            remedy="pip install 'vertexkit[pandas]'",
        ) from None
    bucket, folder = _place(context, logs_uri)
    objects = [item for item in bucket.list(folder.name) if is_event_file(item.name)]
    rows = list(_rows(ObjectsApi(context, folder.bucket), folder, objects))
    frame = pd.DataFrame.from_records(rows, columns=list(_COLUMNS))
    # A frame without rows has the same columns of the same types.
    frame = frame.astype({"run": "str", "tag": "str", "step": "int64", "value": "float64"})
    times = pd.to_datetime(frame["wall_time"].astype("float64"), unit="s", utc=True)
    frame["wall_time"] = times.dt.as_unit("ns")
    frame = frame.sort_values(["run", "tag", "step", "wall_time"], kind="stable")
    return frame.drop_duplicates(["run", "tag", "step"], keep="last", ignore_index=True)


def _rows(
    api: ObjectsApi, folder: GcsUri, objects: Iterable[ObjectInfo]
) -> Iterator[tuple[str, str, int, float, float]]:
    objects = sorted(objects, key=lambda item: item.name)
    found = fan_out(
        [partial(_scalars, api, item) for item in objects],
        concurrency=_AT_ONCE,
        deadline=time.monotonic() + _SECONDS,
        stop=threading.Event(),
        late=lambda: DeadlineExceeded(f"the logs were not read after {_SECONDS:g} s", resource=str(folder)),
    )
    for item, values in zip(objects, found, strict=True):
        run = item.name[len(folder.name) :].rpartition("/")[0] or "."
        for value in values:
            yield run, value.tag, value.step, value.wall_time, value.value


def _scalars(api: ObjectsApi, item: ObjectInfo) -> list[Scalar]:
    latest: ObjectInfo | None = item
    for _ in range(_LOOKS):
        if latest is None:  # deleted
            break
        try:
            return attempted(partial(_read, api, latest), Patience())
        except NotFound:  # written anew since it was looked at
            latest = attempted(partial(api.find, item.name), Patience())
    return []


def _read(api: ObjectsApi, item: ObjectInfo) -> list[Scalar]:
    return list(scalars(api.stream(item.name, start=0, stop=item.size, generation=item.generation)))


def _place(context: Context, uri: str) -> tuple[Bucket, GcsUri]:
    """A folder's bucket, and its URI, whose name ends in ``/`` unless it is empty."""
    try:
        found = parse_gcs_uri(uri)
    except ValueError as error:
        raise InvalidArgument("uri", uri, str(error)) from None
    name = f"{found.name.rstrip('/')}/" if found.name.strip("/") else ""
    return Bucket(context, found.bucket), GcsUri(found.bucket, name)


def _made(
    folder: GcsUri,
    name: str,
    kind: Literal["tensorflow", "keras", "saved_model"],
    step: int | None,
    files: Iterable[ObjectInfo],
) -> Checkpoint:
    files = list(files)
    times = [item.updated for item in files if item.updated is not None]
    written = max(times, default=datetime.fromtimestamp(0, UTC))
    return Checkpoint(name, str(folder / name), kind, step, written, sum(item.size for item in files))


def _saved_models(objects: dict[str, ObjectInfo], folder: GcsUri) -> Iterator[Checkpoint]:
    """SavedModels, whose files are taken out of ``objects``."""
    for path in [name for name in objects if name.endswith("/saved_model.pb")]:
        name = path.rpartition("/")[0]
        files = [objects.pop(other) for other in [*objects] if other.startswith(f"{name}/")]
        yield _made(folder, name, "saved_model", _step(name), files)


def _tensorflow(objects: dict[str, ObjectInfo], folder: GcsUri) -> Iterator[Checkpoint]:
    shards: dict[str, list[ObjectInfo]] = defaultdict(list)
    wanted: dict[str, int] = {}
    for name, item in objects.items():
        match = _SHARD.fullmatch(name)
        if match is not None:
            shards[match[1]].append(item)
            wanted[match[1]] = int(match[2])
    for name, parts in shards.items():
        index = objects.get(f"{name}.index")
        if index is not None and len(parts) == wanted[name]:
            yield _made(folder, name, "tensorflow", _step(name), [index, *parts])


def _keras(objects: dict[str, ObjectInfo], folder: GcsUri, bucket: Bucket) -> Iterator[Checkpoint]:
    for name, item in objects.items():
        ending = next((ending for ending in _FILES if name.endswith(ending)), None)
        if ending is None:
            continue
        backup = objects.get(f"{name.rpartition('/')[0]}/{_BACKUP}".lstrip("/"))
        step = _step(name.removesuffix(ending)) if backup is None else _epoch(bucket, backup)
        yield _made(folder, name, "keras", step, [item])


def _step(name: str) -> int | None:
    numbers = _NUMBER.findall(name.rpartition("/")[2])
    return int(numbers[-1]) if numbers else None


def _epoch(bucket: Bucket, backup: ObjectInfo) -> int | None:
    """The epoch that Keras's BackupAndRestore goes on from."""
    try:
        found = json.loads(bucket.read(backup.name))
        return int(found["epoch"])
    except (NotFound, ValueError, KeyError, TypeError):
        return None
