"""What the publisher sends is what the library would send, stamped."""

from __future__ import annotations

import hiredis

from benchmarks.commands import Packed, stamped
from benchmarks.marks import PLACEHOLDER, mark
from benchmarks.targets import ENVIRONMENT, Runcast, publish
from gateway.changes import change
from gateway.store.appending import Append, append_command
from gateway.store.joining import joined
from gateway.store.writing import MOST_TOGETHER, ChangeWriter, Command

TARGET = Runcast("tr_dev_secret")


def packed(command: Command) -> bytes:
    sent: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word only
    return sent


def test_changes_are_joined_as_publishers_join_them() -> None:
    """Byte for byte, and no more than the script takes."""
    runs = [f"run_{number}" for number in range(MOST_TOGETHER + 3)]
    marks = [mark(place, place + 100, 5) for place in range(len(runs))]
    writer = ChangeWriter(environment=ENVIRONMENT)
    value = TARGET.offer("run_0", (), b"MARK").split(b'"')[1].replace(b"MARK", b"%b")
    commands = [
        writer.by_digest(change(run), [("set", "progress", b'"%b"' % (value % mark))])
        for run, mark in zip(runs, marks, strict=True)
    ]

    sent = stamped([(Packed(TARGET.offer(run, (), PLACEHOLDER)), mark) for run, mark in zip(runs, marks, strict=True)])

    assert sent == [packed(command) for command, _ in joined(commands)]


def test_appends_are_joined_as_publishers_join_them() -> None:
    runs = [f"run_{number}" for number in range(MOST_TOGETHER + 3)]
    marks = [mark(place, place + 100, 5) for place in range(len(runs))]
    writer = ChangeWriter(environment=ENVIRONMENT)

    def appends(marks: list[bytes]) -> list[Command]:
        given = zip(runs, marks, strict=True)
        return [append_command(Append(run=run, stream="s", chunks=[b'"%b"' % mark]), writer) for run, mark in given]

    kept = [Packed(packed(command)) for command in appends([PLACEHOLDER] * len(runs))]

    assert stamped(zip(kept, marks, strict=True)) == [packed(command) for command, _ in joined(appends(marks))]


def test_what_can_not_be_joined_goes_alone_and_in_order() -> None:
    """A message for each feed, each with the mark; and changes around it stay where they were."""
    one, two = mark(0, 1, 5), mark(1, 2, 5)
    told = Packed(publish("a", PLACEHOLDER) + publish("b", PLACEHOLDER))
    changed = Packed(TARGET.offer("run_1", (), PLACEHOLDER))

    sent = stamped([(changed, one), (told, two), (changed, one)])

    assert told.answers == 2
    assert sent[1] == publish("a", two) + publish("b", two)
    assert sent[0] == sent[2] == TARGET.offer("run_1", (), one)
