"""Where a session connects: addresses, project, credentials. Local and cloud differ here only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_LOCATION = "us-central1"


@dataclass(frozen=True)
class Target:
    """One Vertex AI API and one Cloud Storage API, with the credentials for both."""

    project: str
    """Project id."""
    location: str
    """Region, such as ``us-central1``."""
    rest_url: str
    """Base URL of the REST API, without a trailing slash: ``https://us-central1-aiplatform.googleapis.com``."""
    grpc_address: str
    """``host:port`` of the gRPC API, which always speaks TLS."""
    storage_url: str
    """Base URL of Cloud Storage, without a trailing slash: ``https://storage.googleapis.com``."""
    logging_url: str = "https://logging.googleapis.com"
    """Base URL of Cloud Logging, without a trailing slash."""
    log_poll_seconds: float = 5.0
    """How often to ask for new lines of a log: Cloud Logging allows 60 reads a minute and project.
    https://cloud.google.com/logging/quotas"""
    log_settle_seconds: float = 15.0
    """How late, and how far out of order, a line of a log may arrive."""
    ca_file: Path | None = None
    """Certificate authority to trust in place of the system's; None for the system's."""
    anonymous: bool = False
    """Whether the service asks for no token."""
    key_file: Path | None = None
    """A service-account key file to load the credentials from."""
    credentials: Any = field(default=None, repr=False)
    """google-auth credentials given by the caller; None for ``key_file``, else application defaults."""
    lasting: bool = True
    """Whether it is there without the session: not, where the session has started it."""
    chosen_by: str = "explicit arguments"
    """What decided on this target, in words for the user."""
