"""The local Vertex AI as one process: its ports, its start, its end.

One event loop carries REST, Cloud Storage and TLS; gRPC has threads of its own. To read on: the
parts behind the fronts are put together in ``parts.py``, the RPCs are in ``methods.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn

from vertexkit import __version__
from vertexkit.emulator import certificates, ports, trust
from vertexkit.emulator.about import about
from vertexkit.emulator.asgi import Application
from vertexkit.emulator.data_dir import DataDir
from vertexkit.emulator.dispatch import Dispatcher
from vertexkit.emulator.faults import Faults
from vertexkit.emulator.google_accounts import other_hosts
from vertexkit.emulator.google_hosts import GoogleHosts
from vertexkit.emulator.grpc_front import GrpcFront
from vertexkit.emulator.guard import Guard
from vertexkit.emulator.http_faults import EmulatorProtocol, StorageFaults
from vertexkit.emulator.methods import methods
from vertexkit.emulator.options import EmulatorInfo, EmulatorOptions
from vertexkit.emulator.parts import Parts, Place, assemble
from vertexkit.emulator.pass_through import PassThrough
from vertexkit.emulator.proxied_http import ProxiedProtocol
from vertexkit.emulator.proxy_front import ProxyFront
from vertexkit.emulator.rest_front import RestFront
from vertexkit.emulator.tls_front import TlsFront
from vertexkit.errors import EmulatorFailed

_GRACE_SECONDS = 3
"""What calls in progress get when the server stops."""
_KEEP_ALIVE_SECONDS = 600
"""Longer than clients keep idle connections, so that none is closed under a request."""

Assemble = Callable[[Place], Parts]


class Server:
    """A local Vertex AI in this process.

    Args:
        options: What was asked for.
        assemble: Builds the parts behind the fronts.
    """

    def __init__(self, options: EmulatorOptions, *, assemble: Assemble = assemble) -> None:
        self._options = options
        self._assemble = assemble
        # What has been started, each with how to end it; ended in reverse.
        self._started = contextlib.AsyncExitStack()

    async def start(self) -> EmulatorInfo:
        """Start everything; when this returns, every port answers.

        Raises:
            EmulatorFailed: A port or the data folder is in use. Nothing is left running.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End everything: first the ports, then the work, then what the work stands on."""
        await self._started.aclose()

    async def _start(self) -> EmulatorInfo:
        options = self._options
        # Before anything that takes time: to fail on a folder or port that is taken should cost nothing.
        data = self._started.enter_context(DataDir(options.data_dir))
        asked = {
            "grpc": options.grpc_port,
            "rest": options.rest_port,
            "storage": options.storage_port,
            "proxy": options.proxy_port,
        }
        before = ports.remembered(data.path)
        listeners = {
            name: self._started.enter_context(
                contextlib.closing(ports.listen(name, port, rather=before.get(name, 0)))
            )
            for name, port in asked.items()
        }
        chosen = {name: listener.getsockname()[1] for name, listener in listeners.items()}
        ports.remember(data.path, chosen)
        info = _info(options, data.path, chosen)
        identity = certificates.new_identity()
        certificates.write_private(Path(info.ca), identity.ca_pem)
        certificates.write_private(Path(info.ca_bundle), trust.ca_bundle(identity.ca_pem, os.environ))
        curl_settings = trust.curl_settings(Path(info.ca_bundle), os.environ)
        certificates.write_private(data.path / ".curlrc", curl_settings)
        certificates.write_credentials(Path(info.credentials), project=info.project, storage_url=info.storage)

        table, faults = methods(), Faults(allowed=options.allow_faults)
        parts = self._assemble(
            Place(data.path, data.work, asyncio.get_running_loop(), info, options.public_buckets)
        )
        # In a thread, because what closes may need the loop to be told that it is over.
        self._started.push_async_callback(asyncio.to_thread, parts.close)
        dispatcher = Dispatcher(parts.services)
        apps = {**parts.apps, **about(info, faults)}
        rest = RestFront(table, dispatcher, parts.predictor, faults, apps)
        self._started.callback(rest.close)
        grpc = GrpcFront(table, dispatcher, faults, data.work / "grpc.sock")
        context = identity.server_context()
        tls = TlsFront(context, str(grpc.socket), listeners["rest"].getsockname()[:2])
        self._started.callback(tls.close)
        way_out = PassThrough(urllib.request.getproxies_environment()) if options.pass_through else None
        proxy = ProxyFront(context, str(grpc.socket), way_out)
        self._started.callback(proxy.close)
        grpc.start()
        self._started.push_async_callback(asyncio.to_thread, grpc.stop, _GRACE_SECONDS)

        storage = StorageFaults(parts.storage, faults)
        await self._serve_http(Guard(rest), listeners["rest"])
        await self._serve_http(Guard(storage), listeners["storage"])
        await tls.start(listeners["grpc"])
        self._started.callback(tls.stop_listening)
        behind = Guard(GoogleHosts(rest, storage, other_hosts(rest)))
        proxied = await self._serve_http(behind, None, protocol=ProxiedProtocol)
        await proxy.start(listeners["proxy"], proxied.connected)
        self._started.callback(proxy.stop_listening)
        return info

    async def _serve_http(
        self,
        application: Application,
        listener: socket.socket | None,
        *,
        protocol: type[EmulatorProtocol] = EmulatorProtocol,
    ) -> _HttpServer:
        server = _HttpServer(
            uvicorn.Config(
                application,
                http=protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        sockets = [] if listener is None else [listener]
        serving = asyncio.create_task(server.serve(sockets=sockets))

        async def stop() -> None:
            server.should_exit = True
            await serving

        self._started.push_async_callback(stop)
        while not server.started:
            if serving.done():
                raise EmulatorFailed("the HTTP server did not start") from serving.exception()
            await asyncio.sleep(0.001)
        return server


class _HttpServer(uvicorn.Server):
    """uvicorn, leaving signals to the process that it is only a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield

    def connected(self) -> asyncio.Protocol:
        """The protocol of a connection that came by another way than a socket of this server's."""
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _info(options: EmulatorOptions, data_dir: Path, chosen: dict[str, int]) -> EmulatorInfo:
    return EmulatorInfo(
        grpc=f"localhost:{chosen['grpc']}",
        rest=f"http://{ports.LOOPBACK}:{chosen['rest']}",
        storage=f"http://{ports.LOOPBACK}:{chosen['storage']}",
        proxy=f"http://{ports.LOOPBACK}:{chosen['proxy']}",
        ca=str(data_dir / "ca.pem"),
        ca_bundle=str(data_dir / "ca-bundle.pem"),
        credentials=str(data_dir / "credentials.json"),
        project=options.project,
        location=options.location,
        pid=os.getpid(),
        version=__version__,
    )
