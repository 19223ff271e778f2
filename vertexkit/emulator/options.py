"""What one can ask of an emulator, and what a running one says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PROJECT = "vertexkit-local"
DEFAULT_LOCATION = "us-central1"


@dataclass(frozen=True)
class EmulatorOptions:
    """How to start an emulator."""

    data_dir: Path | None = None
    """Folder that outlives the emulator; None for a temporary one."""
    grpc_port: int = 0
    """Port for gRPC and REST over TLS; 0 for any free one."""
    rest_port: int = 0
    """Port for REST in plain text."""
    storage_port: int = 0
    """Port for Cloud Storage in plain text."""
    proxy_port: int = 0
    """Port of the proxy that programs reach Google's names through."""
    pass_through: bool = False
    """Whether the proxy lets programs through to hosts that are not Google's."""
    project: str = DEFAULT_PROJECT
    """The project that clients are told to use; any other is accepted too."""
    location: str = DEFAULT_LOCATION
    public_buckets: bool = False
    """Whether a bucket that does not exist here is read, without credentials, from the real Cloud Storage."""
    allow_faults: bool = False
    """Whether ``PUT /emulator/faults`` may break things."""


@dataclass(frozen=True)
class EmulatorInfo:
    """Where a running emulator is. ``vertexkit emulator start --json`` and ``GET /emulator`` say it."""

    grpc: str
    """``localhost:PORT``; TLS, gRPC and REST, trusted through ``ca``."""
    rest: str
    """``http://127.0.0.1:PORT``."""
    storage: str
    """``http://127.0.0.1:PORT``."""
    proxy: str
    """``http://127.0.0.1:PORT``; leads programs that ask for Google's names here, by ``CONNECT``."""
    ca: str
    """Path of the certificate authority's certificate."""
    ca_bundle: str
    """Path of a file with that certificate and those that this machine trusts anyway."""
    credentials: str
    """Path of throw-away application default credentials."""
    project: str
    location: str
    pid: int
    version: str
