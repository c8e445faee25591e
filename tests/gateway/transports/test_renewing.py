"""Renewal from the side, between processes that share nothing but Redis."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from auth import EnvironmentKeys, Grant, Keyring, mint
from gateway.errors import GatewayError, NoSuchConnection, TokenInvalid, TokenRevoked, TokenUsed, Unavailable
from gateway.feeds import EnvironmentId
from gateway.transports import renewing
from gateway.transports.admission import Admission, Admitted
from gateway.transports.origins import Origins
from gateway.transports.renewing import Renewals

if TYPE_CHECKING:
    from gateway.feed.hub import ControlListener

KEYS = EnvironmentKeys.of("env_1", "tr_test_the_secret_of_the_first_one_0001")
OTHERS = EnvironmentKeys.of("env_2", "tr_test_the_secret_of_the_second_one_0002")


class Bus:
    """Redis: what is published goes to whoever listens, later; and is remembered."""

    def __init__(self) -> None:
        self.listeners: dict[str, ControlListener] = {}
        self.said: list[bytes] = []
        self.away = False
        self.deaf = False

    def listen(self, channel: str, listener: ControlListener) -> None:
        self.listeners[channel] = listener

    async def publish(self, channel: str, payload: bytes) -> int:
        if self.away:
            raise Unavailable
        self.said.append(payload)
        listener = self.listeners.get(channel)
        if listener is None:
            return 0
        if not self.deaf:
            asyncio.get_running_loop().call_soon(listener.heard, payload)
        return 1


class Process:
    """One gateway process."""

    def __init__(self, bus: Bus, keyring: Keyring | None = None) -> None:
        self.admission = Admission(keyring or Keyring([KEYS]), Origins(), cast("Any", None))
        self.renewals = Renewals(cast("Any", bus), bus, self.admission)

    def admit(self, **options: Any) -> tuple[str, Admitted]:
        scopes = options.pop("scopes", ["read:runs:run_1", "read:tags:a:b"])
        token = mint(scopes, KEYS, **options)
        return token, self.admission.admit(token)


class Open:
    """A connection that takes a token, or refuses it."""

    def __init__(self, refusal: GatewayError | None = None) -> None:
        self.taken: list[Admitted] = []
        self._refusal = refusal

    async def renew(self, admitted: Admitted) -> None:
        if self._refusal is not None:
            raise self._refusal
        self.taken.append(admitted)


def opened(process: Process, connection: Any) -> str:
    return process.renewals.public_id(process.renewals.add(connection))


async def test_a_connection_is_renewed_wherever_the_request_lands() -> None:
    """Its own process, or another: it is given exactly what was verified."""
    bus = Bus()
    here, there = Process(bus), Process(bus)
    connection = Open()
    name = opened(here, connection)
    for process in (here, there):
        _, admitted = process.admit(subject="s", jti="j", skip_columns=["payload", "output"], one_time=True)
        await process.renewals.renew(name, admitted)
        assert connection.taken[-1] == admitted
        assert connection.taken[-1].secret == KEYS.current.secret
    _, plain = there.admit(scopes=None)
    await there.renewals.renew(name, plain)
    assert connection.taken[-1] == plain
    owner = there.admission.admit(KEYS.current.secret)
    await there.renewals.renew(name, owner)
    assert connection.taken[-1] == owner
    assert connection.taken[-1].is_secret_key


async def test_neither_a_token_nor_a_key_travels() -> None:
    """What it allows does, which opens nothing."""
    bus = Bus()
    here, there = Process(bus), Process(bus)
    name = opened(here, Open())
    token, admitted = there.admit()
    await there.renewals.renew(name, admitted)
    said = b"".join(bus.said).decode()
    assert "read:runs:run_1" in said
    for secret in (token, token.rpartition(".")[2], KEYS.current.secret):
        assert secret not in said


@pytest.mark.parametrize(
    "refusal",
    [
        TokenInvalid("another environment"),
        TokenUsed(),
        TokenRevoked(),
        NoSuchConnection(),
        Unavailable("away"),
    ],
    ids=lambda error: error.code,
)
async def test_a_refusal_travels_back(refusal: GatewayError) -> None:
    """With its code and its words, from another process as from this one."""
    bus = Bus()
    here, there = Process(bus), Process(bus)
    name = opened(here, Open(refusal))
    for process in (here, there):
        with pytest.raises(type(refusal)) as refused:
            await process.renewals.renew(name, process.admit()[1])
        assert str(refused.value) == str(refusal)


async def test_a_connection_that_has_ended_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and elsewhere; and so is what is no id at all, or a process that nobody hears of any more."""
    monkeypatch.setattr(renewing, "ANSWER_SECONDS", 0.05)
    bus = Bus()
    here, there = Process(bus), Process(bus)
    name = here.renewals.add(Open())
    here.renewals.remove(name)
    gone = here.renewals.public_id(name)
    nobody = f"{'A' * 12}.{'b' * 22}"
    for process in (here, there):
        for connection in (gone, nobody, "", ".", "x.y", f"{gone}x", "runcast:process:x"):
            with pytest.raises(NoSuchConnection):
                await process.renewals.renew(connection, process.admit()[1])
    here.renewals.remove("never was")


async def test_who_gets_no_answer_may_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs, or a Redis that is away."""
    monkeypatch.setattr(renewing, "ANSWER_SECONDS", 0.05)
    bus = Bus()
    here, there = Process(bus), Process(bus)
    name = opened(here, Open())
    bus.deaf = True
    with pytest.raises(Unavailable, match="did not answer"):
        await there.renewals.renew(name, there.admit()[1])
    bus.deaf, bus.away = False, True
    with pytest.raises(Unavailable):
        await there.renewals.renew(name, there.admit()[1])
    await here.renewals.renew(name, here.admit()[1])


async def test_a_key_that_the_other_process_does_not_know_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not end the connection when that key is taken away."""
    monkeypatch.setattr(renewing, "ANSWER_SECONDS", 0.05)
    bus = Bus()
    here, there = Process(bus, Keyring([OTHERS])), Process(bus)
    connection = Open()
    with pytest.raises(Unavailable):
        await there.renewals.renew(opened(here, connection), there.admit()[1])
    assert connection.taken == []


class Broken:
    async def renew(self, admitted: Admitted) -> None:
        raise RuntimeError("a mistake of ours")


async def test_a_mistake_of_ours_is_told_as_such_and_stays_there() -> None:
    """Whoever asked may try again; nothing of it is shown."""
    bus = Bus()
    here, there = Process(bus), Process(bus)
    with pytest.raises(Unavailable) as refused:
        await there.renewals.renew(opened(here, Broken()), there.admit()[1])
    assert "mistake" not in str(refused.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"nonsense",
        b"{}",
        b"[]",
        b"7",
        b'{"answers":1}',
        b'{"answers":[]}',
        b'{"number":1,"from":"x","connection":"y","admitted":{},"key":""}',
        b'{"number":1,"from":"x","connection":"y","admitted":null,"key":""}',
        json.dumps(
            {
                "number": 1,
                "from": "x",
                "connection": "y",
                "key": "00000000",
                "admitted": {
                    "environment": "env_1",
                    "scopes": ["admin"],
                    "skipped": None,
                    "ends": None,
                    "hidden": None,
                    "marks": None,
                    "oneTime": False,
                },
            }
        ).encode(),
    ],
)
async def test_nonsense_on_the_channel_is_passed_over(payload: bytes) -> None:
    """It changes nothing, and what comes next is worked on."""
    bus = Bus()
    here, there = Process(bus), Process(bus)
    connection = Open()
    name = opened(here, connection)
    for listener in bus.listeners.values():
        listener.heard(payload)
    await there.renewals.renew(name, there.admit()[1])
    assert len(connection.taken) == 1
    await here.renewals.close()


def test_the_environment_is_part_of_what_is_given() -> None:
    """So that a connection can tell that a token is not of its own."""
    admitted = Admitted(EnvironmentId("env_9"), Grant(), None, None)

    assert renewing._read(renewing._written(admitted)).environment == "env_9"
