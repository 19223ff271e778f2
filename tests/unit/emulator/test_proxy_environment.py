"""What leads programs to an emulator: variables, and a file of whom to trust."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from vertexkit.emulator.certificates import new_identity
from vertexkit.emulator.environment import google_environment, program_environment
from vertexkit.emulator.options import EmulatorInfo
from vertexkit.emulator.pass_through import is_bypassed
from vertexkit.emulator.projects import project_id, project_number
from vertexkit.emulator.proxied_http import with_one_framing
from vertexkit.emulator.trust import ca_bundle, curl_settings

INFO = EmulatorInfo(
    grpc="localhost:1",
    rest="http://127.0.0.1:2",
    storage="http://127.0.0.1:3",
    proxy="http://127.0.0.1:4",
    ca="/d/ca.pem",
    ca_bundle="/d/ca-bundle.pem",
    credentials="/d/credentials.json",
    project="local-project",
    location="us-central1",
    pid=1,
    version="1",
)


def authorities(pem: bytes) -> set[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    return set(context.get_ca_certs(binary_form=True))


def test_every_client_library_finds_the_proxy_by_its_own_variable() -> None:
    environment = google_environment(INFO)
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy"):
        assert environment[name] == INFO.proxy
    for name in ("no_proxy", "NO_PROXY"):
        assert {"localhost", "127.0.0.1", "::1"} <= set(environment[name].split(","))
    assert environment["GOOGLE_CLOUD_PROJECT"] == "local-project"
    # gcsfs asks Storage Control otherwise, which is not on the port of Cloud Storage, and waits for ever.
    assert environment["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] == "false"
    assert google_environment(INFO, "mine-1234")["GOOGLE_CLOUD_PROJECT"] == "mine-1234"


def test_a_job_is_told_nothing_of_vertexkit_and_a_users_program_is() -> None:
    assert not any(name.startswith("VERTEXKIT") for name in google_environment(INFO))
    told = program_environment(INFO, "mine-1234", "europe-west4")
    assert google_environment(INFO, "mine-1234").items() <= told.items()
    assert told["VERTEXKIT_EMULATOR"] == INFO.rest
    # Where nothing else says so, as in a job, gRPC goes by those above.
    assert (told["grpc_proxy"], told["no_grpc_proxy"]) == (INFO.proxy, told["no_proxy"])
    assert (told["VERTEXKIT_PROJECT"], told["VERTEXKIT_LOCATION"]) == ("mine-1234", "europe-west4")


def test_the_bundle_trusts_the_authority_and_whom_one_trusts_anyway(tmp_path: Path) -> None:
    ours, corporate = new_identity().ca_pem, new_identity().ca_pem
    named, broken = tmp_path / "corporate.pem", tmp_path / "broken.pem"
    named.write_bytes(b"# A comment.\n" + corporate)
    broken.write_bytes(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
    environ = {
        "REQUESTS_CA_BUNDLE": str(named),
        "SSL_CERT_FILE": str(broken),
        "CURL_CA_BUNDLE": str(tmp_path / "gone.pem"),
    }
    bundle = ca_bundle(ours, environ)
    trusted = authorities(bundle)
    assert (
        authorities(ours) | authorities(corporate) | authorities(Path(certifi.where()).read_bytes())
        <= trusted
    )
    assert bundle.startswith(ours.strip())
    assert b"!!!" not in bundle
    assert bundle.count(b"BEGIN CERTIFICATE") == len(set(bundle.split(b"-----BEGIN"))) - 1
    assert authorities(corporate).isdisjoint(authorities(ca_bundle(ours, {})))


def test_the_curl_command_keeps_its_users_settings_and_trusts_the_bundle(tmp_path: Path) -> None:
    bundle, home = tmp_path / 'a "b".pem', tmp_path / "home"
    home.mkdir()
    assert curl_settings(bundle, {"HOME": str(home)}).decode() == f'cacert = "{tmp_path}/a \\"b\\".pem"\n'
    (home / ".curlrc").write_text("user-agent = me\ncacert = mine.pem")
    lines = curl_settings(bundle, {"HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path)}).decode().splitlines()
    assert lines[:2] == ["user-agent = me", "cacert = mine.pem"]
    assert lines[2].startswith("cacert = ")


HEAD = b"PUT /x HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (b"Content-Length: 3\r\n", b"Content-Length: 3\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n"),
        (b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n", b"Content-Length: 0\r\n"),
        (b"content-length: 0\r\ntransfer-encoding:  Identity \r\n", b"content-length: 0\r\n"),
        (b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n"),
        # Whatever else is contradictory is for the parser to refuse.
        (
            b"Transfer-Encoding: gzip\r\nContent-Length: 9\r\n",
            b"Transfer-Encoding: gzip\r\nContent-Length: 9\r\n",
        ),
        (b"X-Transfer-Encoding: identity\r\n", b"X-Transfer-Encoding: identity\r\n"),
    ],
)
def test_a_body_is_announced_in_one_way(fields: bytes, left: bytes) -> None:
    assert with_one_framing(HEAD + fields + b"\r\n") == HEAD + left + b"\r\n"


@pytest.mark.parametrize(
    ("host", "no_proxy", "bypassed"),
    [
        ("a.example", "", False),
        ("a.example", "b.example, a.example", True),
        ("a.b.example", ".b.example", True),
        ("a.b.example", "b.example", True),
        ("ab.example", "b.example", False),
        ("a.example", "*", True),
        ("A.example".lower(), "A.EXAMPLE", True),
    ],
)
def test_no_proxy_names_hosts_and_domains(host: str, no_proxy: str, bypassed: bool) -> None:
    assert is_bypassed(host, no_proxy) is bypassed


def test_the_id_of_a_project_is_known_once_it_has_been_used() -> None:
    assert project_id("987654321098") == "987654321098"
    number = project_number("seen-before")
    assert project_id(number) == project_id("seen-before") == "seen-before"
