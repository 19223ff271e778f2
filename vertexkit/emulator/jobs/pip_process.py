"""Runs pip, ends it when asked or when the emulator goes, and says why it failed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from vertexkit.emulator.jobs.interpreters import Interpreter

__all__ = ["InstallCancelled", "InstallFailed", "run_pip"]

_POLL_SECONDS: Final = 0.05
_TAIL_LINES: Final = 8

# Its standard input is the emulator's pipe: when that closes, pip goes with everything that it has started.
_WATCHED_PIP: Final = """\
import os, signal, sys, threading

def watch():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
try:
    from pip._internal.cli.main import main
except ModuleNotFoundError:
    sys.exit("There is no pip: install it where the local Vertex AI runs.")
sys.exit(main(sys.argv[1:]))
"""
# Beside pip's own settings. A package that it builds is a program too, and gets no more than a container has:
# only the way to the index, and whom to trust on it, differ from machine to machine.
_PASSED_ON: Final = frozenset(
    {
        *("HOME", "LANG", "PATH", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME"),
        *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
        *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
        *("all_proxy", "https_proxy", "http_proxy", "no_proxy"),
    }
)
# Settings of pip's that would have it install elsewhere, or say nothing.
_NOT_PASSED_ON: Final = frozenset(
    {
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_QUIET",
        "PIP_VERBOSE",
        "PIP_LOG",
        "PIP_REQUIREMENT",
    }
)
_UNREACHABLE: Final = re.compile(
    r"connection broken by|NewConnectionError|name resolution|Network is unreachable|ProxyError"
    r"|ConnectTimeout|Max retries exceeded|Connection refused|Could not fetch URL"
)
_NO_MATCH: Final = re.compile(r"ERROR: No matching distribution found for (.+)")
_VERSIONS: Final = re.compile(r"ERROR: Could not find a version .*\(from versions: (.*)\)")
_CONFLICT: Final = re.compile(r"The conflict is caused by:\n((?:[ \t]+.+\n)+)")
_BROKEN: Final = re.compile(r"\[\d+ lines? of output\]\n(.*?)\n\s*\[end of output\]", re.DOTALL)


class InstallFailed(Exception):
    """A package could not be installed; the message names it, says why, and what would do."""


class InstallCancelled(InstallFailed):
    """The job was cancelled while a package was installed."""


def run_pip(
    interpreter: Interpreter,
    arguments: Sequence[str],
    what: str,
    cancelled: threading.Event,
    *,
    settings: Mapping[str, str],
) -> None:
    """Run pip in an interpreter, with the index settings of the emulator's own environment.

    Args:
        interpreter: Whose pip it is: that is where it installs.
        arguments: After ``pip``.
        what: What is installed, for messages.
        cancelled: Ends it.
        settings: Variables of pip's that the job has (``PIP_*``): they count more than the emulator's.

    Raises:
        InstallCancelled: ``cancelled`` was set.
        InstallFailed: It failed.
    """
    env = {
        name: value
        for name, value in {**os.environ, **settings}.items()
        if name in _PASSED_ON or (name.startswith("PIP_") and name not in _NOT_PASSED_ON)
    }
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    command = [str(interpreter.python), "-I", "-c", _WATCHED_PIP, *arguments]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=env, start_new_session=True
        )
        try:
            code = _finished(process, cancelled)
        finally:
            if process.stdin is not None:
                process.stdin.close()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code != 0:
        raise InstallFailed(_why(text, what))


def _finished(process: subprocess.Popen[bytes], cancelled: threading.Event) -> int:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_SECONDS)
        if cancelled.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise InstallCancelled("The job was cancelled while its packages were installed.")


def _why(text: str, what: str) -> str:
    """What pip's output comes to."""
    failed = "could not be installed:"
    unreachable = "the package index cannot be reached. Check the network"
    is_unreachable = _UNREACHABLE.search(text) is not None
    if missing := _NO_MATCH.search(text):
        package = missing[1].strip()
        # A tool for building it, which nobody asked for by name.
        who = package if re.split(r"[^\w.-]", package)[0] in what else f"{package}, needed for {what},"
        why = (
            f"{unreachable}, or install it where the local Vertex AI runs: jobs see the packages there."
            if is_unreachable
            else _no_match(text)
        )
        return f"{who} {failed} {why}"
    if conflict := _CONFLICT.search(text):
        parties = "; ".join(line.strip() for line in conflict[1].splitlines())
        return f"{what} {failed} the requirements contradict one another: {parties}."
    if is_unreachable:
        return f"{what} {failed} {unreachable}."
    if broken := list(_BROKEN.finditer(text)):
        return f"{what} {failed} it does not build.\n{_tail(broken[-1][1])}"
    return f"{what} {failed} pip says:\n{_tail(text)}"


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_TAIL_LINES:])


def _no_match(text: str) -> str:
    versions = _VERSIONS.search(text)
    if versions is None or versions[1] == "none":
        return (
            "the package index has no such package, or no version of it for this Python. Check the name "
            "in the requirements."
        )
    newest = ", ".join(versions[1].split(", ")[-5:])
    return f"the package index has no such version. The newest are {newest}: require one of them."
