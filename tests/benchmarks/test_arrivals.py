"""Viewers who come at once know when they were told everything, and what a server answered that did not let them in."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from benchmarks.arrivals import EACH, LAST, Arrivals, Arrived
from benchmarks.targets import Opening, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
RUNS = b"".join(b'{"word":"%b"},' % EACH for _ in range(3))
#: Nobody waits for it to pass: it is for what never comes.
PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def serving(*parts: bytes) -> Iterator[int]:
    """A server that answers each request with *parts*, each a packet of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                while True:
                    viewer = stack.enter_context(listening.accept()[0])
                    viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    viewer.recv(4096)
                    for part in parts:
                        viewer.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


async def arrive(port: int, viewers: int) -> Arrived:
    arrivals = Arrivals()
    try:
        openings: Sequence[Opening] = [Opening("/", {})] * viewers
        return await arrivals.arrive(port, Transport.SSE, openings, PATIENCE_SECONDS)
    finally:
        await arrivals.leave()


@pytest.mark.parametrize("cut", range(1, len(LAST)))
async def test_a_word_that_was_cut_in_two_is_found(cut: int) -> None:
    """Wherever it was cut; and what was told is counted once."""
    with serving(HEAD + RUNS[:-4], RUNS[-4:] + LAST[:cut], LAST[cut:] + b'"}]}') as port:
        arrived = await arrive(port, 2)

    assert (arrived.told, arrived.refused) == (2, 0)
    assert (arrived.fewest_runs, arrived.most_runs) == (3, 3)
    assert 0 < arrived.first_seconds <= arrived.median_seconds <= arrived.last_seconds


async def test_who_is_not_let_in_says_why() -> None:
    """With the server's own words."""
    with serving(b"HTTP/1.1 429 Too Many Requests\r\n\r\n") as port:
        arrived = await arrive(port, 3)

    assert (arrived.told, arrived.refused) == (0, 3)
    assert "429 Too Many Requests" in arrived.first_refusal
