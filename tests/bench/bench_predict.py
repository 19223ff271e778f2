"""What predicting 1,000 images costs the client, against ``aiplatform.Endpoint.predict``."""

from __future__ import annotations

import os
from typing import Any

from tests.bench.deployed import deployed, measured
from tests.bench.report import Row, in_turn, milliseconds

_OURS = """
import json, sys, time
import numpy as np
import vertexkit as vk
images = np.load("trainer_scripts/data/mnist_subset.npz")["x_test"]
with vk.connect(emulator=sys.argv[1]) as session:
    endpoint = session.endpoints.get(sys.argv[2])
    def predict():
        return endpoint.predict(images, return_response=True)
    predict()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        response = predict()
    cpu, seconds = (time.process_time() - cpu) / 5, (time.perf_counter() - started) / 5
assert response.predictions.shape == (1000, 10)
print(json.dumps({"cpu": cpu, "seconds": seconds,
                  "bytes": sum(request.request_bytes for request in response.requests)}))
"""

# As its users write it: by hand in batches, for the service takes 1.5 MB at a time.
_THEIRS = """
import json, sys, time
import numpy as np
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, aiplatform_v1
images = np.load("trainer_scripts/data/mnist_subset.npz")["x_test"]
project, location = sys.argv[2].split("/")[1:4:2]
aiplatform.init(project=project, location=location, api_endpoint=sys.argv[1],
                credentials=AnonymousCredentials())
endpoint = aiplatform.Endpoint(sys.argv[2])
sizes, serialize = [], aiplatform_v1.PredictRequest.serialize
def counted(request):
    data = serialize(request)
    sizes.append(len(data))
    return data
# The client takes it when it sends the first request.
aiplatform_v1.PredictRequest.serialize = counted
def predict():
    predictions = []
    for start in range(0, 1000, 125):
        predictions += endpoint.predict(images[start:start + 125].tolist()).predictions
    return np.array(predictions)
predict()
sizes.clear()
started, cpu = time.perf_counter(), time.process_time()
for _ in range(5):
    predicted = predict()
cpu, seconds = (time.process_time() - cpu) / 5, (time.perf_counter() - started) / 5
assert predicted.shape == (1000, 10)
assert len(sizes) == 5 * 8
print(json.dumps({"cpu": cpu, "seconds": seconds, "bytes": sum(sizes) / 5}))
"""


def run() -> list[Row]:
    """Measure both clients on the same endpoint, each in an interpreter of its own."""
    place = deployed()
    env = {**os.environ, **place.emulator.env}
    last: dict[str, Any] = {}

    def cpu(key: str, program: str, address: str) -> float:
        last[key] = measured(program, address, place.endpoint.resource_name, env=env)
        return float(last[key]["cpu"])

    ours, theirs = in_turn(
        lambda: cpu("ours", _OURS, place.emulator.rest),
        lambda: cpu("theirs", _THEIRS, place.emulator.grpc),
        3,
    )
    sent = (last["ours"]["bytes"], last["theirs"]["bytes"])
    seconds = (last["ours"]["seconds"], last["theirs"]["seconds"])
    return [
        Row(
            "predict 1,000 images: client CPU",
            milliseconds(ours),
            f"aiplatform {milliseconds(theirs)}",
            theirs / ours,
            target=20,
        ),
        Row(
            "predict 1,000 images: request bytes",
            f"{sent[0] / 1e6:.2f} MB",
            f"aiplatform {sent[1] / 1e6:.2f} MB",
            sent[1] / sent[0],
            target=3,
        ),
        Row(
            "predict 1,000 images: time",
            milliseconds(seconds[0]),
            f"aiplatform {milliseconds(seconds[1])}",
            seconds[1] / seconds[0],
        ),
    ]
