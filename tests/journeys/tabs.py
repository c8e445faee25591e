"""
A browser whose tabs are really hidden when another is in front.

Playwright makes every page believe that it is seen and has the focus, so this speaks to Chromium directly, over its
DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import connect

from tests.journeys.browser import OPTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

SECONDS = 20.0


class Browser:
    """One Chromium: `open` tabs in it. The last one that was opened or shown is in front, the others are hidden."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}

    async def open(self, url: str) -> Tab:
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self._tabs[session] = Tab(self, target, session)
        await tab.send("Network.enable")
        await tab.send("Page.navigate", url=url)
        return tab

    async def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return await asyncio.wait_for(answer, SECONDS)

    async def listen(self) -> None:
        async for message in self._socket:
            said = json.loads(message)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if not answer.done():
                    answer.set_result(said.get("result", said))
            elif said.get("sessionId") in self._tabs:
                self._tabs[said["sessionId"]].hear(said["method"], said["params"])


class Tab:
    """One page."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        #: The URLs that were asked for, in order.
        self.asked: list[str] = []
        #: Those that have no whole answer yet.
        self.pending: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._browser.send(method, self._session, **parameters)

    async def show(self) -> None:
        """Bring it to the front."""
        await self._browser.send("Target.activateTarget", targetId=self._target)

    async def until(self, expression: str) -> Any:
        """Wait until *expression* of the page is true, and return its value."""
        script = f"""new Promise((resolve) => {{
            const look = () => {{ const seen = {expression}; seen ? resolve(seen) : setTimeout(look, 20); }};
            look();
        }})"""
        answer = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    async def until_requests(self, condition: Callable[[], bool]) -> None:
        """Wait until what was asked for, or is pending, fulfils *condition*."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def hear(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent" if event["request"]["method"] == "GET":
                self.asked.append(event["request"]["url"])
                self.pending[event["requestId"]] = event["request"]["url"]
            case "Network.loadingFinished" | "Network.loadingFailed":
                self.pending.pop(event["requestId"], None)
            case _:
                return
        self._changed.set()


@contextlib.asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Browser]:
    """A browser for the block, with its profile in *directory*."""
    executable = shutil.which("chromium")
    assert executable, "chromium is missing; scripts/system-packages installs it"
    process = await asyncio.create_subprocess_exec(
        *(executable, *OPTIONS, f"--user-data-dir={directory}", "--remote-debugging-port=0", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        address = await asyncio.wait_for(_address(process.stderr), SECONDS)
        async with connect(address, max_size=None, proxy=None) as socket:
            found = Browser(socket)
            listening = asyncio.create_task(found.listen())
            yield found
            await found.send("Browser.close")
            listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def _address(said: asyncio.StreamReader) -> str:
    async for line in said:
        if found := re.search(r"DevTools listening on (\S+)", line.decode()):
            return found[1]
    raise AssertionError("the browser ended at once")
