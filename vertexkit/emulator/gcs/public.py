"""Buckets that do not exist here, read from the real Cloud Storage as anybody can: without credentials.

Nothing is kept. Jobs do not see these buckets below ``/gcs``, which is a folder of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import orjson

from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.http import Headers, Request, Response, Send

if TYPE_CHECKING:
    import requests

_Result = TypeVar("_Result")

__all__ = ["CLOUD_STORAGE", "PublicBuckets"]

CLOUD_STORAGE: Final = "https://storage.googleapis.com"

_BLOCK: Final = 1 << 18
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 60.0
_UNREACHABLE_SECONDS: Final = 5.0
"""For so long nothing is tried after a connection failed: a program asks for many objects in a row."""
_CONNECTIONS: Final = 32

# All others say who asks, or are of the connection.
_ASKED_WITH: Final = ("range", "if-match", "if-none-match", "if-modified-since", "accept-encoding")
_ANSWERED_WITH: Final = re.compile(
    "accept-ranges|cache-control|content-(disposition|encoding|language|length|range|type)|etag|expires"
    "|last-modified|x-goog-.*"
)
# A name that Cloud Storage may have: https://cloud.google.com/storage/docs/buckets#naming.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_NOT_PASSED_ON: Final = frozenset({"access_token", "oauth_token", "userProject", "key"})


class PublicBuckets:
    """The real Cloud Storage's public buckets, to be read.

    Args:
        url: Address of a Cloud Storage; another one in tests.
    """

    def __init__(self, url: str = CLOUD_STORAGE) -> None:
        self._url = url
        self._session: requests.Session | None = None
        # Of its own: a slow network should not hold up what else the emulator leaves to threads.
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="public-buckets")
        self._unreachable_until = 0.0
        self._why = ""

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._session is not None:
            self._session.close()

    def may_have(self, bucket: str) -> bool:
        """Whether a bucket there can be called so."""
        return _NAME.fullmatch(bucket) is not None

    async def answer(self, request: Request, bucket: str) -> Response:
        """What the real Cloud Storage answers.

        Raises:
            StorageError: 403 for a bucket that is not public, and for anything but reading one that is;
                404 if it cannot be reached, or if it knows no such bucket.
        """
        if request.method not in ("GET", "HEAD"):
            await self._refuse_writing(bucket)
        raw_path: bytes = request.scope["raw_path"]
        query = [pair for pair in parse_qsl(_text(request.scope["query_string"]), True) if _is_fit(pair)]
        headers = {
            name: value for name in _ASKED_WITH if (value := request.header(name.encode())) is not None
        }
        is_metadata = raw_path.startswith(b"/storage/v1/") and request.query.get("alt") != "media"
        if is_metadata or "accept-encoding" not in headers:
            headers["accept-encoding"] = "identity"
        got = await self._get(request.method, f"{_text(raw_path)}?{urlencode(query)}".rstrip("?"), headers)
        if got.status_code in (401, 403):
            got.close()
            raise StorageError(
                403,
                "forbidden",
                f"The bucket {bucket} does not exist here, and what the real Cloud Storage has of that name "
                "is not public.",
                "AccessDenied",
            )
        if not is_metadata:
            return _Streamed(request, got, self._threads)
        with contextlib.closing(got):
            body = await self._in_thread(lambda: got.content)
        return Response(got.status_code, _headers(got, length=False), _at_home(body, request.base_url))

    async def _refuse_writing(self, bucket: str) -> None:
        """403 if there is such a public bucket; a name that is merely wrong is not found."""
        path = f"/storage/v1/b/{quote(bucket, safe='')}/o?maxResults=1&fields=kind"
        got = await self._get("GET", path, {})
        got.close()
        if got.status_code == 404:
            raise StorageError(404, "notFound", "The specified bucket does not exist.", "NoSuchBucket")
        raise StorageError(
            403,
            "forbidden",
            f"The bucket {bucket} is one of the real Cloud Storage, which the local Vertex AI only reads.",
            "AccessDenied",
        )

    async def _get(self, method: str, path: str, headers: dict[str, str]) -> requests.Response:
        if time.monotonic() >= self._unreachable_until:
            try:
                return await self._in_thread(lambda: self._ask(method, path, headers))
            except OSError as error:
                # Everything that requests raises is one.
                self._unreachable_until = time.monotonic() + _UNREACHABLE_SECONDS
                self._why = type(error).__name__
        raise StorageError(
            404,
            "notFound",
            "The specified bucket does not exist here, and the real Cloud Storage, which may have a public "
            f"one of that name, could not be reached ({self._why}).",
            "NoSuchBucket",
        )

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> requests.Response:
        return self._connected().request(
            method,
            self._url + path,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=(_CONNECT_SECONDS, _READ_SECONDS),
        )

    def _connected(self) -> requests.Session:
        if self._session is None:
            import requests
            from requests.adapters import HTTPAdapter

            session = requests.Session()
            session.headers.clear()
            session.headers["user-agent"] = "vertexkit-local"
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            # Without this, requests looks for a password in ~/.netrc.
            session.auth = _anonymous
            session.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
            session.mount("http://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
            self._session = session
        return self._session


class _Streamed(Response):
    """An answer that is passed on as it comes."""

    __slots__ = ("_got", "_request", "_threads")

    def __init__(self, request: Request, got: requests.Response, threads: ThreadPoolExecutor) -> None:
        super().__init__(got.status_code, _headers(got, length=True))
        self._threads = threads
        self._request = request
        self._got = got

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it block by block, until the client has gone.

        Raises:
            EOFError: The connection behind broke; the one before must be closed, so that the client notices.
        """
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        gone = asyncio.create_task(self._request.gone())
        try:
            blocks = iter(()) if head else self._blocks()
            following = partial(next, blocks, None)
            loop = asyncio.get_running_loop()
            while (block := await loop.run_in_executor(self._threads, following)) and not gone.done():
                await send({"type": "http.response.body", "body": block, "more_body": True})
        except OSError as error:
            raise EOFError(f"the connection to the real Cloud Storage broke: {error}") from None
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b""})

    def _blocks(self) -> Iterator[bytes]:
        """The body as it was sent, packed or not."""
        from urllib3.exceptions import HTTPError

        try:
            while block := self._got.raw.read(_BLOCK, decode_content=False):
                yield block
        except HTTPError as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        """Give the connection back."""
        self._got.close()


def _anonymous(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _is_fit(pair: tuple[str, str]) -> bool:
    return pair[0] not in _NOT_PASSED_ON


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _headers(got: requests.Response, *, length: bool) -> Headers:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in got.headers.items()
        if _ANSWERED_WITH.fullmatch(name.lower()) and (length or name.lower() != "content-length")
    ]


def _at_home(body: bytes, base_url: str) -> bytes:
    """Metadata with its links leading here, where the client has its way to."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if isinstance(value, dict):
        for resource in (value, *value.get("items", ())):
            _relink(resource, base_url)
    return orjson.dumps(value)


def _relink(resource: Any, base_url: str) -> None:
    for field in ("selfLink", "mediaLink"):
        if isinstance(resource, dict) and isinstance(link := resource.get(field), str):
            resource[field] = base_url + urlsplit(link)._replace(scheme="", netloc="").geturl()
