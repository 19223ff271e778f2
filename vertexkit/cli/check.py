"""``vertexkit check``: what Vertex AI would refuse, found before anything is sent."""

from __future__ import annotations

from typing import Any

import click

from vertexkit.cli.connection import Connection, connection_options
from vertexkit.cli.output import json_option, show_findings
from vertexkit.types import Machine


@click.command()
@click.option("--name", help="Display name of the model or endpoint.")
@click.option("--artifact", metavar="FOLDER|gs://", help="The model's artifact.")
@click.option("--framework", help="Framework of the prebuilt serving container: tensorflow, sklearn, ...")
@click.option("--image", metavar="URI", help="Serving container, in place of --framework.")
@click.option("--machine", metavar="TYPE", help="Machine type, such as n1-standard-4.")
@click.option("--accelerator", metavar="TYPE", help="Accelerator type, such as NVIDIA_TESLA_T4.")
@click.option("--accelerator-count", metavar="N", type=int, help="Accelerators a machine; 1 by default.")
@click.option(
    "--replicas", metavar="MIN MAX", type=int, nargs=2, help="Least and greatest number of replicas."
)
@click.option("--traffic", metavar="PERCENT", type=int, help="Share of the endpoint's requests.")
@json_option
@connection_options
@click.pass_context
def check(
    ctx: click.Context,
    *,
    connection: Connection,
    name: str | None,
    artifact: str | None,
    framework: str | None,
    image: str | None,
    machine: str | None,
    accelerator: str | None,
    accelerator_count: int | None,
    replicas: tuple[int, int] | None,
    traffic: int | None,
    as_json: bool,
) -> None:
    """Check names, region, machine, image, artifact and bucket; create nothing.

    With a project or a running local Vertex AI, the bucket and gs:// artifacts are looked at too.
    Exits with 1 when something would be refused.
    """
    from vertexkit._core.target import DEFAULT_LOCATION
    from vertexkit.dry_run import Plan, check_plan

    if framework is not None and image is not None:
        raise click.UsageError("Give --framework or --image, not both.")
    if accelerator is not None and machine is None:
        raise click.UsageError("--accelerator needs --machine.")
    wanted = _machine(machine, accelerator, accelerator_count)
    settings = connection.settings()
    plan: dict[str, Any] = {
        "artifact": artifact,
        "machine": wanted,
        "image": image,
        "framework": framework,
        "accelerator": accelerator is not None,
        "name": name,
        "bucket": settings.bucket,
        "replicas": replicas,
        "traffic": traffic,
    }
    if settings.local and not isinstance(settings.emulator, str):
        findings = check_plan(Plan(**plan), settings.location or DEFAULT_LOCATION, None)
    else:
        with connection.open() as session:
            findings = session.check(**plan)
    ctx.exit(show_findings(findings, as_json=as_json))


def _machine(kind: str | None, accelerator: str | None, count: int | None) -> Machine | None:
    if kind is None:
        return None
    return Machine(kind, accelerator) if count is None else Machine(kind, accelerator, count)
