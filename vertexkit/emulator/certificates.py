"""The certificate authority of one run, and the throw-away credentials.

The authority may only vouch for loopback and googleapis.com, and its key is forgotten as soon as it
has signed the one leaf, so trusting its certificate gives nothing away.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vertexkit.emulator.guard import is_allowed_host
from vertexkit.regions import REGIONS

_LIFETIME = datetime.timedelta(days=90)
_AUTHORITY = "vertexkit local Vertex AI"
# A wildcard stands for one label: buckets have one more, and endpoints of a region two more.
_NAMES = tuple(
    x509.DNSName(name)
    for name in (
        "localhost",
        "googleapis.com",
        "*.googleapis.com",
        "*.storage.googleapis.com",
        *(f"*.{location}.rep.googleapis.com" for location in ("us", "eu", *REGIONS)),
    )
)
_ADDRESSES = tuple(x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1"))
_PERMITTED = (
    x509.DNSName("localhost"),
    x509.DNSName("googleapis.com"),
    x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
    x509.IPAddress(ipaddress.ip_network("::1/128")),
)


@dataclass(frozen=True)
class Identity:
    """Leaf certificates for the addresses that the emulator answers at, and who vouches for them.

    There are two leaves, because BoringSSL (in gRPC) refuses a certificate for an IP address from
    an authority that is constrained to some: the one that it sees has none.
    """

    ca_pem: bytes
    """The authority's certificate."""
    names_pem: bytes
    """For ``localhost`` and ``*.googleapis.com``; shown to clients that ask for a name (SNI)."""
    addresses_pem: bytes
    """For the same and the loopback addresses; shown to clients that ask for none."""
    key_pem: bytes = field(repr=False)

    def server_context(self) -> ssl.SSLContext:
        """TLS settings of a server that speaks HTTP/2 or HTTP/1.1, and answers to its own names only."""
        by_name, by_address = self._context(self.names_pem), self._context(self.addresses_pem)

        def choose(
            connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
        ) -> int | None:
            if name is None:
                return None
            if not is_allowed_host(name):
                # A web page's name, rebound to loopback: nobody else comes here by another name.
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            connection.context = by_name
            return None

        by_address.sni_callback = choose
        return by_address

    def _context(self, leaf_pem: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # gRPC offers HTTP/2 alone; who offers both (curl) means REST, which speaks HTTP/1.1 here.
        context.set_alpn_protocols(["http/1.1", "h2"])
        # ssl reads keys from files only; mkstemp makes it 0600, and it lives for microseconds.
        handle, name = tempfile.mkstemp(prefix="vertexkit-", suffix=".pem")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.key_pem + leaf_pem)
            context.load_cert_chain(name)
        finally:
            Path(name).unlink()
        return context


def new_identity() -> Identity:
    """Make an authority and have it sign leaves for localhost, loopback and ``*.googleapis.com``."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(_AUTHORITY, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(authority_id, critical=False)
        .add_extension(x509.NameConstraints(_PERMITTED, excluded_subtrees=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf_key = ec.generate_private_key(ec.SECP256R1())

    def leaf(*alternatives: x509.GeneralName) -> bytes:
        return (
            _builder("localhost", leaf_key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False
            )
            .sign(authority_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    return Identity(
        authority.public_bytes(serialization.Encoding.PEM),
        leaf(*_NAMES),
        leaf(*_NAMES, *_ADDRESSES),
        _private_pem(leaf_key),
    )


def write_credentials(path: Path, *, project: str, storage_url: str) -> None:
    """Write a service-account key that is good for the emulator and for nothing else.

    Google's libraries take it as application default credentials and fetch their token from the
    storage server's ``/token``; obstore finds the storage server by ``gcs_base_url``.

    Args:
        path: Where to write it, readable by this user only.
        project: The project id that it gives.
        storage_url: Base URL of the storage server.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    email = f"local@{project}.iam.gserviceaccount.com"
    write_private(
        path,
        json.dumps(
            {
                "type": "service_account",
                "project_id": project,
                "private_key_id": "local",
                "private_key": _private_pem(key).decode(),
                "client_email": email,
                "client_id": "0",
                "token_uri": f"{storage_url}/token",
                "universe_domain": "googleapis.com",
                "gcs_base_url": storage_url,
                "disable_oauth": True,
            },
            indent=2,
        ).encode(),
    )


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, never seen half-written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    Path(name).replace(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: str, key: ec.EllipticCurvePublicKey, now: datetime.datetime) -> x509.CertificateBuilder:
    """A certificate by the authority, which is all but signed."""
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(_AUTHORITY))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
