"""The options that say where to connect, and the session that a command works with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vertexkit.errors import ConfigurationError

if TYPE_CHECKING:
    from vertexkit.config import Settings
    from vertexkit.session import Session

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--project", metavar="ID", help="Project in Google Cloud."),
    click.option("--location", metavar="REGION", help="Region, such as us-central1."),
    click.option("--bucket", metavar="NAME", help="Default bucket."),
    click.option("--emulator", metavar="URL", help="A running local Vertex AI: its rest address."),
    click.option(
        "--key-file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="Service-account key file.",
    ),
)


@dataclass(frozen=True)
class Connection:
    """Where the command line says to connect; what it leaves open, the configuration decides."""

    project: str | None = None
    location: str | None = None
    bucket: str | None = None
    emulator: str | None = None
    key_file: str | None = None

    def but(self, nearer: Connection) -> Connection:
        """These options, overridden by those given nearer to the command."""
        chosen = {
            field.name: getattr(nearer, field.name) or getattr(self, field.name) for field in fields(self)
        }
        return Connection(**chosen)

    def settings(self) -> Settings:
        """These options completed by environment and pyproject.toml."""
        from vertexkit.config import resolve

        return resolve(
            project=self.project,
            location=self.location,
            bucket=self.bucket,
            emulator=self.emulator,
            key_file=self.key_file,
        )

    def open(self) -> Session:
        """A session with what the options, the environment and pyproject.toml name.

        Raises:
            ConfigurationError: They name neither a project nor a running local Vertex AI. One that
                this command started would be empty, and gone with the command.
        """
        from vertexkit.session import connect

        settings = self.settings()
        if settings.local and not isinstance(settings.emulator, str):
            raise ConfigurationError(
                "no project is named, and no running local Vertex AI",
                remedy="name a project with --project (or GOOGLE_CLOUD_PROJECT); or start a local Vertex AI "
                "with `vertexkit emulator start` and give its rest address with --emulator (or "
                "VERTEXKIT_EMULATOR)",
            )
        return connect(
            project=self.project,
            location=self.location,
            bucket=self.bucket,
            emulator=self.emulator,
            key_file=self.key_file,
        )


def connection_options(command: _Command) -> _Command:
    """Add the connection options to a command; they reach it as one ``connection``."""

    @functools.wraps(command)
    def with_connection(*args: Any, **options: Any) -> Any:
        given = Connection(**{field.name: options.pop(field.name) for field in fields(Connection)})
        above = click.get_current_context().find_object(Connection)
        return command(*args, connection=given if above is None else above.but(given), **options)

    decorated: Any = with_connection
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorators keep the callable's type


def connected(command: _Command) -> _Command:
    """Add the connection options to a command, and give it the open session as ``session``."""

    @functools.wraps(command)
    def with_session(*args: Any, connection: Connection, **options: Any) -> Any:
        with connection.open() as session:
            return command(*args, session=session, **options)

    return connection_options(with_session)  # type: ignore[return-value]  # the wrapper stands for the command
