"""Which replica answers, and what happens when it does not."""

import asyncio
from collections import Counter

import pytest

from vertexkit.emulator.serving.connections import ConnectionLost
from vertexkit.emulator.serving.deployment import Deployment
from vertexkit.emulator.serving.types import NoReplica, RequestTimeout, ServingFailed, ServingReply


class FakeReplica:
    """A replica that answers with its number, or as ``behaviour`` says."""

    def __init__(self, index, changed, behaviour=None):
        self.index, self.changed = index, changed
        self.behaviour = behaviour
        self.routable, self.in_flight, self.stopped = False, 0, False
        self.seconds = 0.0

    async def start(self, deadline):
        if self.behaviour == "fails":
            raise ServingFailed("no")
        self.routable = True

    async def request(self, head, body):
        self.in_flight += 1
        try:
            await asyncio.sleep(self.seconds)
            if isinstance(self.behaviour, Exception):
                raise self.behaviour
            return ServingReply(200, {}, str(self.index).encode())
        finally:
            self.in_flight -= 1

    async def stop(self):
        self.stopped, self.routable = True, False

    def log_tail(self):
        return ()


def run(use, replicas=2, behaviours=()):
    made = []

    def make(index, changed):
        made.append(FakeReplica(index, changed, dict(enumerate(behaviours)).get(index)))
        return made[-1]

    async def main():
        deployment = Deployment("k", make)
        await deployment.resize(replicas, asyncio.get_running_loop().time() + 5)
        return await use(deployment, made)

    return asyncio.run(asyncio.wait_for(main(), 20))


async def ask(deployment, seconds=5.0):
    reply = await deployment.request(b"", b"", asyncio.get_running_loop().time() + seconds)
    return int(reply.body)


def test_idle_replicas_take_turns():
    async def use(deployment, _):
        return Counter([await ask(deployment) for _ in range(30)])

    assert run(use, replicas=3) == {0: 10, 1: 10, 2: 10}


def test_a_slow_replica_gets_fewer_requests():
    async def use(deployment, made):
        made[0].seconds = 0.2
        slow = asyncio.ensure_future(ask(deployment))
        await asyncio.sleep(0)
        quick = [await ask(deployment) for _ in range(10)]
        return Counter(quick), await slow

    assert run(use) == ({1: 10}, 0)


def test_a_replica_that_is_not_routable_gets_no_request():
    async def use(deployment, made):
        made[1].routable = False
        return {await ask(deployment) for _ in range(5)}

    assert run(use) == {0}


def test_a_request_whose_replica_dies_is_answered_by_another():
    async def use(deployment, made):
        made[0].behaviour = ConnectionLost("died", sent=True)
        return {await ask(deployment) for _ in range(4)}

    assert run(use) == {1}


def test_a_request_waits_for_a_replica_to_come_back():
    async def use(deployment, made):
        made[0].routable = False

        async def come_back():
            await asyncio.sleep(0.05)
            made[0].routable = True
            made[0].changed()

        back = asyncio.ensure_future(come_back())
        answer = await ask(deployment)
        await back
        return answer

    assert run(use, replicas=1) == 0


def test_without_a_replica_the_request_ends_at_its_deadline():
    async def use(deployment, made):
        made[0].routable = False
        with pytest.raises(NoReplica, match="before the deadline"):
            await ask(deployment, seconds=0.05)

    run(use, replicas=1)


def test_a_replica_that_does_not_answer_is_a_timeout():
    async def use(deployment, made):
        made[0].seconds = 60
        with pytest.raises(RequestTimeout):
            await ask(deployment, seconds=0.05)

    run(use, replicas=1)


def test_a_request_that_kills_every_replica_is_given_up():
    async def use(deployment, made):
        made[0].behaviour = made[1].behaviour = ConnectionLost("died of it", sent=True)
        with pytest.raises(NoReplica, match=r"sent to 3 replicas.*died of it"):
            await ask(deployment)

    run(use)


def test_a_replica_that_takes_no_connection_does_not_count_as_killed():
    async def use(deployment, made):
        made[0].behaviour = ConnectionLost("refused", sent=False)

        async def recover():
            await asyncio.sleep(0.1)
            made[0].behaviour = None

        recovering = asyncio.ensure_future(recover())
        answer = await ask(deployment)
        await recovering
        return answer

    assert run(use, replicas=1) == 0


def test_when_one_replica_does_not_start_none_is_left():
    made = []

    def make(index, changed):
        made.append(FakeReplica(index, changed, "fails" if index == 1 else None))
        return made[-1]

    async def main():
        deployment = Deployment("k", make)
        with pytest.raises(ServingFailed, match="no"):
            await deployment.resize(3, asyncio.get_running_loop().time() + 5)

    asyncio.run(main())
    assert len(made) == 3
    assert all(replica.stopped for replica in made)


def test_a_smaller_deployment_lets_its_replicas_finish_first():
    async def use(deployment, made):
        made[0].seconds = made[1].seconds = 0.05
        asking = [asyncio.ensure_future(ask(deployment)) for _ in range(2)]
        await asyncio.sleep(0)
        await deployment.resize(1, asyncio.get_running_loop().time() + 5)
        return (
            sorted(await asyncio.gather(*asking)),
            [replica.stopped for replica in made],
            await ask(deployment),
        )

    assert run(use) == ([0, 1], [False, True], 0)


def test_stopping_waits_for_the_requests_in_flight():
    async def use(deployment, made):
        made[0].seconds = 0.05
        asking = asyncio.ensure_future(ask(deployment))
        await asyncio.sleep(0)
        await deployment.stop(drain=5)
        return asking.done(), await asking, made[0].stopped

    assert run(use, replicas=1) == (True, 0, True)
