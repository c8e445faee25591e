"""Polls that are held without a task, as raw sockets make and leave them: nobody's answer, nothing left, no crash."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from gateway.server import patience
from gateway.server.protocols import HttpProtocol
from gateway.server.visits import DeskVisit
from gateway.transports.origins import Origins
from gateway.triggerdev.shape import desk as shape_desk
from gateway.triggerdev.shape import poll
from tests.hardening.conftest import ORIGINS
from tests.hardening.gateways import running_gateway
from tests.hardening.peers import HttpPeer, eventually, request
from tests.shape_desk import shape_desk as clerk_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.triggerdev.shape.desk import ShapeDesk
    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import Answer
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN: Final = "run_1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(_servers: dict[str, RedisServer]) -> AsyncIterator[Gateway]:
    """A client that takes nothing goes soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "STUCK_SECONDS", 0.3)
        options = {"origins": Origins.parse(ORIGINS), "connections_per_token": 500}
        async with running_gateway(_servers["valkey"], "test_desk", **options) as gateway:
            gateway.publish(RUN, tags=["mine"])
            yield gateway


def clerk(gateway: Gateway) -> ShapeDesk:
    return clerk_of(gateway.services)


class Client:
    """One who polls, spelling its requests as the official clients do."""

    def __init__(self, gateway: Gateway, peer: HttpPeer, credential: str, handle: str, offset: str) -> None:
        self.gateway = gateway
        self.peer = peer
        self.credential = credential
        self.handle = handle
        self.offset = offset

    @property
    def target(self) -> str:
        words = f"cursor=&handle={self.handle}&live=true&log=full&offset={self.offset}&tags=mine"
        return f"/realtime/v1/runs?{words}"

    def ask(self, *headers: str, **options: str) -> bytes:
        return request(self.target, self.credential, *headers, **options)

    async def told(self) -> Answer:
        """The next answer, after which it stands where that says."""
        answer = await self.peer.answer()
        if answer.status == 200:
            self.handle, self.offset = answer.headers["electric-handle"], answer.headers["electric-offset"]
        return answer

    async def again(self, peer: HttpPeer | None = None) -> Client:
        """The same, by another connection."""
        found = await self.gateway.http() if peer is None else peer
        return Client(self.gateway, found, self.credential, self.handle, self.offset)


def tick(gateway: Gateway) -> None:
    gateway.publish(RUN, tags=["mine"], columns={"number": next(gateway._attempts)})


def held(gateway: Gateway) -> int:
    return len(clerk(gateway)._held)


def viewers(gateway: Gateway) -> int:
    return gateway.services.counters.viewers["shape"]


async def known(gateway: Gateway) -> Client:
    """A client that the desk takes from now on."""
    tick(gateway)
    token, peer = gateway.token(), await gateway.http()
    credential = f"Authorization: Bearer {token}"
    peer.send(request("/realtime/v1/runs?log=full&offset=-1&tags=mine", credential))
    client = Client(gateway, peer, credential, "", "")
    assert (await client.told()).status == 200
    before, at_desk = (viewers(gateway), held(gateway)), False
    while not at_desk:  # the endpoint, too, may know of a change before the log does that the desk looks at
        peer.send(client.ask())
        await eventually(lambda: viewers(gateway) == before[0] + 1, what="it is held")
        at_desk = held(gateway) > before[1]
        tick(gateway)
        assert (await client.told()).status == 200
    return client


#: What is said, and how it is answered; 0: held, and but for one not at the desk.
UNUSUAL: Final[dict[str, tuple[Callable[[Client], bytes], int]]] = {
    "body": (lambda one: one.ask("Content-Length: 5") + b"hello", 0),
    "large body": (lambda one: one.ask("Content-Length: 900000") + bytes(900_000), 0),
    "unfinished body": (lambda one: one.ask("Content-Length: 5") + b"he", 0),
    "chunks": (lambda one: one.ask("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n", 0),
    "close": (lambda one: one.ask("Connection: close"), 0),
    "upgrade": (lambda one: one.ask("Connection: upgrade", "Upgrade: h2c"), 0),
    "old": (lambda one: one.ask(version="1.0"), 0),
    "absolute": (lambda one: one.ask().replace(b"GET /", b"GET http://localhost/"), 0),
    "expects": (lambda one: one.ask("Expect: 100-continue"), 100),
    "fragment": (lambda one: one.ask().replace(b"&handle", b"&expired_handle=a#b&handle"), 400),
    "HEAD": (lambda one: one.ask(method="HEAD"), 405),
    "empty origin": (lambda one: one.ask("Origin: "), 403),
    "two origins": (lambda one: one.ask("Origin: ", "Origin: https://app.example.com"), 403),
    "another origin": (lambda one: one.ask("Origin: https://evil.example"), 403),
    "two credentials": (lambda one: one.ask(one.credential), 401),
    "an empty credential": (lambda one: one.ask().replace(b"Authorization", b"Authorization: \r\nAuthorization"), 401),
    "a space": (lambda one: one.ask().replace(b"Authorization:", b"Authorization :"), 400),
    "two lengths": (lambda one: one.ask("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "unknown coding": (lambda one: one.ask("Transfer-Encoding: xchunked") + b"0\r\n\r\n", 501),
}


async def test_whatever_is_unusual_about_a_request_the_endpoint_says_what_becomes_of_it(gateway: Gateway) -> None:
    """Also when the same client has come a moment ago, and was taken at the desk."""
    client = await known(gateway)
    waiting, expected = [], [name for name, (_, status) in UNUSUAL.items() if status in (0, 100)]

    for name, (spelled, status) in UNUSUAL.items():
        one = await client.again()
        one.peer.send(spelled(one))
        if status:
            assert (await one.peer.head())[0] == status, name
        if name in expected:
            waiting.append(one)
    await eventually(lambda: viewers(gateway) == len(expected), what="the others are held")
    assert held(gateway) == 1  # the wish for another protocol is ignored, and so is nothing unusual

    tick(gateway)
    assert [(await one.peer.head())[0] for one in waiting] == [200] * len(expected)


async def test_what_comes_behind_a_held_poll_waits_and_is_answered_in_order(gateway: Gateway) -> None:
    """At the desk as elsewhere; the second poll asks for what the first one is told."""
    client = await known(gateway)
    one = await client.again()
    one.peer.send(one.ask() + request("/livez") + one.ask() + request("/nowhere"))
    await eventually(lambda: held(gateway) == 1, what="the first is held")

    tick(gateway)

    answers = [await one.peer.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 404]
    assert answers[0].body == answers[2].body


async def test_polls_that_end_in_any_way_give_everything_back(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """News, silence, resets, half closed sockets and requests behind each other, all mixed: no count is off by one."""
    clients = [await known(gateway) for _ in range(3)]
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.05)
    chance, least = random.Random(1), 0

    async def visit() -> None:
        nonlocal least
        one = await chance.choice(clients).again(await HttpPeer.connect(gateway.port, bytearray()))
        try:
            for _ in range(chance.randint(1, 4)):
                one.peer.send(one.ask() * chance.choice((1, 1, 1, 3)))
                way = chance.random()
                await asyncio.sleep(chance.random() * 0.02)
                if way < 0.2:
                    one.peer.reset()
                    return
                if way < 0.3:
                    one.peer.half_close()
                    return
                await one.told()
                least = min(least, viewers(gateway), *gateway.services.quotas._of_tokens.values(), 0)
        finally:
            await one.peer.close()

    async def visits() -> None:
        for _ in range(40):
            await visit()

    async with asyncio.TaskGroup() as tasks:
        visiting = [tasks.create_task(visits()) for _ in range(25)]
        while not all(task.done() for task in visiting):
            tick(gateway)
            await asyncio.sleep(0.03)

    services = gateway.services
    await eventually(lambda: not services.quotas._connections, what="all places are free")
    assert least == 0
    assert services.quotas._of_tokens == {}
    assert (viewers(gateway), held(gateway)) == (0, 0)
    assert not services.lifecycle.waiting
    assert not services.expirations.viewers()
    assert all(not shape._waiting for shape in clerk(gateway)._shapes._shapes.values())


async def test_many_polls_leave_no_objects(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held and answered, thousands of them: as many objects as before, without a look of the garbage collector."""
    client = await known(gateway)
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.001)

    async def polls(count: int) -> int:
        for _ in range(count):
            client.peer.send(client.ask() * 50)
            for _ in range(50):
                await client.peer.answer()
            client.gateway.heard.clear()
        return sum(Counter(type(found).__name__ for found in gc.get_objects()).values())

    gc.disable()
    try:
        before = await polls(4)
        after = await polls(20)
    finally:
        gc.enable()
    assert after - before < 500


@contextmanager
def garbage() -> Iterator[Counter[type]]:
    """Counts what is left, meanwhile, for the garbage collector to find; by its end."""
    found: Counter[type] = Counter()
    gc.disable()
    try:
        gc.collect()
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(each) for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_answered_polls_do_not_hold_each_other(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they wait for the garbage collector, and then all viewers wait for it."""
    client = await known(gateway)
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.001)

    async def polls(count: int) -> None:
        for _ in range(count):
            client.peer.send(client.ask())
            await client.peer.answer()
        client.gateway.heard.clear()

    await polls(20)
    with garbage() as found:
        await polls(300)
    assert found[DeskVisit] + found[shape_desk._HeldVisit] < 10


async def test_closed_connections_leave_nothing_to_the_garbage_collector(gateway: Gateway) -> None:
    """Neither those whose last request was answered at the desk, nor those whose last one the app answered."""
    client = await known(gateway)
    requests = {"desk": client.ask(), "app": request("/v1/runs/" + RUN, client.credential)}
    connections = gateway.server.server_state.connections
    before = len(connections)
    with garbage() as found:
        for sent in requests.values():
            for _ in range(20):
                peer = await gateway.http()
                peer.send(sent)
                tick(gateway)  # else it would be held
                assert (await peer.answer()).status == 200
                await peer.close()
        await eventually(lambda: len(connections) == before, what="all are closed")
    assert found[HttpProtocol] + found[DeskVisit] < 5


async def test_a_token_holds_as_many_as_it_may_and_each_refusal_counts_once(gateway: Gateway) -> None:
    """At the desk and behind it together."""
    services, most = gateway.services, 500
    client = await known(gateway)
    name = services.admission.admit(client.credential.partition("Bearer ")[2]).token
    for _ in range(most - 1):
        services.quotas.connect(gateway.environment, name)
    before = services.counters.limits_hit["connections_per_token", gateway.environment]
    first, second = await client.again(), await client.again()
    first.peer.send(first.ask())
    await eventually(lambda: held(gateway) == 1, what="it has the last place")

    second.peer.send(second.ask())
    assert (await second.told()).status == 429
    assert services.counters.limits_hit["connections_per_token", gateway.environment] == before + 1

    tick(gateway)
    assert (await first.told()).status == 200
    assert services.quotas._of_tokens[name] == most - 1
    for _ in range(most - 1):
        services.quotas.disconnect(gateway.environment, name)


async def test_long_requests_leave_no_pass(gateway: Gateway) -> None:
    """What a client can make as long as it likes is not kept in memory for each of its requests."""
    client = await known(gateway)
    before = set(clerk(gateway)._passes)
    junk = "x" * 30_000
    for number in range(5):
        one = await client.again()
        one.peer.send(one.ask().replace(b"&tags", f"&skipColumns={number}{junk}&tags".encode()))
        await eventually(lambda number=number: viewers(gateway) == number + 1, what="it is held")  # type: ignore[misc]

    assert set(clerk(gateway)._passes) == before


async def test_one_that_can_t_be_answered_holds_no_others(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever mistake of ours that is: all others are told in the same moment."""
    client = await known(gateway)
    client.peer.send(client.ask())  # so that the shape does not go while the others connect
    waiting = [await client.again() for _ in range(299)]
    for one in waiting:
        one.peer.send(one.ask())
    await eventually(lambda: held(gateway) == 300, what="all are held")
    right = shape_desk.ShapeDesk._look_at
    failed: list[Any] = []

    def once_wrong(self: Any, one: Any) -> None:
        if not failed:
            failed.append(one)
            raise RuntimeError("a mistake")
        right(self, one)

    monkeypatch.setattr(shape_desk.ShapeDesk, "_look_at", once_wrong)
    tick(gateway)
    await eventually(lambda: held(gateway) == 1, what="all but one are told")
    gateway.logbook.alarms.clear()
    assert len(failed) == 1


@pytest.mark.parametrize("kind", ["polls", "events"])
async def test_a_client_that_takes_nothing_is_let_go(
    gateway: Gateway, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its answers pile up here, nor is its place or its task kept."""
    client = await known(gateway)
    peer = await gateway.http(receive_buffer=4096)
    one = await client.again(peer)
    peer.pause_reading()
    connections = gateway.server.server_state.connections
    for _ in range(30):
        if kind == "polls":
            peer.send(one.ask())
        gateway.publish(RUN, tags=["mine"], columns={"payload": random.Random().randbytes(50_000).hex()})
    if kind == "events":
        peer.send(one.ask().replace(b"&log=full", b"&live_sse=true&log=full"))
    worst = 0

    async def watch() -> None:
        nonlocal worst
        while True:
            worst = max([worst, *(found.transport.get_write_buffer_size() for found in [*connections])])
            if kind == "events":
                gateway.publish(RUN, tags=["mine"], columns={"payload": random.Random().randbytes(50_000).hex()})
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    try:
        await client.peer.close()
        await eventually(lambda: not connections, what="it is let go")
    finally:
        watching.cancel()
    await eventually(lambda: viewers(gateway) == 0, what="its place is free")
    assert 0 < worst < 8 * 1024 * 1024


async def test_who_can_t_be_answered_now_is_told_so_after_a_moment(gateway: Gateway) -> None:
    """Some clients come again a tenth of a second later, all of them together; the desk lets nobody past that."""
    client = await known(gateway)
    watched: Any = gateway.services.revocations
    watched._watched[gateway.environment].known.clear()
    began = asyncio.get_running_loop().time()
    try:
        client.peer.send(client.ask())
        answer = await client.told()
    finally:
        watched._watched[gateway.environment].known.set()

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert asyncio.get_running_loop().time() - began > 0.9
