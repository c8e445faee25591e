"""Inputs as Redis has them: streams of a run that are kept with it and that no viewer is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.codec import Event, decode_event
from gateway.errors import BadFeed
from gateway.feeds import MAX_ID_LENGTH, FeedId
from gateway.store.appending import Append, AppendOutcome, append_command, read_append, whole_append
from gateway.store.inputs import INPUT_PREFIX, MAX_INPUT_LENGTH, input_stream
from gateway.store.redis_keys import change_channel

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing


def test_an_input_has_a_name_of_its_own() -> None:
    """As long as a stream's name may be, with what it begins with."""
    assert input_stream("approval") == "$trigger.input:approval"
    assert input_stream("two words") == "$trigger.input:two words"
    assert len(input_stream("x" * MAX_INPUT_LENGTH)) == MAX_ID_LENGTH
    for key in ("", "x" * (MAX_INPUT_LENGTH + 1), "a,b", 'a"b', "a\n"):
        with pytest.raises(BadFeed):
            input_stream(key)


def test_the_row_keeps_an_input_and_does_not_name_it(changing: Changing) -> None:
    """However it comes between others, nobody is told of it."""
    changing.create()
    with changing.listen() as listening:
        for stream in ("a", input_stream("x"), "b", input_stream("y"), input_stream("x")):
            changing.apply(stream=stream)
        told = [event.columns["realtimeStreams"] for feed, event in listening.heard() if feed == "run:run_1"]
    assert told == [["a"], ["a", "b"]]
    assert changing.row()["realtimeStreams"] == ["a", "b"]
    assert changing.stored()["_streams"] == f"a,{INPUT_PREFIX}x,b,{INPUT_PREFIX}y"


def test_a_run_with_nothing_but_inputs_has_no_streams(changing: Changing) -> None:
    changing.create()
    changing.apply(stream=input_stream("x"))
    assert "realtimeStreams" not in changing.row()


def test_who_may_send_does_not_keep_the_job_from_writing(changing: Changing) -> None:
    """A run has a hundred inputs, and a hundred streams."""
    changing.create()

    def append(stream: str) -> AppendOutcome:
        command: Any = append_command(Append("run_1", stream, [b"1"]), changing.writer)
        client: Any = changing.client
        appended = read_append(client.execute_command(*whole_append(command)))
        if not appended.announced and appended.outcome is AppendOutcome.APPENDED:
            changing.apply(stream=stream)
        return appended.outcome

    for number in range(100):
        assert append(input_stream(f"i{number}")) is AppendOutcome.APPENDED
    assert append(input_stream("one more")) is AppendOutcome.TOO_MANY_STREAMS
    for number in range(100):
        assert append(f"s{number}") is AppendOutcome.APPENDED
    assert append("one more") is AppendOutcome.TOO_MANY_STREAMS
    assert append(input_stream("i7")) is AppendOutcome.APPENDED


def test_who_waits_for_inputs_hears_that_the_run_shall_stop(changing: Changing) -> None:
    """On the channel that tells of its streams, and of its end; what else happens to the run is not told there."""
    changing.create()
    channel = change_channel(changing.environment, FeedId.stream("run_1", "any"))
    subscription: Any = changing.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscription.subscribe(channel)
    subscription.get_message(timeout=5)
    changing.apply(status="EXECUTING")
    changing.apply(tags=["t"])
    changing.apply(columns={"cancelRequestedAt": 1, "cancelReason": "enough"})
    changing.apply(columns={"cancelRequestedAt": 2})
    changing.apply(status="CANCELED")
    changing.client.publish(channel, "end")
    told: list[Event] = []
    while (message := subscription.get_message(timeout=5)) is None or message["data"] != "end":
        if message is not None:
            event = decode_event(message["data"].encode())
            assert isinstance(event, Event)
            told.append(event)
    subscription.close()
    assert [event.transition.status if event.transition else None for event in told] == [None, "CANCELED"]
    assert told[0].columns["cancelReason"] == "enough"
