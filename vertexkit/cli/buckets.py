"""``vertexkit buckets``: list, show, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.output import confirmed, json_option, show_record, show_rows

if TYPE_CHECKING:
    from vertexkit.session import Session


@click.group()
def buckets() -> None:
    """Buckets of Cloud Storage."""


@buckets.command("list")
@json_option
@connected
def list_buckets(*, session: Session, as_json: bool) -> None:
    """List the project's buckets."""
    show_rows(
        ["Name", "Location", "URI"],
        ((bucket.name, bucket.location, bucket.uri) for bucket in session.buckets.list()),
        as_json=as_json,
        empty=f"There are no buckets in {session.project}.",
    )


@buckets.command()
@click.argument("name")
@json_option
@connected
def show(*, session: Session, name: str, as_json: bool) -> None:
    """Show a bucket, and what is in it."""
    bucket = session.buckets.get(name)
    objects = list(bucket.list())
    show_record(
        {
            "name": bucket.name,
            "uri": bucket.uri,
            "location": bucket.location,
            "objects": len(objects),
            "bytes": sum(found.size for found in objects),
        },
        as_json=as_json,
    )


@buckets.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Delete what is in it too.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@connected
@click.pass_context
def delete(ctx: click.Context, *, session: Session, name: str, force: bool, yes: bool) -> None:
    """Delete a bucket, which must be empty unless --force is given."""
    bucket = session.buckets.get(name)
    what = f"{bucket.uri} and everything in it" if force else bucket.uri
    if not confirmed(f"Delete {what}?", yes=yes):
        ctx.exit(1)
    session.buckets.delete(bucket.name, force=force)
    click.echo(f"Deleted {bucket.uri}.", err=True)
