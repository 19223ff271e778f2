"""``vertexkit endpoints``: list, show, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.output import confirmed, json_option, show_record, show_rows

if TYPE_CHECKING:
    from vertexkit.session import Session


@click.group()
def endpoints() -> None:
    """Endpoints, where deployed models answer predictions."""


@endpoints.command("list")
@json_option
@connected
def list_endpoints(*, session: Session, as_json: bool) -> None:
    """List the endpoints."""
    show_rows(
        ["ID", "Name", "Deployed", "Created", "Resource name"],
        (
            (found.id, found.display_name, len(found.deployed), found.created, found.resource_name)
            for found in session.endpoints.list()
        ),
        as_json=as_json,
        empty=f"There are no endpoints in {session.project}, {session.location}.",
    )


@endpoints.command()
@click.argument("name")
@json_option
@connected
def show(*, session: Session, name: str, as_json: bool) -> None:
    """Show an endpoint (by id, resource name or display name) and what is deployed to it."""
    found = session.endpoints.get(name)
    record: dict[str, object] = {
        "id": found.id,
        "name": found.display_name,
        "resource_name": found.resource_name,
        "description": found.description,
        "created": found.created,
        "labels": found.labels,
    }
    deployed = [
        {
            "id": one.id,
            "name": one.display_name,
            "model": one.versioned_model,
            "traffic": one.traffic,
            "machine": str(one.machine),
            "replicas": one.replicas,
            "created": one.created,
        }
        for one in found.deployed
    ]
    if as_json:
        show_record({**record, "deployed": deployed}, as_json=True)
        return
    show_record({**record, "deployed": len(deployed)}, as_json=False)
    if deployed:
        columns = ["ID", "Name", "Model", "Traffic", "Machine", "Replicas", "Created"]
        click.echo()
        show_rows(columns, (list(one.values()) for one in deployed), as_json=False, empty="")


@endpoints.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Undeploy what is deployed to it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@connected
@click.pass_context
def delete(ctx: click.Context, *, session: Session, name: str, force: bool, yes: bool) -> None:
    """Delete an endpoint (by id, resource name or display name)."""
    found = session.endpoints.get(name)
    count = len(found.deployed)
    serving = f", with {count} deployed model{'s' * (count != 1)}" if count else ""
    if not confirmed(f"Delete the endpoint {found.display_name} ({found.id}){serving}?", yes=yes):
        ctx.exit(1)
    found.delete(force=force)
    click.echo(f"Deleted {found.resource_name}.", err=True)
