"""Streams over HTTP: written at once or line by line, read in pages; and what can't be written or read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits
from gateway.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateway.api.asking import Asking

STREAM = "/v1/runs/run_1/streams/llm"
LINES = {"content-type": "application/x-ndjson"}
PAGE = {"accept": "application/json"}


async def write(api: Asking, text: bytes, **options: Any) -> Any:
    return await api.ask("POST", options.pop("path", STREAM), content=text, headers=LINES, **options)


async def read(api: Asking, **query: Any) -> list[Any]:
    page = await api.ask("GET", STREAM, headers=PAGE, params=query)
    return [chunk["chunk"] for chunk in page["chunks"]]


async def test_chunks_at_once(api: Asking) -> None:
    await api.create()

    answer = await api.ask("POST", STREAM, {"chunks": ["a", {"b": [1.5, None]}, 3]})

    assert (answer["received"], answer["nextIndex"]) == (3, 3)
    assert await read(api) == ["a", {"b": [1.5, None]}, 3]
    assert (await api.ask("GET", "/v1/runs/run_1"))["realtimeStreams"] == ["llm"]


async def test_lines_are_stored_as_they_were_written(api: Asking) -> None:
    """Empty lines don't count, the last one needs no end, and what a number was it stays."""
    await api.create()

    await write(api, b'1\n\n  {"big": 12345678901234567890123}  \r\n"last"')

    page = await api.client.get(STREAM, headers=PAGE)
    assert '"chunk":{"big": 12345678901234567890123}' in page.text.replace('":{ ', '":{')
    assert [chunk["index"] for chunk in page.json()["chunks"]] == [0, 1, 2]


async def test_lines_are_there_as_they_come(api: Asking) -> None:
    """Each is stored before the next one is sent."""
    await api.create()

    async def lines() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b'{"n": %d}\n{"half' % number
            while [chunk["n"] for chunk in await read(api)] != list(range(number + 1)):
                pass
            yield b'":'
            yield b'"%d"}\n' % number
            break

    await write(api, lines())  # type: ignore[arg-type]

    assert await read(api) == [{"n": 0}, {"half": "0"}]


async def test_what_a_writer_sends_again_is_stored_once(api: Asking) -> None:
    await api.create()
    await write(api, b"1\n2\n", params={"writer": "w", "first": "0"})

    probed = await api.client.head(STREAM, params={"writer": "w"})
    again = await write(api, b"1\n2\n3\n", params={"writer": "w", "first": "0"})
    gap = await api.refused("POST", STREAM, content=b"9\n", headers=LINES, params={"writer": "w", "first": "8"})

    assert probed.headers["runcast-writer-next"] == "2"
    assert (again["received"], again["writerNext"], again["nextIndex"]) == (3, 3, 3)
    assert (gap["status"], gap["code"]) == (409, "out_of_turn")
    assert "has the number 3, not 8" in gap["detail"]
    assert await read(api) == [1, 2, 3]


async def test_an_idempotency_key_is_a_writer_who_writes_once(api: Asking) -> None:
    await api.create()
    for _ in range(2):
        await api.ask("POST", STREAM, {"chunks": [1, 2]}, headers={"idempotency-key": "k"})
    await api.ask("POST", STREAM, {"chunks": [1, 2]}, headers={"idempotency-key": "other"})

    assert await read(api) == [1, 2, 1, 2]


async def test_pages_go_on_where_the_last_one_ended(api: Asking) -> None:
    await api.create()
    await api.ask("POST", STREAM, {"chunks": list(range(25))})

    first = await api.ask("GET", STREAM, headers=PAGE, params={"limit": 10})
    second = await api.ask("GET", STREAM, headers=PAGE, params={"after": first["next"]})
    nothing = await api.ask("GET", STREAM, headers=PAGE, params={"after": second["next"]})

    assert [chunk["chunk"] for chunk in first["chunks"] + second["chunks"]] == list(range(25))
    assert (first["complete"], first["replaces"]) == (False, True)
    assert (second["complete"], second["replaces"]) == (True, False)
    assert nothing["chunks"] == []


async def test_a_cursor_of_data_that_was_lost_begins_anew(api: Asking) -> None:
    await api.create()
    await api.ask("POST", STREAM, {"chunks": [1]})

    page = await api.ask("GET", STREAM, headers=PAGE, params={"after": "1-99999999999999"})

    assert page["replaces"]
    assert len(page["chunks"]) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "line 3 must be JSON"),
        (b"nope", "line 3 must be JSON"),
        (b'{"a": 1, "a": 2}', "names 'a' twice"),
        (b"NaN", "line 3 must be JSON"),
        (b'"\xff"', "line 3 must be JSON"),
        (b"[" * 5000, "JSON"),
        (b'"\\ud800"', "JSON"),
    ],
)
async def test_a_line_that_is_not_json(api: Asking, line: bytes, says: str) -> None:
    """It is named by its number; what came before it is stored."""
    await api.create()

    problem = await api.refused("POST", STREAM, content=b'"good"\n\n' + line + b'\n"never"\n', headers=LINES)

    assert (problem["status"], problem["field"]) == (400, "line 3")
    assert says in problem["detail"]
    assert await read(api) == ["good"]


@pytest.mark.parametrize(
    ("said", "status", "code", "says"),
    [
        ({"json": {"chunks": []}}, 400, "bad_message", "chunks"),
        ({"json": {"chunk": 1}}, 400, "bad_message", "chunks"),
        ({"json": [1]}, 400, "bad_message", "object"),
        ({"content": b"1", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type", "x-ndjson"),
        ({"content": b"1"}, 415, "unsupported_media_type", "x-ndjson"),
        ({"content": b"", "headers": {"content-type": "application/json"}}, 400, "bad_message", "empty"),
        ({"json": {"chunks": [1]}, "params": {"writer": "a b"}}, 400, "bad_message", "letters"),
        ({"json": {"chunks": [1]}, "params": {"first": "0"}}, 400, "bad_message", "name the writer"),
        ({"json": {"chunks": [1]}, "params": {"writer": "w", "first": "-1"}}, 400, "bad_message", "first"),
        (
            {"json": {"chunks": [1]}, "params": {"writer": "w"}, "headers": {"idempotency-key": "k"}},
            *(400, "bad_message", "one of the two"),
        ),
    ],
)
async def test_what_can_t_be_appended(api: Asking, said: dict[str, Any], status: int, code: str, says: str) -> None:
    await api.create()

    problem = await api.refused("POST", STREAM, **said)

    assert (problem["status"], problem["code"]) == (status, code)
    assert says in problem["detail"]


async def test_a_chunk_over_its_limit(api: Asking) -> None:
    await api.create()
    large = json.dumps("x" * 1024 * 1024)

    problem = await api.refused("POST", STREAM, content=large.encode() + b"\n", headers=LINES)

    assert (problem["status"], problem["code"]) == (413, "too_large")


async def test_a_run_that_is_not_there(api: Asking) -> None:
    path = "/v1/runs/run_none/streams/llm"

    written = await api.refused("POST", path, {"chunks": [1]})
    read_page = await api.refused("GET", path, headers=PAGE)

    assert [problem["status"] for problem in (written, read_page)] == [404, 404]


async def test_a_run_has_a_hundred_streams(api: Asking) -> None:
    await api.create()
    for number in range(100):
        await api.ask("POST", f"/v1/runs/run_1/streams/s{number}", {"chunks": [1]})

    problem = await api.refused("POST", STREAM, {"chunks": [1]})

    assert (problem["status"], problem["code"]) == (422, "too_many_streams")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"after": "yesterday"}, "not a cursor"),
        ({"from": "later"}, "from"),
        ({"from": "now", "after": "1-1"}, "one of the two"),
        ({"limit": "0"}, "limit"),
        ({"aftr": "1-1"}, "after"),
    ],
)
async def test_what_can_t_be_read(api: Asking, query: dict[str, str], says: str) -> None:
    await api.create()

    problem = await api.refused("GET", STREAM, headers=PAGE, params=query)

    assert problem["status"] == 400
    assert says in problem["detail"]


async def test_scopes_are_those_of_the_run(api: Asking) -> None:
    """Reading needs what the run's feed needs, writing a `write:` scope; another run's token opens nothing."""
    await api.create(tags=["mine"])
    await api.ask("POST", STREAM, {"chunks": [1]})
    async with (
        api.with_token(["read:tags:mine"]) as reader,
        api.with_token(["write:runs:run_1"]) as writer,
        api.with_token(["read:runs:run_2", "write:runs:run_2"]) as stranger,
    ):
        assert await read(reader) == [1]
        await writer.ask("POST", STREAM, {"chunks": [2]})
        refused = [
            await reader.refused("POST", STREAM, {"chunks": [3]}),
            await writer.refused("GET", STREAM, headers=PAGE),
            await stranger.refused("GET", STREAM, headers=PAGE),
            await stranger.refused("POST", STREAM, {"chunks": [3]}),
        ]

    assert {problem["code"] for problem in refused} == {"not_allowed"}
    assert await read(api) == [1, 2]


async def test_ids_and_keys_are_percent_encoded(api: Asking) -> None:
    await api.create("a/b")

    await api.ask("POST", "/v1/runs/a%2Fb/streams/x%2Fy", {"chunks": [1]})
    page = await api.ask("GET", "/v1/runs/a%2Fb/streams/x%2Fy", headers=PAGE)

    assert [chunk["chunk"] for chunk in page["chunks"]] == [1]


async def test_who_began_now_comes_back_where_it_was(api: Asking) -> None:
    """A browser has the cursor from the beginning, and comes back with it and the address that it had."""
    await api.create()
    await api.ask("POST", STREAM, {"chunks": ["old"]})
    async with api.client.stream("GET", STREAM, params={"from": "now"}) as response:
        lines = []
        async for line in response.aiter_lines():
            lines.append(line)
            if not line:
                break
    (cursor,) = [line[4:] for line in lines if line.startswith("id: ")]
    await api.ask("POST", STREAM, {"chunks": ["meanwhile"]})
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "COMPLETED"})

    answer = await api.client.get(STREAM, params={"from": "now"}, headers={"last-event-id": cursor})

    assert '"chunk":"meanwhile"' in answer.text
    assert '"old"' not in answer.text


async def test_a_page_that_was_overtaken_begins_anew(api: Asking) -> None:
    """What its cursor stood before was removed to keep the stream within its limit."""
    await api.create()
    chunk = "x" * 1_000_000
    await api.ask("POST", STREAM, {"chunks": [0]})
    first = await api.ask("GET", STREAM, headers=PAGE)
    limits, where = Limits(stream_bytes=1_500_000), api.gateway
    with Publisher(where.settings.redis_url, environment=where.keys.environment, limits=limits) as publisher:
        publisher.run("run_1").stream("llm").write_all([chunk] * 3)

    page = await api.ask("GET", STREAM, headers=PAGE, params={"after": first["next"]})

    assert page["replaces"]
    assert (page["firstIndex"], [found["index"] for found in page["chunks"]]) == (3, [3])
