"""The JSON round trip of ``:predict`` with no model behind it: what bench_serving holds serving against.

Reads the instances into an array as any server must, and answers as many predictions of 10 numbers.
``python -m tests.bench.no_model`` prints its port.
"""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import orjson
import uvicorn


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    instances = np.asarray(orjson.loads(body)["instances"], dtype=np.uint8)
    # Numbers of as many digits as a softmax gives.
    predictions = np.full((len(instances), 10), 1 / 7, np.float32)
    reply = orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
    uvicorn.Server(config).run([listening])
