"""Streams and input streams: lines 38 to 50 of the checklist in the Trigger.dev realtime protocol, section 11."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.conformance.chunks import Reader, Upload, lines, path_of, reading
from tests.conformance.events import open_events
from tests.conformance.rows import read_array
from tests.conformance.world import ORIGIN

if TYPE_CHECKING:
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENT: Final = "0a1b2c3d"


async def last_index(world: World, run: str, key: str, client: str = CLIENT) -> int:
    """What the resume probe of a writer says."""
    answer = await world.ask(path_of(run, key), "HEAD", headers={"x-client-id": client})
    assert answer.status_code == 200
    return int(answer.headers["x-last-chunk-index"])


async def until_stored(world: World, run: str, key: str, index: int) -> None:
    """Wait until the writer's line *index* is stored."""
    async with asyncio.timeout(10):
        while await last_index(world, run, key) < index:
            await asyncio.sleep(0.01)


async def write(world: World, run: str, key: str, *chunks: Any) -> None:
    """A whole stream at once."""
    upload = await Upload.begin(world, run, key, CLIENT)
    await upload.write(lines(chunks))
    assert await upload.end() == 200


@pytest.mark.parametrize("asked", ["v1", "v2"])
async def test_t38_creating_a_stream_chooses_uploads_to_us_and_names_the_key(world: World, asked: str) -> None:
    """202 with v1 whatever is asked; the key is on the feed at once. Doing it again changes nothing."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    for _ in range(2):
        answer = await world.ask(
            path_of(run.id, "tokens"), "PUT", headers={"x-trigger-realtime-streams-version": asked}
        )
        assert (answer.status_code, answer.json()) == (202, {"version": "v1"})
        assert not {"x-s2-access-token", "x-s2-basin"} & set(answer.headers)

    await feed.until(lambda feed: read_array(feed.row["realtimeStreams"] or "{}") == ["tokens"])


async def test_t38_a_first_chunk_names_the_key_as_well(world: World) -> None:
    """By append, by upload, and by the publisher."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()

    await world.ask(path_of(run.id, "appended") + "/append", "POST", content="x")
    await write(world, run.id, "uploaded", 1)
    run.stream("published").write(1)

    await feed.until(
        lambda feed: set(read_array(feed.row["realtimeStreams"] or "{}")) == {"appended", "uploaded", "published"}
    )


async def test_t38_streams_of_relatives_can_be_named(world: World) -> None:
    """`parent` and `root` are resolved; without any they are the run itself."""
    root = world.run()
    parent = world.run(parent=root.id, root=root.id)
    child = world.run(parent=parent.id, root=root.id)
    for target, owner in (("self", child), ("parent", parent), ("root", root)):
        assert (await world.ask(path_of(child.id, target, target), "PUT")).status_code == 202
        await (await world.feed(f"runs/{owner.id}").catch_up()).until(
            lambda feed, target=target: target in read_array(feed.row["realtimeStreams"] or "{}")  # type: ignore[misc]
        )
    assert (await world.ask(path_of(child.id, "x", "sibling"), "PUT")).status_code in (400, 404)
    assert (await world.ask(path_of(world.new("run"), "x"), "PUT")).status_code == 404


async def test_t39_ten_thousand_lines_are_read_live_and_in_order(world: World) -> None:
    """Over one upload, while it goes on, by one who was there before and one who comes in the middle."""
    run, total = world.run(), 10_000
    async with reading(world, run.id, "tokens") as early:
        upload = await Upload.begin(world, run.id, "tokens", CLIENT)
        chunks = [{"n": number, "text": "token " * (number % 5)} for number in range(total)]
        for start in range(0, total, 500):
            await upload.write(lines(chunks[start : start + 500]))
            if start == 5000:
                assert await early.take(5000) == chunks[:5000], "it is read while it is written"
        async with reading(world, run.id, "tokens") as late:
            assert await upload.end() == 200
            assert await late.take(total) == chunks
        assert await early.take(5000) == chunks[5000:]


async def test_t39_a_line_is_told_as_soon_as_its_end_arrived(world: World) -> None:
    """In whatever pieces the network brings it."""
    run = world.run()
    upload = await Upload.begin(world, run.id, "tokens", CLIENT)
    async with reading(world, run.id, "tokens") as reader:
        for number in range(5):
            for byte in lines([{"n": number, "ü": "é"}]):
                await upload.write(bytes([byte]))
            assert await reader.take(1) == [{"n": number, "ü": "é"}]
    assert await upload.end() == 200


async def test_t39_a_last_line_without_its_end_counts_when_the_body_ends_cleanly(world: World) -> None:
    """The newest client ends every line, others may not."""
    run = world.run()
    upload = await Upload.begin(world, run.id, "tokens", CLIENT)
    await upload.write(b'1\n"two"\n3')
    assert await upload.end() == 200

    async with reading(world, run.id, "tokens") as reader:
        assert await reader.take(3) == [1, "two", 3]


async def test_t40_a_writer_that_was_cut_in_a_line_goes_on_without_gap_or_duplicate(world: World) -> None:
    """The probe says the last whole line; what is sent again is stored once, wherever the cut was."""
    run, chance = world.run(), random.Random(3)
    chunks = [f"chunk {number} {'x' * (number % 50)}" for number in range(300)]
    following, tries = 0, 0
    async with reading(world, run.id, "tokens") as reader:
        while following < len(chunks):
            # Sometimes with a line that it has already, as a writer that heard nothing.
            first = max(0, following - chance.randrange(3))
            upload = await Upload.begin(world, run.id, "tokens", CLIENT, first)
            data = lines(chunks[first:])
            end = len(data) if tries > 8 else chance.randrange(len(lines(chunks[first : first + 80])))
            await upload.write(data[:end])
            whole = data[:end].count(b"\n") + first
            if end == len(data):
                assert await upload.end() == 200
            else:
                await until_stored(world, run.id, "tokens", max(whole, following) - 1)
                upload.cut()
            stored = await last_index(world, run.id, "tokens") + 1
            assert stored == max(whole, following), "whole lines are stored, once"
            following = stored
            tries += 1
        assert await reader.take(len(chunks)) == chunks
    assert tries > 3


async def test_t40_of_an_unknown_writer_nothing_is_stored(world: World) -> None:
    """-1, also for another writer of the same stream, and before there is a stream."""
    run = world.run()
    assert await last_index(world, run.id, "tokens") == -1
    await write(world, run.id, "tokens", 1, 2)

    assert await last_index(world, run.id, "tokens") == 1
    assert await last_index(world, run.id, "tokens", "ffffffff") == -1


@pytest.mark.parametrize("first", ["-1", "x", "1.5", "1e3", "99999999999999999999999"])
async def test_t40_a_place_that_is_no_number_is_refused(world: World, first: str) -> None:
    """400: the writer fails, rather than losing a line."""
    headers = {"x-client-id": CLIENT, "x-resume-from-chunk": first, "x-stream-version": "v1"}

    answer = await world.ask(path_of(world.run().id, "tokens"), "POST", headers=headers, content=b"1\n")

    assert answer.status_code == 400, answer.text


async def test_t41_a_reader_that_was_cut_at_any_byte_goes_on_without_gap_or_duplicate(world: World) -> None:
    """It goes on behind the last position of which it had the whole event."""
    run, chance = world.run(), random.Random(5)
    chunks = [{"n": number, "text": "x" * (number % 40)} for number in range(400)]
    await write(world, run.id, "tokens", *chunks)
    run.start()
    run.complete()
    headers = {"authorization": f"Bearer {world.secret}"}
    path, found, cuts, ended = f"/realtime/v1/streams/{run.id}/tokens", [], 0, False

    async with asyncio.timeout(20):
        while not ended:
            async with open_events(world.http, path, headers) as events:
                ended = await events.cut_at(chance.randrange(200, 20_000))
                reader = Reader(events)
                found += await reader.rest()
            if reader.parts:
                headers["last-event-id"] = reader.parts[-1].position
            cuts += not ended

    assert found == chunks
    assert cuts > 1


async def test_t43_a_reader_of_an_ended_run_gets_everything_and_a_clean_end(world: World) -> None:
    """Also one that was there before it ended, and one of a key that was never written."""
    run = world.run()
    run.start()
    async with reading(world, run.id, "tokens") as early, reading(world, run.id, "silent") as silent:
        await write(world, run.id, "tokens", 1, 2, 3)
        run.complete()
        assert await early.rest() == [1, 2, 3]
        assert await silent.rest() == []

    async with reading(world, run.id, "tokens") as late:
        assert await late.rest() == [1, 2, 3]


async def test_t44_lines_of_two_writers_are_never_mixed(world: World) -> None:
    """Each line is whole, and each writer's lines are in its order, in whatever pieces they come."""
    run, chance = world.run(), random.Random(9)
    uploads = [await Upload.begin(world, run.id, "tokens", f"0000000{number}") for number in range(2)]
    bodies = [lines([{"writer": writer, "n": n, "text": "x" * 30} for n in range(100)]) for writer in range(2)]

    async def send(writer: int) -> None:
        data = bodies[writer]
        while data:
            size = chance.randrange(1, 200)
            await uploads[writer].write(data[:size])
            data = data[size:]
            await asyncio.sleep(0)
        assert await uploads[writer].end() == 200

    await asyncio.gather(send(0), send(1))
    async with reading(world, run.id, "tokens") as reader:
        found = await reader.take(200)

    for writer in range(2):
        assert [chunk["n"] for chunk in found if chunk["writer"] == writer] == list(range(100))


APPENDED: Final = ['{"token": 1}', "plain text", "", "1", 'quote " and \\', "two\nlines", "ünïcödé 😀"]


async def test_t45_an_appended_body_is_one_text_whatever_it_looks_like(world: World) -> None:
    """Never a parsed object; in the order of the requests."""
    run = world.run()
    for text in APPENDED:
        answer = await world.ask(path_of(run.id, "tokens") + "/append", "POST", content=text.encode())
        assert (answer.status_code, answer.json()) == (200, {"ok": True}), answer.text

    async with reading(world, run.id, "tokens") as reader:
        assert await reader.take(len(APPENDED)) == APPENDED


@pytest.mark.parametrize("header", ["x-part-id", "x-trigger-request-idempotency-key"])
async def test_t45_the_same_part_twice_is_one_record(world: World, header: str) -> None:
    """Both are answered with success; another part is another record, even if it says the same."""
    run = world.run()
    for part in ("part-1", "part-1", "part-2", "part-1"):
        answer = await world.ask(path_of(run.id, "tokens") + "/append", "POST", content=b"same", headers={header: part})
        assert answer.json() == {"ok": True}
    await world.ask(path_of(run.id, "tokens") + "/append", "POST", content=b"end")

    async with reading(world, run.id, "tokens") as reader:
        assert await reader.take(3) == ["same", "same", "end"]


async def test_t45_an_append_that_cannot_be_is_refused(world: World) -> None:
    """Unknown run 404, ended run 400, too much 413 or a message that the SDK throws."""
    unknown = await world.ask(path_of(world.new("run"), "tokens") + "/append", "POST", content=b"x")
    assert unknown.status_code == 404

    run = world.run()
    large = await world.ask(path_of(run.id, "tokens") + "/append", "POST", content=b"x" * (600 * 1024))
    assert large.status_code == 413 or (large.status_code == 200 and large.json()["ok"] is False)

    run.start()
    run.complete()
    assert (await world.ask(path_of(run.id, "tokens") + "/append", "POST", content=b"x")).status_code == 400


async def test_t46_a_start_index_is_the_number_of_the_first_record(world: World) -> None:
    """`startIndex: n` is asked for as everything behind n - 1."""
    run = world.run()
    await write(world, run.id, "tokens", *range(10))

    for index in (1, 5, 9):
        async with reading(world, run.id, "tokens", last_event_id=str(index - 1)) as reader:
            assert await reader.take(10 - index) == list(range(index, 10))

    async with reading(world, run.id, "tokens", last_event_id="9") as reader:
        await write(world, run.id, "more", 1)
        assert (await world.ask(path_of(run.id, "tokens") + "/append", "POST", content=b"new")).status_code == 200
        assert await reader.take(1) == ["new"]


async def test_t46_who_wants_the_latest_gets_at_most_one_record_that_was_there(world: World) -> None:
    """And everything that comes."""
    run = world.run()
    await write(world, run.id, "tokens", *range(10))

    async with reading(world, run.id, "tokens", x_trigger_stream_start="latest") as reader:
        upload = await Upload.begin(world, run.id, "tokens", "ffffffff")
        await upload.write(lines(["new", "newer"]))
        found = [await reader.next(), await reader.next()]
        chunks = [part.chunk for part in found if part is not None]
        assert chunks in (["new", "newer"], [9, "new"])
        await upload.end()


async def test_t47_headers_are_sent_at_once_on_an_empty_stream(world: World) -> None:
    """A client gives up after 30 s without them; keys may be read before they are written."""
    run = world.run()

    async with asyncio.timeout(2), reading(world, run.id, "nothing") as reader:
        assert "no-cache" in reader.events.headers["cache-control"]
        assert reader.events.headers["content-type"].startswith("text/event-stream")


async def test_t47_the_stream_of_an_unknown_run_is_not_found(world: World) -> None:
    """That alone is 404."""
    answer = await world.ask(f"/realtime/v1/streams/{world.new('run')}/tokens")

    assert answer.status_code == 404
    assert answer.json()["error"]


@pytest.mark.parametrize("seconds", ["0", "601", "-1", "x", "1.5", "99999999999999999999"])
async def test_t42_a_timeout_that_can_t_be_is_refused(world: World, seconds: str) -> None:
    """1 to 600, in whole seconds."""
    path = f"/realtime/v1/streams/{world.run().id}/tokens"

    assert (await world.ask(path, headers={"timeout-seconds": seconds})).status_code == 400


async def test_t48_a_page_of_another_origin_can_see_the_version(world: World) -> None:
    """Or it would read a body of the second version as one of the first."""
    run = world.run()
    async with reading(world, run.id, "tokens", origin=ORIGIN) as reader:
        headers = reader.events.headers
        exposed = re.split(r",\s*", headers["access-control-expose-headers"].lower())
        assert "*" in exposed or "x-stream-version" in exposed
        assert headers["access-control-allow-origin"] in ("*", ORIGIN)
        assert headers["x-stream-version"] in ("v1", "v2")


async def test_t48_streams_of_the_publisher_and_of_the_sdk_are_the_same(world: World) -> None:
    """What one writes the other reads, in one order, with ids that are all different."""
    run = world.run()
    run.stream("tokens").write({"from": "the publisher"})
    assert world.publisher.flush()
    await write(world, run.id, "tokens", {"from": "the SDK"})

    async with reading(world, run.id, "tokens") as reader:
        assert await reader.take(2) == [{"from": "the publisher"}, {"from": "the SDK"}]
        assert len({part.position for part in reader.parts}) == 2


# Input streams.


def input_path(run: str, key: str = "approval") -> str:
    return f"/realtime/v1/streams/{run}/input/{key}"


async def test_t49_input_is_sent_with_the_token_of_the_run_and_with_no_other(world: World) -> None:
    """Those of another run are refused; so is an ended run, and one that is not there."""
    run, other = world.run(), world.run()
    token = world.token(f"read:runs:{run.id}", f"write:inputStreams:{run.id}")

    sent = await world.ask(input_path(run.id), "POST", bearer=token, json={"data": {"ok": True}})
    assert (sent.status_code, sent.json()) == (200, {"ok": True})
    assert (await world.ask(input_path(other.id), "POST", bearer=token, json={"data": 1})).status_code == 403

    run.start()
    run.complete()
    ended = await world.ask(input_path(run.id), "POST", bearer=token, json={"data": 1})
    assert (ended.status_code, ended.json()["ok"]) == (400, False)
    assert isinstance(ended.json()["error"], str)
    unknown = await world.ask(input_path(world.new("run")), "POST", json={"data": 1})
    assert (unknown.status_code, unknown.json()["ok"]) == (404, False)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"data"'])
async def test_t49_input_that_can_t_be_right_is_refused(world: World, body: bytes) -> None:
    """400; the body is an object with `data`."""
    headers = {"content-type": "application/json"}

    answer = await world.ask(input_path(world.run().id), "POST", content=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_t50_input_is_read_as_records_whose_data_is_json_text(world: World) -> None:
    """Positions are numbers, going on excludes the one that was read, and the text is parsed once more."""
    run, values = world.run(), [{"ok": True}, "text", 1.5, None, [1, {"ü": "é"}]]
    for value in values:
        assert (await world.ask(input_path(run.id), "POST", json={"data": value})).status_code == 200

    headers = {"authorization": f"Bearer {world.token(f'read:runs:{run.id}')}", "timeout-seconds": "600"}
    async with open_events(world.http, input_path(run.id), headers) as events:
        reader = Reader(events)
        assert reader.version == "v2"
        found = await reader.take(len(values))
        assert [json.loads(text) for text in found] == values
        positions = [int(part.position) for part in reader.parts]
        assert len({part.id for part in reader.parts}) == len(values)

    headers["last-event-id"] = str(positions[2])
    async with open_events(world.http, input_path(run.id), headers) as events:
        reader = Reader(events)
        assert [json.loads(text) for text in await reader.take(2)] == values[3:]


async def test_t50_input_is_no_stream_that_hooks_would_open(world: World) -> None:
    """`withStreams` opens a request for each key of `realtimeStreams`."""
    run = world.run()
    await world.ask(input_path(run.id), "POST", json={"data": 1})

    feed = await world.feed(f"runs/{run.id}").catch_up()

    assert feed.row["realtimeStreams"] == "{}"
