"""Real models in real model servers: what TensorFlow Serving would answer, and by which backend."""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import orjson
import pytest

from vertexkit.emulator.serving import DeploymentSpec, ServingEngine, ServingFailed
from vertexkit.emulator.serving.model_server.fast_path import _digest

HERE = Path(__file__).parent
SUBSET = HERE.parents[1] / "trainer_scripts" / "data" / "mnist_subset.npz"
ROUTES = {"AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2"}
ROUTES["AIP_PREDICT_ROUTE"] = ROUTES["AIP_HEALTH_ROUTE"] + ":predict"


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, str(HERE / "serving_models.py"), str(folder)], check=True, timeout=240)
    return folder


class Served:
    """An engine with its loop in a thread."""

    def __init__(self, folder):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.engine = ServingEngine(folder, self.loop)
        self.scratch = folder / "scratch"

    def deploy(self, key, folder, *, replicas=1, **env):
        spec = DeploymentSpec(key, folder, {**ROUTES, **env}, replicas)
        self.engine.deploy(spec, timeout=120)

    def post(self, key, body, *, raw=True):
        """Post as RawPredict does, whose bodies TensorFlow Serving reads, or as Predict over REST."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if raw else None
        work = self.engine.predict(key, body, raw=raw, headers=headers)
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def predict(self, key, body):
        reply = self.post(key, body)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def refusal(self, key, body):
        reply = self.post(key, body)
        assert reply.status == 400, reply
        return json.loads(reply.body)["error"]

    def backend(self, key):
        """The line of the log that says what serves, of every start; waits for the first."""
        deadline = time.monotonic() + 120
        while not (lines := self._backend(key)):
            assert time.monotonic() < deadline, self.engine.status(key)
            time.sleep(0.05)
        return lines

    def _backend(self, key):
        return [line for line in self.engine.status(key).log_tail if " serves signature " in line]

    def close(self):
        self.engine.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def served(models, tmp_path_factory):
    one = Served(tmp_path_factory.mktemp("serving"))
    with contextlib.closing(one):
        one.deploy("zoo", models / "zoo")
        one.deploy("mnist", models / "mnist")
        yield one


def zoo(signature_name, instances):
    return {"signature_name": signature_name, "instances": instances}


@pytest.fixture(scope="module")
def images():
    with np.load(SUBSET) as data:
        return data["x_test"]


def test_the_version_folders_model_answers_as_in_the_process_that_made_it(served, models, images):
    expected = np.load(models / "mnist_expected.npy")
    for start in range(0, 1000, 500):
        body = orjson.dumps({"instances": images[start : start + 500]}, option=orjson.OPT_SERIALIZE_NUMPY)
        found = served.predict("mnist", body)["predictions"]
        np.testing.assert_allclose(found, expected[start : start + 500], rtol=1e-4, atol=1e-6)


def test_litert_serves_a_plain_model_and_the_log_says_so(served):
    line = served.backend("mnist")[0]
    assert "LiteRT serves signature serving_default of 0001: checked equal to TensorFlow" in line


def test_tensorflow_serves_alike_when_it_is_asked_for(served, models, images):
    body = orjson.dumps({"instances": images[:50]}, option=orjson.OPT_SERIALIZE_NUMPY)
    served.deploy("plain", models / "mnist", VERTEXKIT_SERVING_BACKEND="tensorflow")
    try:
        assert "TensorFlow serves" in served.backend("plain")[0]
        by_tensorflow = served.predict("plain", body)["predictions"]
    finally:
        served.engine.undeploy("plain")
    np.testing.assert_allclose(
        served.predict("mnist", body)["predictions"], by_tensorflow, rtol=1e-5, atol=1e-6
    )


def test_a_replica_that_is_started_again_finds_the_verdict_of_the_first(served, images):
    body = orjson.dumps({"instances": images[:1]}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert served.backend("mnist")
    before = served.predict("mnist", body)
    served_by = served.backend("mnist")[0].partition("INFO ")[2]
    os.kill(served.engine.status("mnist").replicas[0].pid, signal.SIGKILL)
    assert served.predict("mnist", body) == before
    # The time that the check took is in the line, so a check made again would show.
    assert {line.partition("INFO ")[2] for line in served.backend("mnist")} == {served_by}
    assert len(served.backend("mnist")) >= 2


def test_the_same_artifact_deployed_again_is_not_checked_again(served, models, images):
    served_by = served.backend("mnist")[0].partition("INFO ")[2]
    served.deploy("copy", models / "mnist")
    try:
        # Known before the first request, so that no answer differs in its last digit.
        assert [line.partition("INFO ")[2] for line in served.engine.status("copy").log_tail] == [served_by]
    finally:
        served.engine.undeploy("copy")


def test_a_model_is_served_before_its_fast_path_is_known(served, models, images, tmp_path):
    body = orjson.dumps({"instances": images[:3]}, option=orjson.OPT_SERIALIZE_NUMPY)
    unknown = tmp_path / "mnist"
    shutil.copytree(models / "mnist", unknown)
    (unknown / "0001" / "assets" / "another").touch()
    found_out = served.scratch / _digest(unknown / "0001")
    found_out.mkdir()
    with (found_out / "fast_path.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        served.deploy("early", unknown)
        try:
            by_tensorflow = served.predict("early", body)["predictions"]
            assert not served.engine.status("early").log_tail
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert "LiteRT serves" in served.backend("early")[0]
            by_litert = served.predict("early", body)["predictions"]
        finally:
            served.engine.undeploy("early")
    np.testing.assert_allclose(by_litert, by_tensorflow, rtol=1e-5, atol=1e-6)


def test_no_request_is_lost_when_the_only_replica_is_killed_under_load(served, images):
    body = orjson.dumps({"instances": images[:1]}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert served.backend("mnist")
    expected = served.post("mnist", body).body
    pid = served.engine.status("mnist").replicas[0].pid
    kill_at = 400

    async def worker(numbers):
        bodies = []
        for number in numbers:
            if number == kill_at:
                os.kill(pid, signal.SIGKILL)
            bodies.append((await served.engine.predict("mnist", body)).body)
        return bodies

    async def load():
        numbers = iter(range(1000))
        return await asyncio.gather(*(worker(numbers) for _ in range(16)))

    answered = asyncio.run_coroutine_threadsafe(load(), served.loop).result(120)
    assert [one for some in answered for one in some] == [expected] * 1000
    assert served.engine.status("mnist").replicas[0].pid != pid


def test_several_inputs_and_outputs(served):
    body = zoo("multi", [{"a": [1, 2], "b": 3}, {"a": [0.5, 0], "b": -1}])
    assert served.predict("zoo", body) == {
        "predictions": [{"total": 6.0, "twice": 6}, {"total": -0.5, "twice": -2}]
    }


def test_columnar_inputs_are_answered_with_outputs(served):
    body = {"signature_name": "multi", "inputs": {"a": [[1, 2]], "b": [3]}}
    assert served.predict("zoo", body) == {"outputs": {"total": [6.0], "twice": [6]}}


@pytest.mark.parametrize("field", ["signature_name", "inputs"])
def test_over_rest_a_field_that_a_predict_request_has_not_is_refused_as_over_grpc(served, field):
    body = {"instances": [[0.0] * 784], field: "serving_default"}
    reply = served.post("mnist", body, raw=False)
    words = f'Invalid JSON payload received. Unknown name "{field}": Cannot find field.'
    assert (reply.status, json.loads(reply.body)) == (422, {"error": words})


def test_text_and_bytes_pass_both_ways(served):
    raw = bytes(range(256))
    body = zoo("text", ["né", {"b64": base64.b64encode(b"ab").decode()}])
    assert served.predict("zoo", body)["predictions"] == [
        {"raw_bytes": {"b64": base64.b64encode("né".encode()).decode()}, "size": 3, "upper": "Né"},
        {"raw_bytes": {"b64": "YWI="}, "size": 2, "upper": "AB"},
    ]
    assert "_bytes" in served.refusal("zoo", zoo("text", [{"b64": base64.b64encode(raw).decode()}]))


@pytest.mark.parametrize("number", [0, 2**53, 2**63 - 2, -(2**63)])
def test_an_int64_stays_exact_on_its_way_through(served, number):
    assert served.predict("zoo", zoo("successor", [number])) == {"predictions": [number + 1]}


def test_answers_that_are_not_finite_have_names(served):
    reply = served.post("zoo", zoo("logarithm", [1, 0, -1]))
    assert reply.body == b'{"predictions":[0.0,-Infinity,NaN]}'


def test_a_model_that_counts_or_draws_answers_anew_each_time(served):
    first, second = (served.predict("zoo", zoo("counter", [0]))["predictions"][0] for _ in range(2))
    assert second == first + 1
    drawn = {served.predict("zoo", zoo("random", [0]))["predictions"][0] for _ in range(5)}
    assert len(drawn) == 5


def test_a_wrong_shape_is_refused_with_the_models_words(served):
    assert "(1, 3)" in served.refusal("zoo", {"instances": [[1, 2, 3]]})
    assert "(1, 2, 4)" in served.refusal("zoo", {"instances": [[[1, 2, 3, 4], [1, 2, 3, 4]]]})


def test_an_error_inside_the_model_is_refused_with_the_models_words(served):
    assert served.predict("zoo", zoo("lookup", [9])) == {"predictions": [[9.0, 9.0]]}
    assert "indices[0] = 10 is not in [0, 10)" in served.refusal("zoo", zoo("lookup", [10]))


def test_an_output_without_rows_is_refused_in_row_format_and_answered_in_columnar(served):
    assert "has no shape information" in served.refusal("zoo", zoo("scalar", [1, 2]))
    body = {"signature_name": "scalar", "inputs": [1, 2]}
    assert served.predict("zoo", body) == {"outputs": 3.0}


def test_any_size_goes_where_the_signature_leaves_it_open(served):
    assert served.predict("zoo", zoo("ragged_width", [[1, 2, 3]])) == {"predictions": [6.0]}
    assert served.predict("zoo", zoo("ragged_width", [[1]])) == {"predictions": [1.0]}


def test_refused_requests_leave_the_replica_as_it_was(served):
    (before,) = served.engine.status("zoo").replicas
    for body in (
        b"",
        b"{",
        b"[" * 100_000,
        b'{"instances":[[1e39,0,0,0]]}',
        b'{"instances":["\xff"]}',
        b"\x00",
    ):
        assert served.refusal("zoo", body)
    assert served.engine.status("zoo").replicas == (before,)
    assert len(served.predict("zoo", {"instances": [[1, 2, 3, 4]]})["predictions"][0]) == 3


def test_other_routes_are_refused(served):
    head = b"GET /v1/other HTTP/1.1\r\nHost: x\r\n\r\n"
    deployment = served.engine._deployments["zoo"].deployment
    work = deployment.request(head, b"", served.loop.time() + 10)
    reply = asyncio.run_coroutine_threadsafe(work, served.loop).result(20)
    assert reply.status == 404
    assert json.loads(reply.body) == {"error": "Malformed request: GET /v1/other"}


BACKENDS = {
    "serving_default": None,
    "multi": None,
    "successor": None,
    "logarithm": None,
    "text": "is of type string",
    "counter": "AssignAddVariableOp makes its answers depend on more than its inputs",
    "random": "RandomUniform makes its answers depend on more than its inputs",
    "ragged_width": "no fixed shape",
}


@pytest.fixture(scope="module")
def verdicts(models, tmp_path_factory):
    """What converting and checking finds of every signature of the zoo, all in one process."""
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from vertexkit.emulator.serving.model_server.fast_path import _convert_and_check\n"
        "from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend\n"
        "found, folder, scratch = {}, *map(Path, sys.argv[1:3])\n"
        "zoo = TensorFlowBackend(folder)\n"
        "for name in sys.argv[3:]:\n"
        "    found[name] = _convert_and_check(folder, scratch, zoo, zoo.signatures[name])\n"
        "print(json.dumps(found))\n"
    )
    scratch = tmp_path_factory.mktemp("scratch")
    command = [sys.executable, "-c", program, str(models / "zoo"), str(scratch), *BACKENDS, "lookup"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=240)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", BACKENDS)
def test_litert_is_used_for_what_it_does_as_tensorflow_and_nothing_else(verdicts, name):
    expected = BACKENDS[name]
    assert verdicts[name] is None if expected is None else expected in verdicts[name]


def test_a_model_without_a_signature_called_the_default_serves_its_first(served, models):
    served.deploy("first", models / "no_default")
    try:
        found = served.predict("first", {"instances": [{"a": [1, 2], "b": 3}]})
        assert found == {"predictions": [{"total": 6.0, "twice": 6}]}
        assert "LiteRT serves signature multi" in served.backend("first")[0]
    finally:
        served.engine.undeploy("first")


NOT_ALONE = """
import sys

class NotAlone:
    def find_spec(self, name, path=None, target=None):
        # The code of the package, which imports os as _os first, has not run: another may need it to have.
        if name == "tensorflow.python.client.session" and not hasattr(sys.modules["tensorflow"], "_os"):
            raise ImportError("cannot import name 'tf2' from partially initialized module 'tensorflow'")

sys.meta_path.insert(0, NotAlone())
"""


def test_a_tensorflow_whose_inner_modules_do_not_load_alone_is_loaded_whole(served, models, tmp_path, images):
    (tmp_path / "sitecustomize.py").write_text(NOT_ALONE)
    body = orjson.dumps({"instances": images[:3]}, option=orjson.OPT_SERIALIZE_NUMPY)
    served.deploy("whole", models / "mnist", PYTHONPATH=str(tmp_path))
    try:
        found = served.predict("whole", body)["predictions"]
        (warning,) = [
            line for line in served.engine.status("whole").log_tail if "All of it is loaded" in line
        ]
        assert "cannot import name 'tf2'" in warning
        assert served.engine.status("whole").replicas[0].restarts == 0
    finally:
        served.engine.undeploy("whole")
    np.testing.assert_allclose(found, np.load(models / "mnist_expected.npy")[:3], rtol=1e-4, atol=1e-6)


def test_a_broken_saved_model_fails_the_deploy_with_tensorflows_words(served, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"no protobuf")
    with pytest.raises(ServingFailed, match=r"exited unexpectedly with status 1.*Loading servable failed"):
        served.deploy("broken", tmp_path)
    with pytest.raises(KeyError):
        served.engine.status("broken")


def test_a_folder_without_a_model_fails_the_deploy(served, tmp_path):
    with pytest.raises(ServingFailed, match=r"Could not find SavedModel .*it holds: nothing"):
        served.deploy("empty", tmp_path)


def test_a_replica_ends_when_the_process_that_started_it_is_gone(models, tmp_path):
    command = [sys.executable, "-m", "vertexkit.emulator.serving.model_server"]
    command += ["--socket", str(tmp_path / "s"), "--scratch", str(tmp_path)]
    env = {**os.environ, **ROUTES, "AIP_STORAGE_URI": str(models / "zoo")}
    env["VERTEXKIT_SERVING_BACKEND"] = "tensorflow"
    replica = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "s").exists():
            assert replica.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # As when the other process is killed: all it held is closed, and nothing else is said.
        replica.stdin.close()
        replica.wait(20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(replica.pid, signal.SIGKILL)
        replica.wait()
