"""A model server that misbehaves as its environment says: the faults of a replica without TensorFlow's start.

Answers a predict request with its process id. ``STUB`` is a JSON object:

- ``die``: write these words and exit with status 3 instead of starting;
- ``never_listen``, ``unhealthy``: start, and never become ready;
- ``delay``: seconds before an answer.

A body may ask for more: ``{"do": "die" | "half" | "garbage" | "slow"}``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import threading

STUB = json.loads(os.environ.get("STUB", "{}"))
HEALTH = os.environ["AIP_HEALTH_ROUTE"]


def watch_stdin():
    while os.read(0, 1024):
        pass
    os._exit(0)


async def answer(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(
                next(x for x in head.splitlines() if x.lower().startswith("content-length")).split(":")[1]
            )
            body = await reader.readexactly(length)
            status, reply = 200, json.dumps({"predictions": [os.getpid()]}).encode()
            if head.split()[1] == HEALTH:
                status = 500 if STUB.get("unhealthy") else 200
            else:
                await asyncio.sleep(STUB.get("delay", 0))
                do = json.loads(body or b"{}").get("do")
                if do == "die":
                    os._exit(9)
                if do == "half":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                    await writer.drain()
                    os._exit(9)
                if do == "garbage":
                    reply = b"not even"
                    writer.write(reply + b"\r\n\r\n")
                    await writer.drain()
                    continue
                if do == "slow":
                    await asyncio.sleep(60)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(reply)}\r\n\r\n".encode() + reply)
            await writer.drain()
    writer.close()


async def main(path):
    if STUB.get("never_listen"):
        await asyncio.sleep(600)
    server = await asyncio.start_unix_server(answer, path)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket")
    parser.add_argument("--scratch")
    arguments = parser.parse_args()
    threading.Thread(target=watch_stdin, daemon=True).start()
    print("stub starts", flush=True)
    if "die" in STUB:
        print(STUB["die"], flush=True)
        sys.exit(3)
    asyncio.run(main(arguments.socket))
