"""Whom programs that work with an emulator trust: whom they would trust anyway, and its authority.

The variables that name a CA file replace what a program trusts by default, so that file has to hold
all of it, or the program could reach nothing but the emulator any more.
"""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cryptography import x509

_NAMED_BY = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def ca_bundle(authority_pem: bytes, environ: Mapping[str, str]) -> bytes:
    """The certificates of an emulator's authority, of the system's, and of those that a user named.

    Args:
        authority_pem: The certificate of the emulator's authority.
        environ: The user's environment.

    Returns:
        A PEM file with each certificate once, the emulator's first.
    """
    found = dict.fromkeys(_CERTIFICATE.findall(authority_pem))
    for file in _files(environ):
        # What cannot be read is not trusted now either.
        with suppress(OSError):
            found.update(dict.fromkeys(filter(_is_whole, _CERTIFICATE.findall(file.read_bytes()))))
    return b"\n".join(found) + b"\n"


def curl_settings(bundle: Path, environ: Mapping[str, str]) -> bytes:
    """What a user tells the ``curl`` command in ``.curlrc``, and to trust a bundle.

    Args:
        bundle: The file to trust.
        environ: The user's environment.
    """
    # In the order in which curl looks; it reads the first one only.
    where = (("CURL_HOME", ".curlrc"), ("XDG_CONFIG_HOME", "curlrc"), ("HOME", ".curlrc"))
    own = b""
    for variable, name in where:
        if environ.get(variable):
            with suppress(OSError):
                own = Path(environ[variable], name).read_bytes().rstrip() + b"\n"
                break
    named = str(bundle).replace("\\", "\\\\").replace('"', '\\"')
    # Last, for then it counts.
    return own + f'cacert = "{named}"\n'.encode()


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in _NAMED_BY if environ.get(name))
    with suppress(ImportError):
        import certifi

        yield Path(certifi.where())
    paths = ssl.get_default_verify_paths()
    yield from (Path(name) for name in (paths.cafile, paths.openssl_cafile, *_SYSTEM) if name)


def _is_whole(certificate: bytes) -> bool:
    """Whether it can be read: one that cannot makes some readers give up on the whole file."""
    with warnings.catch_warnings():
        # Of a serial number that is not to the rules, which some authorities have.
        warnings.simplefilter("ignore")
        try:
            x509.load_pem_x509_certificate(certificate)
        except ValueError:
            return False
        return True
