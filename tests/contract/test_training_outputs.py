"""Checkpoints and scalars of a job, as they lie in a bucket of a real Cloud Storage server."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from storage_server import StorageServer
from tensorboard.compat.proto.event_pb2 import Event
from tf_records import record

from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit.cleanup import Created
from vertexkit.errors import InvalidArgument, NotFound
from vertexkit.metrics_plot import plot
from vertexkit.storage import Bucket, Buckets
from vertexkit.training_outputs import checkpoints, metrics


@pytest.fixture
def context(server: StorageServer) -> Iterator[Context]:
    """A session's parts, for the Cloud Storage server."""
    target = Target("my-project", "us-central1", server.url, "", server.url, anonymous=True)
    clients = Clients(target)
    yield Context(target, clients, Created(), {}, bucket="unused-bucket", progress=False)
    clients.close()


@pytest.fixture
def bucket(context: Context) -> Bucket:
    """A bucket of the test's own."""
    return Buckets(context).create(f"b-{uuid.uuid4().hex[:12]}")


def event(tag: str, step: int, value: float, wall_time: float = 1_700_000_000.0) -> bytes:
    """A record of an event file."""
    message = Event(step=step, wall_time=wall_time)
    message.summary.value.add(tag=tag, simple_value=value)
    return record(message.SerializeToString())


def test_every_kind_of_checkpoint_is_found_and_the_newest_is_last(context: Context, bucket: Bucket) -> None:
    for name in (
        *("tf/ckpt-9.index", "tf/ckpt-9.data-00000-of-00001", "tf/checkpoint"),
        *("sharded-3.index", "sharded-3.data-00000-of-00002", "sharded-3.data-00001-of-00002"),
        *("unfinished-4.index", "unfinished-4.data-00000-of-00002"),
        *("orphan-5.data-00000-of-00001", "notes.txt"),
        *("epoch-12-loss-0.25.keras", "w.weights.h5"),
        *("backup/latest.weights.h5",),
        *("saved-2/saved_model.pb", "saved-2/variables/variables.index"),
        *("saved-2/variables/variables.data-00000-of-00001",),
    ):
        bucket.write(f"job/checkpoints/{name}", "1234")
    bucket.write("job/checkpoints/backup/training_metadata.json", json.dumps({"epoch": 7, "batch": 0}))
    bucket.write("job/checkpoints-other/x.keras", "other job")
    bucket.write("job/checkpoints/tf/ckpt-10.data-00000-of-00001", "1234")
    bucket.write("job/checkpoints/tf/ckpt-10.index", "1234")

    found = checkpoints(context, f"{bucket.uri}/job/checkpoints/")
    assert {(item.name, item.kind, item.step, item.size) for item in found} == {
        ("tf/ckpt-9", "tensorflow", 9, 8),
        ("tf/ckpt-10", "tensorflow", 10, 8),
        ("sharded-3", "tensorflow", 3, 12),
        ("epoch-12-loss-0.25.keras", "keras", 12, 4),
        ("w.weights.h5", "keras", None, 4),
        ("backup/latest.weights.h5", "keras", 7, 4),
        ("saved-2", "saved_model", 2, 12),
    }
    assert found[-1].uri == f"{bucket.uri}/job/checkpoints/tf/ckpt-10"
    assert [item.time for item in found] == sorted(item.time for item in found)
    assert abs(datetime.now(UTC) - found[-1].time) < timedelta(minutes=5)
    assert "step 10, 8 bytes" in str(found[-1])


def test_a_job_without_checkpoints_or_logs_has_none(context: Context, bucket: Bucket) -> None:
    assert checkpoints(context, f"{bucket.uri}/job/checkpoints/") == []
    frame = metrics(context, f"{bucket.uri}/job/logs/")
    assert list(frame.columns) == ["run", "tag", "step", "wall_time", "value"]
    assert frame.empty
    with pytest.raises(InvalidArgument, match="no rows"):
        plot(frame)


def test_what_is_no_bucket_is_refused(context: Context) -> None:
    for ask in (checkpoints, metrics):
        with pytest.raises(InvalidArgument, match="gs://"):
            ask(context, "/tmp/logs")
        with pytest.raises(NotFound):
            ask(context, "gs://no-such-bucket-of-ours/logs")


def test_scalars_are_tidy_with_a_run_for_each_folder(context: Context, bucket: Bucket) -> None:
    name = "events.out.tfevents.1"
    bucket.write(f"job/logs/train/{name}", event("loss", 1, 0.5) + event("loss", 0, 1.0) + b"torn")
    # The job was interrupted, and did step 1 again.
    bucket.write("job/logs/train/events.out.tfevents.2", event("loss", 1, 0.4, 1_700_000_100.0))
    bucket.write(f"job/logs/deep/er/{name}", event("acc", 3, 0.9))
    bucket.write(f"job/logs/{name}", event("lr", 0, 0.1))
    bucket.write("job/logs/train/notes.txt", "no events")
    frame = metrics(context, f"{bucket.uri}/job/logs")
    assert frame[["run", "tag", "step", "value"]].to_numpy().tolist() == [
        [".", "lr", 0, pytest.approx(0.1)],
        ["deep/er", "acc", 3, pytest.approx(0.9)],
        ["train", "loss", 0, 1.0],
        ["train", "loss", 1, pytest.approx(0.4)],
    ]
    assert frame["wall_time"][0] == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")
    types = {name: str(kind) for name, kind in frame.dtypes.items() if name not in {"run", "tag"}}
    assert types == {"step": "int64", "wall_time": "datetime64[ns, UTC]", "value": "float64"}
    empty = metrics(context, f"{bucket.uri}/job/nothing")
    assert empty.dtypes.to_dict() == frame.dtypes.to_dict()


def test_scalars_written_while_they_are_read_are_found(
    context: Context, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "job/logs/events.out.tfevents.1"
    bucket.write(name, event("loss", 0, 1.0))
    listed = ObjectsApi.list

    def list_and_write(api: ObjectsApi, *args: Any, **options: Any) -> Any:
        found = [*listed(api, *args, **options)]
        bucket.write(name, event("loss", 0, 1.0) + event("loss", 1, 0.5))
        return iter(found)

    monkeypatch.setattr(ObjectsApi, "list", list_and_write)
    assert metrics(context, f"{bucket.uri}/job/logs")["step"].tolist() == [0, 1]


def test_a_plot_has_one_picture_for_each_tag_and_a_line_for_each_run(
    context: Context, bucket: Bucket, tmp_path: Path
) -> None:
    for run, values in {"train": (0.5, 0.4), "validation": (0.6, 0.5)}.items():
        content = b"".join(event("epoch_loss", step, value) for step, value in enumerate(values))
        bucket.write(f"job/logs/{run}/events.out.tfevents.1", content)
    bucket.write("job/logs/train/events.out.tfevents.2", event("epoch_lr", 0, 0.1))
    figure = plot(metrics(context, f"{bucket.uri}/job/logs"))
    loss, rate = figure.axes
    assert [axes.get_title() for axes in (loss, rate)] == ["epoch_loss", "epoch_lr"]
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    assert list(loss.lines[0].get_ydata()) == pytest.approx([0.5, 0.4])
    assert rate.lines[0].get_marker() == "o"
    figure.savefig(tmp_path / "metrics.png")
    assert (tmp_path / "metrics.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidArgument, match="no frame of scalars"):
        plot(pd.DataFrame({"x": [1]}))


WITHOUT = """
import sys
sys.modules["pandas"] = sys.modules["matplotlib"] = None  # as if they were not installed
from vertexkit.errors import ConfigurationError
from vertexkit.metrics_plot import plot
from vertexkit.training_outputs import metrics
for call in (lambda: metrics(None, "gs://my-bucket/logs"), lambda: plot(None)):
    try:
        call()
    except ConfigurationError as error:
        print(error.remedy)
print(sorted({"tensorflow", "tensorboard", "numpy", "pandas.core"} & {*sys.modules}))
"""


def test_without_pandas_or_matplotlib_the_extra_is_named(check_output: Callable[[str], str]) -> None:
    lines = check_output(WITHOUT).splitlines()
    assert lines == ["pip install 'vertexkit[pandas]'", "pip install 'vertexkit[plot]'", "[]"]


@pytest.fixture
def check_output() -> Callable[[str], str]:
    """Run a program in a Python of its own; what it printed."""
    return lambda text: (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    )
