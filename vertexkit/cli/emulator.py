"""``vertexkit emulator``: run the local Vertex AI, and say what it does."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vertexkit.cli import emulator_run
from vertexkit.errors import EmulatorFailed

if TYPE_CHECKING:
    from vertexkit.emulator.options import EmulatorInfo

_PORT = click.IntRange(0, 65535)


@click.group()
def emulator() -> None:
    """The local Vertex AI: a real server on loopback, with no account and no cost."""


@emulator.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep everything in, over restarts. By default a temporary one.",
)
@click.option("--grpc-port", type=_PORT, help="gRPC and REST over TLS. By default any free port.")
@click.option("--rest-port", type=_PORT, help="REST. By default any free port.")
@click.option("--storage-port", type=_PORT, help="Cloud Storage. By default any free port.")
@click.option("--proxy-port", type=_PORT, help="Proxy for HTTPS_PROXY. By default any free port.")
@click.option("--project", help="Project that clients are told to use; any other is accepted too.")
@click.option("--location", help="Location that clients are told to use.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON object.")
@click.option("--allow-faults", is_flag=True, help="Let PUT /emulator/faults inject errors and latency.")
@click.option(
    "--pass-through", is_flag=True, help="Let the proxy through to hosts that are not Google Cloud's."
)
@click.option(
    "--public-buckets",
    is_flag=True,
    help="Read buckets that do not exist here from the real Cloud Storage, without credentials. "
    "Jobs do not see them below /gcs.",
)
@click.option("--verbose", is_flag=True, help="Log every call to standard error.")
@click.option("--exit-with-stdin", is_flag=True, hidden=True)
def start(*, as_json: bool, verbose: bool, exit_with_stdin: bool, **given: Any) -> None:
    """Run the local Vertex AI until Ctrl-C; prints one line once it is ready."""
    # gRPC reads it when it is loaded. Model servers are other programs; gRPC need not survive a fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from vertexkit.emulator.options import EmulatorOptions
    from vertexkit.emulator.process import run

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    if verbose:
        logging.getLogger("vertexkit").setLevel(logging.DEBUG)

    def on_ready(info: EmulatorInfo) -> None:
        if as_json:
            click.echo(json.dumps(asdict(info)))
        else:
            click.echo(
                f"Local Vertex AI ready: vertexkit.connect(emulator={info.rest!r}), "
                f"gRPC {info.grpc}, storage {info.storage}, CA {info.ca}"
            )

    # The other options are named as the fields; one not given takes the field's default.
    options = EmulatorOptions(**{name: value for name, value in given.items() if value is not None})
    try:
        run(options, on_ready=on_ready, exit_with_stdin=exit_with_stdin)
    except EmulatorFailed as error:
        raise click.ClickException(str(error).replace("\n  ", " ")) from error


emulator.add_command(emulator_run.run)
emulator.add_command(emulator_run.env)


@emulator.command("methods")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--all", "every", is_flag=True, help="Also the services that are not served at all.")
def list_methods(as_json: bool, every: bool) -> None:
    """List every RPC of the served services, and whether it is implemented."""
    from vertexkit.emulator.methods import methods
    from vertexkit.emulator.parts import SERVICE_CLASSES, implements

    rows = [
        {"service": method.service, "method": method.name, "implemented": implements(method)}
        for method in sorted(methods().values(), key=lambda method: method.path)
        if every or method.service in SERVICE_CLASSES
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{'yes' if row['implemented'] else 'no ':3}  {row['service']}.{row['method']}")
    done = sum(bool(row["implemented"]) for row in rows)
    click.echo(f"{done} of {len(rows)} implemented")
