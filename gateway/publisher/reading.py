"""What is asked of Redis to read on in a stream, or to read metadata. No client: see `sending`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.publisher.sending import ask, read_metadata
from gateway.store.stream_reading import (
    history_command,
    read_history,
    read_stream_answer,
    read_stream_command,
    whole_read_stream,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gateway.publisher.places import Place
    from gateway.publisher.sending import Asking
    from gateway.store.writing import ChangeWriter

#: While one reader asks, Redis may be restarted so often; who finds it so again comes back later anyway.
_MOST_RESTARTS = 3


def read_on(place: Place, lock: AbstractContextManager[object], writer: ChangeWriter) -> Asking:
    """
    Read what comes next in a stream, as much as fits into one page, into *place*. Returns True.

    Raises:
        REDIS_ERRORS: What the client raised. Reading again is safe.
    """
    for _ in range(_MOST_RESTARTS):
        with lock:
            epoch, after = place.epoch, place.after
        command = read_stream_command(writer, place.run, place.stream, epoch=epoch, after=after)
        reading = read_stream_answer((yield from ask(command, whole_read_stream)))
        if epoch in ("", reading.epoch):
            with lock:
                place.learn(reading)
            return True
        history = read_history((yield from ask(history_command(writer))))
        with lock:
            if place.epoch == epoch:  # nobody else has found out meanwhile
                place.go_on_in(history, reading.next_index)
    return True


def read_document(run: str, writer: ChangeWriter) -> Asking:
    """The metadata of a run, by top-level key."""
    _, document = yield from read_metadata(run, writer)
    return document
