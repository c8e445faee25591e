"""A viewer by long poll, as anyone would write it from docs/protocol.md."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.journeys.viewers import Viewer


class PollViewer(Viewer):
    """One poll after the other, on one HTTP connection; all of them together are what it counts as a connection."""

    #: How long its polls ask to be held.
    wait = "20s"
    #: Polls that were answered, and the id of the one that is held.
    polls = 0
    held: str = ""

    async def _connect(self) -> None:
        try:
            timeout = httpx2.Timeout(40)
            async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as client:
                while await self._poll(client):
                    self.polls += 1
                    await self.model.changed()
        except httpx2.TransportError:
            self.endings.append(0)

    async def _poll(self, client: httpx2.AsyncClient) -> bool:
        pairs = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in self.feed.items()}
        query = pairs | {"wait": self.wait} | ({"cursor": self.cursor} if self.cursor else {})
        header = {"Authorization": f"Bearer {self.token}"}
        async with client.stream("GET", f"{self.url}/v1/poll", params=query, headers=header) as response:
            if response.status_code != 200:
                self.endings.append(response.status_code)
                return False
            self.held = response.headers["runcast-connection"]
            await self.model.changed()
            answer: dict[str, Any] = httpx2.Response(200, content=await response.aread()).json()
        self.held = ""
        for message in answer["messages"]:
            await self.model.take(message)
        self.cursor = answer.get("cursor", self.cursor)
        if any(message["type"] in ("error", "reconnect") for message in answer["messages"]):
            self.endings.append(200)
            return False
        return True
