"""Replicas that die, hang, or never live, under requests."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from waiting import until

from vertexkit.emulator.serving import (
    DeploymentSpec,
    HealthPolicy,
    NoReplica,
    RequestTimeout,
    ServingEngine,
    ServingFailed,
)

STUB_SERVER = [sys.executable, str(Path(__file__).with_name("stub_model_server.py"))]
HEALTH = HealthPolicy(interval=0.1, timeout=0.3, failures=2, grace=2, backoff=(0.0, 0.05, 0.1))


class Engine:
    """A serving engine with its event loop in a thread, for tests that are synchronous."""

    def __init__(self, folder, health=HEALTH):
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.engine = ServingEngine(folder, self.loop, health=health, model_server=STUB_SERVER)

    def deploy(
        self, key="k", *, replicas=1, timeout=20, cancelled=None, routes=("/health", "/predict"), **stub
    ):
        env = {"AIP_HEALTH_ROUTE": routes[0], "AIP_PREDICT_ROUTE": routes[1], "STUB": json.dumps(stub)}
        spec = DeploymentSpec(key, self.folder, env, replicas)
        self.engine.deploy(spec, timeout=timeout, cancelled=cancelled)

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def ask(self, key="k", body=b"{}", timeout=20):
        reply = self.run(self.engine.predict(key, body, timeout=timeout))
        assert reply.status == 200
        return json.loads(reply.body)["predictions"][0]

    def ask_many(self, count, at_once, key="k", timeout=30):
        """The process ids that answered ``count`` requests, or as many as there are numbers in it."""

        async def worker(numbers):
            return [
                json.loads((await self.engine.predict(key, b"{}", timeout=timeout)).body) for _ in numbers
            ]

        async def main():
            numbers = iter(range(count) if isinstance(count, int) else count)
            return await asyncio.gather(*(worker(numbers) for _ in range(at_once)))

        return [one["predictions"][0] for some in self.run(main()) for one in some]

    def pids(self, key="k"):
        return [replica.pid for replica in self.engine.status(key).replicas]

    def close(self):
        self.engine.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def engine(tmp_path):
    one = Engine(tmp_path / "work")
    try:
        yield one
    finally:
        one.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def left_behind(engine):
    """What there is of deployments; what is known about artifacts is kept until the engine ends."""
    return sorted(path.name for path in engine.folder.iterdir() if path.name != "scratch")


def test_no_request_is_lost_when_replicas_are_killed_under_load(engine):
    engine.deploy(replicas=2, delay=0.005)
    stop = threading.Event()
    killed = []

    def kill():
        while not stop.wait(0.3):
            pid = engine.pids()[len(killed) % 2]
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        answered = engine.ask_many(3000, at_once=16)
    finally:
        stop.set()
        killer.join()
    assert len(answered) == 3000
    assert len(killed) >= 3
    assert set(killed) & set(answered), "the replicas that were killed had been answering"


def test_requests_wait_for_the_only_replica_to_be_started_again(engine):
    engine.deploy()
    first = engine.ask()
    os.kill(first, signal.SIGKILL)
    assert engine.ask() != first
    assert engine.engine.status("k").replicas[0].restarts == 1


def test_a_request_in_flight_when_its_replica_dies_is_asked_again(engine):
    engine.deploy(delay=0.5)
    victim = engine.pids()[0]
    threading.Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
    assert engine.ask() != victim


def test_a_replica_that_dies_over_and_over_is_started_again_each_time(engine):
    engine.deploy()
    for restarts in range(1, 5):
        os.kill(engine.ask(), signal.SIGKILL)
        until(lambda n=restarts: engine.engine.status("k").replicas[0].restarts == n)
    assert engine.ask()


def test_a_stopped_replica_gets_no_more_requests_and_those_it_had_are_answered_by_others(engine):
    engine.deploy(replicas=2)
    stopped, other = engine.pids()
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert set(engine.ask_many(20, at_once=4)) == {other}
        until(lambda: not engine.engine.status("k").replicas[0].routable)
        assert Counter(engine.ask_many(20, at_once=4)) == {other: 20}
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(lambda: engine.engine.status("k").replicas[0].routable)
    assert set(engine.ask_many(20, at_once=4)) == {stopped, other}


def test_a_stopped_replica_can_be_undeployed(engine):
    engine.deploy()
    (pid,) = engine.pids()
    os.kill(pid, signal.SIGSTOP)
    engine.engine.undeploy("k")
    assert not alive(pid)
    assert left_behind(engine) == []


def test_a_request_has_a_deadline_when_the_only_replica_is_stopped(engine):
    engine.deploy()
    (pid,) = engine.pids()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises((RequestTimeout, NoReplica)):
        engine.ask(timeout=0.2)
    os.kill(pid, signal.SIGCONT)
    assert engine.ask() == pid


def test_a_request_has_a_deadline_when_the_model_is_slow_and_the_replica_goes_on(engine):
    engine.deploy()
    with pytest.raises(RequestTimeout):
        engine.ask(body=b'{"do": "slow"}', timeout=0.3)
    assert engine.ask() == engine.pids()[0]


@pytest.mark.parametrize("do", ["die", "half", "garbage"])
def test_a_request_that_no_replica_survives_is_refused_and_others_are_answered(engine, do):
    engine.deploy(replicas=2)
    with pytest.raises(NoReplica, match="3 replicas"):
        engine.ask(body=json.dumps({"do": do}).encode())
    assert len(engine.ask_many(10, at_once=2)) == 10


def test_a_model_server_that_dies_at_its_start_fails_the_deploy_with_its_own_words(engine):
    with pytest.raises(
        ServingFailed, match=r"exited unexpectedly with status 3\. No such operation: Foo"
    ) as failed:
        engine.deploy(die="No such operation: Foo")
    assert failed.value.log_tail == ("stub starts", "No such operation: Foo")
    assert left_behind(engine) == []
    with pytest.raises(KeyError):
        engine.engine.status("k")


@pytest.mark.parametrize("fault", ["never_listen", "unhealthy"])
def test_a_model_server_that_never_gets_ready_fails_the_deploy_at_its_deadline(engine, fault):
    started = set()

    def deploy():
        with pytest.raises(ServingFailed, match="Model server never became ready"):
            engine.deploy(timeout=1, **{fault: True})

    deploying = threading.Thread(target=deploy)
    deploying.start()
    while deploying.is_alive():
        with contextlib.suppress(KeyError):
            started.update(pid for pid in engine.pids() if pid is not None)
        time.sleep(0.01)
    deploying.join()
    assert len(started) == 1
    assert not any(map(alive, started))
    assert left_behind(engine) == []


def test_a_deploy_can_be_cancelled(engine):
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(ServingFailed, match="cancelled"):
        engine.deploy(never_listen=True, cancelled=cancelled, timeout=60)
    assert left_behind(engine) == []


def test_a_deploy_ends_when_its_key_is_undeployed_meanwhile(engine):
    threading.Timer(0.3, engine.engine.undeploy, ("k",)).start()
    with pytest.raises(ServingFailed, match="undeployed while it started"):
        engine.deploy(never_listen=True, timeout=60)
    assert left_behind(engine) == []


def test_undeploying_answers_what_is_in_flight_first(engine):
    engine.deploy(delay=0.5)
    (pid,) = engine.pids()
    asking = asyncio.run_coroutine_threadsafe(engine.engine.predict("k", b"{}"), engine.loop)
    until(lambda: engine.engine.status("k").replicas[0].in_flight == 1)
    engine.engine.undeploy("k")
    assert json.loads(asking.result(5).body) == {"predictions": [pid]}
    assert not alive(pid)
    with pytest.raises(NoReplica, match="k is not deployed"):
        engine.ask()


def test_undeploying_what_is_not_deployed_is_no_error(engine):
    engine.engine.undeploy("k")


def test_a_key_that_is_taken_is_refused_and_what_runs_goes_on(engine):
    engine.deploy()
    with pytest.raises(ServingFailed, match="deployed already"):
        engine.deploy()
    assert engine.ask() == engine.pids()[0]


def test_a_deployment_grows_and_shrinks_under_load(engine):
    engine.deploy(delay=0.002)
    stop, asked, answered = threading.Event(), itertools.count(), []
    until_stopped = itertools.takewhile(lambda _: not stop.is_set(), asked)
    load = threading.Thread(target=lambda: answered.extend(engine.ask_many(until_stopped, at_once=8)))
    load.start()
    try:
        engine.engine.resize("k", 3)
        pids = engine.pids()
        until(lambda: all(replica.in_flight for replica in engine.engine.status("k").replicas))
        engine.engine.resize("k", 1)
    finally:
        stop.set()
        load.join()
    assert len(engine.pids()) == 1
    assert set(answered) == set(pids)
    assert len(pids) == 3
    # The last number was only drawn to find out that it is over.
    assert len(answered) == next(asked) - 1


def test_closing_the_engine_leaves_no_process(tmp_path):
    one = Engine(tmp_path / "work")
    one.deploy("a", replicas=2)
    one.deploy("b")
    pids = one.pids("a") + one.pids("b")
    one.close()
    assert len(pids) == 3
    assert not any(map(alive, pids))
    assert list(one.folder.iterdir()) == []


def test_a_work_folder_too_deep_for_a_sockets_address_will_do(tmp_path):
    one = Engine(tmp_path / ("deep" * 30))
    try:
        one.deploy()
        assert one.ask() == one.pids()[0]
        assert left_behind(one) != []
    finally:
        one.close()


def test_calling_the_engine_from_its_own_loop_is_refused_rather_than_a_deadlock(engine):
    async def call():
        engine.engine.undeploy("k")

    with pytest.raises(RuntimeError, match="another thread"):
        engine.run(call())


@pytest.mark.parametrize("route", ["predict", "/predict HTTP/1.1", "/a\r\nX-Other: 1", "/é", ""])
def test_a_route_that_is_no_path_is_refused_before_anything_starts(engine, route):
    for routes in (("/health", route), (route, "/predict")):
        with pytest.raises(ServingFailed, match="is not the path of a URL"):
            engine.deploy(routes=routes)
    assert left_behind(engine) == []
