"""Who hears what is sent into runs, as tests look for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gateway.publisher.ears import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_server import RedisServer

#: Far less than the time after which somebody who waits looks by itself; far more than a message takes.
AT_ONCE = 10.0


class Waiting:
    """Something that waits in a thread of its own."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait
        self._result: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._wait()
        except BaseException as error:
            self._result = error

    def result(self, seconds: float = 10) -> Any:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it still waits"
        return self._result


def subscriptions(server: RedisServer) -> int:
    """Connections on which publishers hear."""
    with server.client() as client:
        return [entry["name"] for entry in client.client_list()].count(NAME)


def heard(server: RedisServer, environment: str, run: str) -> bool:
    """Whether somebody hears what happens to the streams of a run."""
    channel = f"runcast:{{{environment}}}:changes:streams:{run}"
    with server.client() as client:
        return bool(client.execute_command("PUBSUB", "NUMSUB", channel)[1])
