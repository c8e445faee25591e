"""A feed of the official clients as events: the same as polls are answered, in a response that goes on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from gateway.triggerdev.shape import events
from tests.gateway.triggerdev.polls import ticks

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.gateway.store.changing import Changing
    from tests.gateway.triggerdev.shape.folding import FoldingClient
    from tests.gateway.triggerdev.shape.serving import Feeds


class Stream:
    """One request for events, without a server around it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        #: Set when the client has gone.
        self.gone = asyncio.Event()
        self._news = asyncio.Condition()

    @property
    def data(self) -> bytes:
        """What was sent of the body."""
        return b"".join(message["body"] for message in self.sent[1:])

    async def until(self, holds: Callable[[bytes], bool]) -> None:
        """Return when it *holds* of the body."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: holds(self.data))

    async def ask(self, served: Feeds, client: FoldingClient) -> None:
        """Ask from where *client* stands, and take what is sent until the response ends."""
        query = f"offset={client.offset}&handle={client.handle}&live=true&experimental_live_sse=true&live_sse=true"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": client.path,
            "raw_path": client.path.encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", b"Bearer " + served.secret.encode())],
        }
        await served.app(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        async with self._news:
            self.sent.append(message)
            self._news.notify_all()


class TestEvents:
    """`live_sse`: the same as a response that goes on."""

    async def test_changes_come_as_events(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each set of them ends with where the client is then, as decimal digits; silence is broken by comments."""
        monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.05)
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        stream = Stream()
        asking = asyncio.create_task(stream.ask(served, client))
        while not served.services.counters.viewers["shape"]:
            await asyncio.sleep(0.001)
        changing.apply(status="EXECUTING")
        await stream.until(lambda data: data.partition(b'"status"')[2].count(b": keep-alive") > 0)
        changing.apply(**ticks(1))
        await stream.until(lambda data: data.count(b"up-to-date") == 2)
        stream.gone.set()
        await asking

        headers = dict(stream.sent[0]["headers"])
        assert headers[b"content-type"] == b"text/event-stream"
        assert {b"electric-handle", b"electric-offset", b"electric-cursor"} <= headers.keys()
        blocks = stream.data.decode().split("\n\n")
        messages = [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]
        assert ": keep-alive" in blocks
        assert [message["headers"].get("operation") or message["headers"]["control"] for message in messages] == [
            *("update", "up-to-date", "update", "up-to-date"),
        ]
        offset = int(messages[-1]["headers"]["global_last_seen_lsn"])
        assert offset > int(client.offset.split("_")[0])
        client.offset = f"{offset}_0"
        client.rows["run_1"] |= messages[0]["value"] | messages[2]["value"]
        fresh = served.client("runs/run_1")
        await fresh.poll()
        assert fresh.rows == client.rows

    async def test_a_response_ends_after_a_while(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Properly, so that nothing is taken for cut off; the client goes on where it was."""
        monkeypatch.setattr(events, "STREAM_SECONDS", 0.05)
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        stream = Stream()
        await stream.ask(served, client)
        changing.apply(status="EXECUTING")
        await client.poll(live=True)

        assert not stream.sent[-1].get("more_body", False)
        assert client.rows["run_1"]["status"] == "EXECUTING"

    async def test_what_does_not_hold_is_answered_plainly(self, served: Feeds, changing: Changing) -> None:
        """As a poll would be."""
        changing.create()
        query = {"offset": "5_0", "handle": "x", "live": "true", "live_sse": "true"}

        assert (await served.get("runs/run_1", query)).status == 409
