"""The client side of the router, against servers that do as they are told."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

from vertexkit.emulator.serving.connections import ConnectionLost, ConnectionPool, request_head

HEAD = request_head("POST", "/p", 2)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Model: m\r\n\r\nhi"


@pytest.fixture
def socket_path():
    # Not tmp_path, which may be longer than a socket's address can be.
    folder = Path(tempfile.mkdtemp(prefix="vk-"))
    yield folder / "s"
    shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def server(path, *answers):
    """A server whose n-th connection plays ``answers[n]``: per request chunks to write, or None to close."""
    connections = []

    async def serve(reader, writer):
        script = answers[min(len(connections), len(answers) - 1)]
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in script:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                if answer is None:
                    break
                for chunk in answer if isinstance(answer, list) else [answer]:
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0)
            else:
                await reader.read()
        writer.close()

    listening = await asyncio.start_unix_server(serve, str(path))
    try:
        yield connections
    finally:
        listening.close()


def run(path, answers, use):
    async def main():
        async with server(path, *answers) as connections:
            pool = ConnectionPool(path, limit=2)
            try:
                return await use(pool, connections)
            finally:
                pool.close()

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_a_reply_comes_with_status_headers_and_body(socket_path):
    async def use(pool, _):
        return await pool.request(HEAD, b"{}")

    reply = run(socket_path, [[OK]], use)
    assert (reply.status, reply.headers["x-model"], reply.body) == (200, "m", b"hi")


def test_requests_in_turn_share_a_connection(socket_path):
    async def use(pool, connections):
        for _ in range(3):
            await pool.request(HEAD, b"{}")
        return len(connections)

    assert run(socket_path, [[OK] * 3], use) == 1


def test_a_reply_in_pieces_is_put_together(socket_path):
    pieces = [OK[i : i + 1] for i in range(len(OK))]

    async def use(pool, _):
        return [(await pool.request(HEAD, b"{}")).body for _ in range(2)]

    assert run(socket_path, [[pieces, pieces]], use) == [b"hi", b"hi"]


def test_a_chunked_reply_is_understood(socket_path):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"

    async def use(pool, _):
        return (await pool.request(HEAD, b"{}")).body

    assert run(socket_path, [[chunked]], use) == b"hi"


def test_no_more_connections_than_the_limit_and_nobody_starves(socket_path):
    async def use(pool, connections):
        replies = await asyncio.gather(*(pool.request(HEAD, b"{}") for _ in range(20)))
        return len(connections), len(replies)

    assert run(socket_path, [[OK] * 20], use) == (2, 20)


@pytest.mark.parametrize("answer", [None, [OK[:20]], [OK[:-1]]])
def test_a_connection_that_ends_before_the_whole_answer_is_lost(socket_path, answer):
    async def use(pool, connections):
        asking = asyncio.ensure_future(pool.request(HEAD, b"{}"))
        if answer is not None:
            while not connections:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            connections[0].close()
        with pytest.raises(ConnectionLost) as lost:
            await asking
        return lost.value.sent

    assert run(socket_path, [[answer]], use) is True


def test_an_answer_that_is_not_http_is_lost(socket_path):
    async def use(pool, _):
        with pytest.raises(ConnectionLost, match="does not speak HTTP"):
            await pool.request(HEAD, b"{}")

    run(socket_path, [[b"garbage\r\n\r\n"]], use)


def test_where_nobody_listens_the_request_was_not_sent(socket_path):
    async def main():
        with pytest.raises(ConnectionLost) as lost:
            await ConnectionPool(socket_path).request(HEAD, b"{}")
        return lost.value.sent

    assert asyncio.run(main()) is False


def test_a_server_that_closes_after_its_answer_costs_a_new_connection_only(socket_path):
    closing = OK.replace(b"X-Model: m", b"Connection: close")

    async def use(pool, connections):
        for _ in range(3):
            assert (await pool.request(HEAD, b"{}")).status == 200
        return len(connections)

    assert run(socket_path, [[closing, None]], use) == 3


def test_an_idle_connection_that_the_server_closed_is_not_used_again(socket_path):
    async def use(pool, connections):
        await pool.request(HEAD, b"{}")
        connections[0].close()
        await asyncio.sleep(0.05)
        await pool.request(HEAD, b"{}")
        return len(connections)

    assert run(socket_path, [[OK, OK]], use) == 2


def test_the_late_answer_to_a_request_given_up_reaches_nobody_else(socket_path):
    late = OK.replace(b"hi", b"no")

    async def use(pool, connections):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.request(HEAD, b"{}"), 0.05)
        return (await pool.request(HEAD, b"{}")).body, len(connections)

    # The first connection answers only in part; what is asked next goes on another one.
    assert run(socket_path, [[[late[:-1]]], [OK]], use) == (b"hi", 2)


def test_a_waiter_that_gives_up_leaves_its_turn_to_the_next(socket_path):
    async def use(pool, _):
        stuck = [asyncio.ensure_future(pool.request(HEAD, b"{}")) for _ in range(2)]
        await asyncio.sleep(0.05)
        impatient = asyncio.ensure_future(pool.request(HEAD, b"{}"))
        patient = asyncio.ensure_future(pool.request(HEAD, b"{}"))
        await asyncio.sleep(0.01)
        impatient.cancel()
        for request in stuck:
            request.cancel()
        return (await patient).body

    assert run(socket_path, [[[]], [[]], [OK]], use) == b"hi"
