"""``vertexkit batch-predict``: many instances, predicted without an endpoint, in order."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

import click

from vertexkit.batch_request import InputFormat, OutputFormat
from vertexkit.cli.connection import connected
from vertexkit.cli.formats import check_writable, plain, write_predictions
from vertexkit.cli.jobs import record
from vertexkit.cli.output import json_option, show_findings, show_record
from vertexkit.cli.program_options import machine_of, pairs_of
from vertexkit.errors import InvalidArgument, VertexkitError

if TYPE_CHECKING:
    from vertexkit.batch_job import BatchPredictionJob
    from vertexkit.session import Session

_FILES = ("jsonl", "csv", "npy", "npz")
_STANDARD_OUTPUT = ("-", "/dev/stdout")


@click.command("batch-predict")
@click.argument("model")
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--format",
    type=click.Choice(get_args(InputFormat)),
    help="Format of SOURCE; by default what its name says.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    help='Where to write; "-" for standard output.',
)
@click.option(
    "--on-failure",
    type=click.Choice(["raise", "nan", "drop"]),
    default="raise",
    show_default=True,
    help="What of failed instances goes into --out that holds arrays.",
)
@click.option("--name", help="Display name of the job.")
@click.option("--machine", metavar="TYPE", default="n1-standard-2", show_default=True, help="Machine type.")
@click.option("--accelerator", metavar="TYPE", help="Accelerator type, such as NVIDIA_TESLA_T4.")
@click.option("--accelerator-count", metavar="N", type=int, help="Accelerators a machine; 1 by default.")
@click.option("--replicas", metavar="N[:MAX]", default="1", show_default=True, help="How many serve it.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Instances in one request.")
@click.option("--destination", metavar="URI", help="gs:// folder, or bq:// dataset, for the results.")
@click.option(
    "--output-format",
    type=click.Choice(get_args(OutputFormat)),
    default="jsonl",
    show_default=True,
    help="Of the results.",
)
@click.option("--instance-type", type=click.Choice(["object", "array"]), help="What rows become.")
@click.option("--key-field", metavar="NAME", help="The field that names each instance.")
@click.option("--include", metavar="FIELD", multiple=True, help="A field to send, alone; may be repeated.")
@click.option("--exclude", metavar="FIELD", multiple=True, help="A field not to send; may be repeated.")
@click.option("--parameters", metavar="JSON", help="Parameters for the model.")
@click.option("--service-account", metavar="EMAIL", help="Account to run as.")
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="Label; may be repeated.")
@click.option("--no-wait", is_flag=True, help="End once the job is created.")
@click.option("--check", "only_check", is_flag=True, help="Say what would be refused, and do nothing.")
@json_option
@connected
@click.pass_context
def batch_predict(
    ctx: click.Context,
    /,
    *,
    session: Session,
    out: str | None,
    on_failure: Any,
    no_wait: bool,
    only_check: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict all of SOURCE with MODEL, without an endpoint.

    MODEL is a model's id, resource name or display name. SOURCE is a file, a folder or a pattern, here or in
    Cloud Storage, or bq://PROJECT.DATASET.TABLE; files here may be several, and "-" is standard input, of
    jsonl unless --format says otherwise. With --out the predictions are written to a file, in the order of
    the input: one JSON object a line, failed instances included (jsonl); inputs and predictions side by side
    (csv); or arrays (npy, npz). Without --out they are printed, as jsonl; with --no-wait or --json, or where
    the results are to be elsewhere (--destination, BigQuery), the job itself is. Exits with 1 when the job
    fails, or when --out needs every prediction and some instances have none.
    """
    if no_wait and out is not None:
        raise click.UsageError("--out needs what --no-wait does not wait for.")
    if out is not None and _is_table(options):
        raise click.UsageError("--out needs the order of the input, and BigQuery has none: leave it out.")
    if as_json and out in _STANDARD_OUTPUT:
        raise click.UsageError("--json prints the job, and --out the results, both to standard output.")
    if out is None and not (no_wait or as_json or _is_elsewhere(options)):
        out = "-"
    kind = None if out is None else kind_of(out)
    with _standard_input(options) as given:
        request = _request(**given)
        if only_check:
            ctx.exit(show_findings(session.batch.check(**request), as_json=as_json))
        job = session.batch.run(**request, wait=False)
    click.echo(f"Created {job.resource_name}.", err=True)
    if not no_wait:
        job.wait()
    if out is not None and kind is not None:
        try:
            write_results(job, out, kind, on_failure)
        except VertexkitError as error:
            error.add_note(f"Its results are kept: vertexkit jobs results {job.id} --out FILE")
            raise
    if out not in _STANDARD_OUTPUT:
        show_record(record(job), as_json=as_json)


def _is_elsewhere(options: dict[str, Any]) -> bool:
    """Whether the results are meant for another place, or lie where no order can be told."""
    return options["destination"] is not None or _is_table(options)


def _is_table(options: dict[str, Any]) -> bool:
    """Whether the job reads or writes a table of BigQuery."""
    source: str = options["source"][0]
    return source.startswith("bq://") or "bigquery" in (options["format"], options["output_format"])


@contextmanager
def _standard_input(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options, where "-" is a file: what comes may be more than memory holds, and is looked at first."""
    if "-" not in options["source"]:
        yield options
        return
    if len(options["source"]) > 1:
        raise click.UsageError('SOURCE: "-" goes with no other.')
    with tempfile.TemporaryDirectory(prefix="vertexkit-") as folder:
        path = Path(folder, "standard-input")
        with path.open("wb") as file:
            shutil.copyfileobj(click.open_file("-", "rb"), file)
        yield {**options, "source": (str(path),), "format": options["format"] or "jsonl"}


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which is put in the place of another once it is whole."""
    # click's own way puts there what there is, whole or not.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            yield file
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def kind_of(out: str) -> str:
    """In which format the results are to be written: to standard output as jsonl.

    Raises:
        InvalidArgument: In none that is known, or they cannot be written there.
    """
    if out in _STANDARD_OUTPUT:
        return "jsonl"
    kind = Path(out).suffix.lstrip(".").lower()
    if kind not in _FILES:
        problem = "has a name that does not end in a format that results are written in"
        raise InvalidArgument("--out", out, problem, remedy=f"use .{', .'.join(_FILES)}")
    check_writable(out, "--out")
    return kind


def _request(
    *,
    source: tuple[str, ...],
    machine: str,
    accelerator: str | None,
    accelerator_count: int | None,
    replicas: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    parameters: str | None,
    label: tuple[str, ...],
    **same: Any,
) -> dict[str, Any]:
    """The arguments of ``session.batch.run`` that the command line means."""
    return {
        **same,
        "source": _source(source),
        "machine": machine_of(machine, accelerator, accelerator_count),
        "replicas": _replicas(replicas),
        "included_fields": list(include) or None,
        "excluded_fields": list(exclude) or None,
        "parameters": _parameters(parameters),
        "labels": pairs_of("--label", label) or None,
    }


def _source(texts: tuple[str, ...]) -> Any:
    if len(texts) == 1:
        return texts[0]
    remote = [text.startswith("gs://") for text in texts]
    if any(remote) != all(remote):
        raise click.UsageError("SOURCE: some of it is in Cloud Storage, and some here.")
    return list(texts) if all(remote) else [Path(text) for text in texts]


def _replicas(text: str) -> int | tuple[int, int]:
    least, colon, most = text.partition(":")
    try:
        return (int(least), int(most)) if colon else int(least)
    except ValueError:
        raise click.UsageError(f"--replicas {text}: write N, or N:MAX.") from None


def _parameters(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--parameters: {error}.") from None


def write_results(job: BatchPredictionJob, out: str, kind: str, on_failure: Any) -> None:
    """Write the results of a job to a file, which is there once it is whole, or to standard output."""
    standard = out in _STANDARD_OUTPUT
    with click.open_file("-", "wb") if standard else _replacing(Path(out)) as target:
        _write(job, target, kind, out, on_failure)


def _write(job: BatchPredictionJob, target: IO[bytes], kind: str, name: str, on_failure: Any) -> None:
    if kind == "jsonl":
        target.writelines(_lines(job))
    elif kind == "csv":
        frame = job.to_frame()
        frame.map(_cell).to_csv(target, index=False)
    else:
        write_predictions(job.to_numpy(on_failure=on_failure), target, kind, name)


def _lines(job: BatchPredictionJob) -> Iterator[bytes]:
    """A line of JSON for each instance."""
    for row in job.rows():
        answer = {"prediction": row.prediction} if row.error is None else {"error": row.error}
        key = {} if row.key is None else {"key": row.key}
        line = {"index": row.index, **key, "instance": row.instance, **answer}
        yield json.dumps(line, default=plain).encode() + b"\n"


def _cell(value: Any) -> Any:
    """A cell of a table: what is no single value as JSON."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return json.dumps(value, default=plain) if isinstance(value, list | dict | bytes) else value
