"""``vertexkit predict``: instances from a file, predictions to a file or to standard output."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.formats import FORMATS, check_writable, format_of, read_instances, write_predictions

if TYPE_CHECKING:
    from vertexkit.session import Session


@click.command()
@click.argument("endpoint")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="Format of FILE; by default what its name says."
)
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False, writable=True), help="Where to write.")
@click.option(
    "--timeout", type=float, default=600.0, show_default=True, metavar="SECONDS", help="Deadline in all."
)
@connected
def predict(
    *, session: Session, endpoint: str, file: str, kind: str | None, out: str | None, timeout: float
) -> None:
    """Predict the instances in FILE ("-" for standard input) with ENDPOINT.

    ENDPOINT is an endpoint's id, resource name or display name. FILE is json, jsonl, npy, npz or csv.
    Without --out, predictions are printed as JSON, one a line.
    """
    kind = kind or ("json" if file == "-" else format_of(file, "FILE"))
    # Looked at before the endpoint is asked for anything, which may cost.
    out_kind = "jsonl" if out is None else format_of(out, "--out")
    if out is not None:
        check_writable(out, "--out")
    with click.open_file(file, "rb") as source:
        instances = read_instances(source, kind, file)
    predictions = session.endpoints.get(endpoint).predict(instances, timeout=timeout)
    # Written only when whole, so that a failure leaves what a script had there before.
    written = io.BytesIO()
    write_predictions(predictions, written, out_kind, out or "-")
    if out is None:
        sys.stdout.buffer.write(written.getvalue())
        return
    with click.open_file(out, "wb", atomic=True) as target:
        target.write(written.getvalue())
