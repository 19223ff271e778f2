"""``vertexkit models``: list, show, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.output import confirmed, json_option, show_record, show_rows

if TYPE_CHECKING:
    from vertexkit.session import Session


@click.group()
def models() -> None:
    """Models, and their versions."""


@models.command("list")
@json_option
@connected
def list_models(*, session: Session, as_json: bool) -> None:
    """List the models, each at its default version."""
    show_rows(
        ["ID", "Name", "Version", "Created", "Resource name"],
        (
            (found.id, found.display_name, found.version_id, found.created, found.resource_name)
            for found in session.models.list()
        ),
        as_json=as_json,
        empty=f"There are no models in {session.project}, {session.location}.",
    )


@models.command()
@click.argument("name")
@json_option
@connected
def show(*, session: Session, name: str, as_json: bool) -> None:
    """Show a model (by id, resource name or display name, with or without @VERSION)."""
    found = session.models.get(name)
    record: dict[str, object] = {
        "id": found.id,
        "name": found.display_name,
        "resource_name": found.resource_name,
        "description": found.description,
        "version": found.version_id,
        "artifact": found.artifact_uri,
        "image": found.serving_image,
        "signature": None if found.signature is None else str(found.signature),
        "labels": found.labels,
    }
    versions = [
        {"version": one.version_id, "aliases": one.version_aliases, "created": one.created}
        for one in found.versions()
    ]
    if as_json:
        show_record({**record, "versions": versions}, as_json=True)
        return
    show_record({**record, "versions": len(versions)}, as_json=False)
    click.echo()
    show_rows(
        ["Version", "Aliases", "Created"], (list(one.values()) for one in versions), as_json=False, empty=""
    )


@models.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@connected
@click.pass_context
def delete(ctx: click.Context, *, session: Session, name: str, yes: bool) -> None:
    """Delete a model with all its versions, or one version of it (NAME@VERSION)."""
    found = session.models.get(name)
    if "@" in name:
        version = found.version(found.version_id)
        if not confirmed(f"Delete version {version.version_id} of the model {found.display_name}?", yes=yes):
            ctx.exit(1)
        version.delete()
        click.echo(f"Deleted {version.versioned_name}.", err=True)
        return
    count = len(found.versions())
    question = (
        f"Delete the model {found.display_name} ({found.id}) with its {count} version{'s' * (count != 1)}?"
    )
    if not confirmed(question, yes=yes):
        ctx.exit(1)
    found.delete()
    click.echo(f"Deleted {found.resource_name}.", err=True)
