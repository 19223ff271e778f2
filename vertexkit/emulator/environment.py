"""The environment that sends every Google Cloud call of an unmodified program to an emulator.

TensorFlow's own ``gs://`` code, gRPC, requests and Google's libraries each go by other variables;
together these leave none of them a way to the real service. Empty ones are there to overrule what
a user's environment may say.
"""

from __future__ import annotations

import socket
from pathlib import Path

from vertexkit.emulator.options import EmulatorInfo

_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")
_NO_PROXIES = ("no_proxy", "NO_PROXY")
_BUNDLES = (
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def google_environment(info: EmulatorInfo, project: str | None = None) -> dict[str, str]:
    """The variables by which the Google Cloud calls of a program reach an emulator.

    Args:
        info: The emulator.
        project: Id of the project to work in; the emulator's by default.
    """
    project = project or info.project
    # Processes of one machine also call each other by its name, as parts of a cluster do.
    direct = ",".join(dict.fromkeys((*_LOOPBACK, socket.gethostname())))
    return {
        **dict.fromkeys(_PROXIES, info.proxy),
        **dict.fromkeys(_NO_PROXIES, direct),
        **dict.fromkeys(_BUNDLES, info.ca_bundle),
        # TensorFlow reads this one anew for every request, which is four times as quick if it is small.
        "CURL_CA_BUNDLE": info.ca,
        # The curl command would go by it too, but for the .curlrc here.
        "CURL_HOME": str(Path(info.ca_bundle).parent),
        "STORAGE_EMULATOR_HOST": info.storage,
        # gcsfs would ask Storage Control there about each bucket, over gRPC, until it had an answer.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        # pyarrow's name for it.
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": info.storage,
        "GOOGLE_APPLICATION_CREDENTIALS": info.credentials,
        "GOOGLE_CLOUD_PROJECT": project,
        # TensorFlow's gs:// code signs no token with the key above: it takes this one.
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "local",
        "NO_GCE_CHECK": "true",
    }


def program_environment(
    info: EmulatorInfo, project: str | None = None, location: str | None = None
) -> dict[str, str]:
    """The variables for a program with an environment of its own, which may lead elsewhere.

    Args:
        info: The emulator.
        project: Id of the project to work in; the emulator's by default.
        location: Region to work in; the emulator's by default.
    """
    project = project or info.project
    google = google_environment(info, project)
    return {
        **google,
        # gRPC prefers these to the others, where they are set.
        "grpc_proxy": google["https_proxy"],
        "no_grpc_proxy": google["no_proxy"],
        "VERTEXKIT_EMULATOR": info.rest,
        "VERTEXKIT_PROJECT": project,
        "VERTEXKIT_LOCATION": location or info.location,
        "VERTEXKIT_KEY_FILE": "",
        # Not by mutual TLS, which has other hosts and needs the user's certificate.
        "GOOGLE_API_USE_CLIENT_CERTIFICATE": "false",
        "GOOGLE_API_USE_MTLS_ENDPOINT": "never",
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "googleapis.com",
        # gcloud's names for what the others are told above.
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": info.credentials,
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "",
        "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT": "",
        "CLOUDSDK_CONTEXT_AWARE_USE_CLIENT_CERTIFICATE": "false",
        "CLOUDSDK_CORE_PROJECT": project,
    }
