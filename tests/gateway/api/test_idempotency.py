"""`Idempotency-Key`: a write that is sent again is done once, and answered as the first time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Unavailable
from gateway.store.redis_keys import prefix
from gateway.store.run_writer import RunWriter

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.gateway.api.asking import Asking
    from tests.redis_server import RedisServer

KEY = {"idempotency-key": "order-7"}
RUN = "/v1/runs/run_1"
INCREMENT = {"operations": [{"type": "increment", "key": "n", "value": 1}]}


async def test_a_write_that_is_sent_again_is_answered_again(api: Asking) -> None:
    """Status, headers and body alike, whatever happened since; and marked as an answer that was given before."""
    first = await api.client.post("/v1/runs", json={"taskIdentifier": "export"}, headers=KEY)
    await api.ask("PATCH", first.headers["location"], {"status": "EXECUTING"})
    again = await api.client.post("/v1/runs", json={"taskIdentifier": "export"}, headers=KEY)

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")


async def test_every_write_knows_the_key(api: Asking) -> None:
    """What counts counts once."""
    await api.create()
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", RUN, {"progress": {"current": 1}}),
        ("POST", f"{RUN}/metadata", INCREMENT),
        ("POST", f"{RUN}/tags", {"tags": ["a"]}),
        ("POST", f"{RUN}/cancel", None),
    ]
    for index, (method, path, body) in enumerate(writes):
        headers = {"idempotency-key": f"key-{index}"}
        answers = [await api.client.request(method, path, json=body, headers=headers) for _ in range(3)]
        assert len({answer.content for answer in answers}) == 1
        assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]

    assert (await api.ask("GET", RUN))["metadata"]["n"] == 1


async def test_a_key_names_one_request(api: Asking) -> None:
    """Another body or path with it is a mistake, and told so; the key of another environment is another."""
    await api.create()
    await api.ask("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)

    for method, path, body in (
        ("POST", f"{RUN}/metadata", {"operations": []}),
        ("POST", "/v1/runs/run_2/metadata", INCREMENT),
        ("PATCH", RUN, {"status": "EXECUTING"}),
    ):
        problem = await api.refused(method, path, body, headers=KEY)
        assert (problem["status"], problem["code"]) == (422, "idempotency_key_reused")
        assert problem["field"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "schlüssel".encode("latin-1")])
async def test_a_key_is_short_visible_text(api: Asking, key: Any) -> None:
    """Anything else would not survive every proxy."""
    problem = await api.refused("POST", "/v1/runs", {"taskIdentifier": "t"}, headers={"idempotency-key": key})

    assert (problem["status"], problem["field"]) == (400, "Idempotency-Key")


async def test_the_same_at_the_same_time_is_done_once(api: Asking) -> None:
    """Whoever comes while the first one is answered is told to come back, and then gets its answer."""
    await api.create()

    async def insist() -> dict[str, Any]:
        while True:
            answer = await api.client.post(f"{RUN}/metadata", json=INCREMENT, headers=KEY)
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            assert (answer.status_code, answer.json()["code"]) == (409, "in_progress")
            assert answer.headers["retry-after"] == "1"

    answers = await asyncio.gather(*(insist() for _ in range(20)))

    assert answers == [{"outcome": "applied", "metadata": {"n": 1}}] * 20


async def test_what_was_refused_may_be_asked_again(api: Asking) -> None:
    """A refusal changed nothing, so it is not remembered."""
    problem = await api.refused("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)
    await api.create()

    assert problem["code"] == "not_found"
    assert (await api.ask("POST", f"{RUN}/metadata", INCREMENT, headers=KEY))["metadata"] == {"n": 1}


async def test_who_may_not_write_is_not_told_the_answer(api: Asking) -> None:
    """The key is no permission."""
    await api.create()
    await api.ask("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)
    async with api.with_token(["read:runs"]) as reader:
        problem = await reader.refused("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)

    assert problem["code"] == "not_allowed"


async def test_an_answer_is_not_told_to_who_may_see_less(api: Asking) -> None:
    """The same request with the same key, by a token that may write but not read: done once, and little is shown."""
    await api.create(payload="for few eyes")
    body = {"status": "EXECUTING", "metadata": {"n": 1}}
    first = await api.ask("PATCH", RUN, body, headers=KEY)
    async with api.with_token(["write:runs:run_1"]) as writer:
        answer = await writer.client.patch(RUN, json=body, headers=KEY)

    assert first["run"]["payload"] == "for few eyes"
    assert answer.status_code == 200
    assert answer.json()["outcome"] == "unchanged"
    assert "for few eyes" not in answer.text


async def test_a_gateway_that_dies_before_it_remembers_leaves_nothing_half(
    api: Asking, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """What follows from the key is the same again: the same run, the same name of the operations."""
    await api.create()
    await api.ask("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)
    created = await api.client.post("/v1/runs", json={"taskIdentifier": "t"}, headers={"idempotency-key": "other"})
    with redis_server.client() as client:
        remembered = list(client.scan_iter(match=f"{prefix(environment)}answer:*"))
        assert len(remembered) == 2
        client.delete(*remembered)

    again = await api.ask("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)
    recreated = await api.client.post("/v1/runs", json={"taskIdentifier": "t"}, headers={"idempotency-key": "other"})

    assert again == {"outcome": "unchanged", "metadata": {"n": 1}}
    assert (created.status_code, recreated.status_code) == (201, 200)
    assert created.json()["id"] == recreated.json()["id"]


async def test_redis_that_goes_away_while_an_answer_is_remembered_costs_nothing(
    api: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is done and answered. Who sends it again soon is told to come back, and nothing is done twice."""
    await api.create()
    ask = RunWriter.ask

    async def forgetful(self: RunWriter, command: Any, *more: Any) -> Any:
        if command[0] == "SET" and "NX" not in command:
            raise Unavailable
        return await ask(self, command, *more)

    monkeypatch.setattr(RunWriter, "ask", forgetful)
    first = await api.ask("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)
    waiting = await api.refused("POST", f"{RUN}/metadata", INCREMENT, headers=KEY)

    assert first["metadata"] == {"n": 1}
    assert (waiting["code"], waiting["retry"]) == ("in_progress", True)
    assert (await api.ask("GET", RUN))["metadata"] == {"n": 1}


async def test_a_minted_token_is_kept_nowhere(
    api: Asking, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Whoever reads Redis finds none; the same request is given another one, and another request is refused."""
    body = {"scopes": ["read:runs"]}
    first = await api.ask("POST", "/v1/tokens", body, status=201, headers=KEY)
    again = await api.ask("POST", "/v1/tokens", body, status=201, headers=KEY)
    problem = await api.refused("POST", "/v1/tokens", {"scopes": ["write:runs"]}, headers=KEY)
    with redis_server.client() as client:
        names: Any = list(client.scan_iter(match=f"{prefix(environment)}answer:*"))
        kept = [str(client.get(name)) for name in names]

    assert problem["code"] == "idempotency_key_reused"
    assert len(kept) == 1
    for minted in (first, again):
        assert minted["token"].rpartition(".")[2] not in kept[0]


async def test_a_large_answer_is_not_kept(api: Asking) -> None:
    """The same run is told as it is by then, and nothing was done twice."""
    body = {"taskIdentifier": "t", "payload": "x" * 100_000}
    first = await api.client.post("/v1/runs", json=body, headers=KEY)
    await api.ask("PATCH", first.headers["location"], {"status": "EXECUTING"})

    again = await api.client.post("/v1/runs", json=body, headers=KEY)

    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["id"], again.json()["status"]) == (again.json()["id"], "EXECUTING")
