import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.oauth2 import service_account

from vertexkit.emulator.certificates import new_identity, write_credentials


def test_the_authority_may_only_vouch_for_loopback_and_googleapis() -> None:
    authority = x509.load_pem_x509_certificate(new_identity().ca_pem)
    constraint = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    permitted = constraint.value.permitted_subtrees or []
    assert {str(name.value) for name in permitted} == {
        "localhost", "googleapis.com", "127.0.0.0/8", "::1/128",
    }  # fmt: skip


def test_every_start_has_an_authority_of_its_own() -> None:
    first, second = (x509.load_pem_x509_certificate(new_identity().ca_pem) for _ in range(2))
    assert first.public_key() != second.public_key()


def test_the_leaves_are_signed_by_the_authority() -> None:
    identity = new_identity()
    authority = x509.load_pem_x509_certificate(identity.ca_pem)
    for leaf in (identity.names_pem, identity.addresses_pem):
        x509.load_pem_x509_certificate(leaf).verify_directly_issued_by(authority)


def test_the_identity_does_not_show_its_key() -> None:
    assert "PRIVATE" not in repr(new_identity())


def test_loading_the_key_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    new_identity().server_context()
    assert list(tmp_path.iterdir()) == []


def test_the_credentials_are_private_and_get_their_token_locally(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write_credentials(path, project="p-1", storage_url="http://127.0.0.1:1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = json.loads(path.read_text())
    assert written["token_uri"] == "http://127.0.0.1:1/token"
    assert written["project_id"] == "p-1"
    assert serialization.load_pem_private_key(written["private_key"].encode(), None)


def test_google_auth_takes_the_credentials(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write_credentials(path, project="p-1", storage_url="http://127.0.0.1:1")
    credentials = service_account.Credentials.from_service_account_file(str(path))
    assert credentials.project_id == "p-1"
    assert credentials.service_account_email == "local@p-1.iam.gserviceaccount.com"
