"""WebSocket messages that are not of the protocol: each is answered with what is wrong, and the socket goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.hardening.peers import Closed, say

if TYPE_CHECKING:
    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import WebSocketPeer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def subscribe(**fields: Any) -> dict[str, Any]:
    return {"type": "subscribe", **fields}


DEEP = "[" * 10_000 + "]" * 10_000
#: As deep as the JSON decoder lets in.
NEARLY_TOO_DEEP = "[" * 1000 + "]" * 1000

#: What is said, the code of the answer, and a word that its message must have.
BAD: dict[str, tuple[object, str, str]] = {
    "nothing": ("", "bad_message", "JSON"),
    "half of it": ('{"type": "subscribe"', "bad_message", "JSON"),
    "two messages": ('{"type": "x"} {"type": "y"}', "bad_message", "JSON"),
    "a NUL": ("\0", "bad_message", "JSON"),
    "a byte order mark": ('\ufeff{"type": "subscribe", "run": "run_1"}', "bad_message", "JSON"),
    "not a number": ('{"type": NaN}', "bad_message", "JSON"),
    "a number beyond numbers": ('{"type": "subscribe", "run": "r", "limit": 1e999}', "bad_message", "JSON"),
    "a lone surrogate": ('{"type": "subscribe", "run": "\\ud800"}', "bad_message", "JSON"),
    "a lone surrogate in a tag": ('{"type": "subscribe", "tags": ["\\udfff"]}', "bad_message", "JSON"),
    "a lone surrogate in a cursor": ('{"type": "subscribe", "run": "r", "cursor": "\\ud800"}', "bad_message", "JSON"),
    "a lone surrogate in a token": ('{"type": "authenticate", "token": "\\ud800"}', "bad_message", "JSON"),
    "a lone surrogate in a name": ('{"type": "subscribe", "\\ud800": 1}', "bad_message", "JSON"),
    "brackets": (DEEP, "bad_message", "JSON"),
    "brackets in a field": (f'{{"type": "subscribe", "run": {DEEP}}}', "bad_message", "JSON"),
    "a list": ([], "bad_message", "object"),
    "text": ('"subscribe"', "bad_message", "object"),
    "null": (None, "bad_message", "object"),
    "a list that is nearly too deep": (NEARLY_TOO_DEEP, "bad_message", "object"),
    "a run that is nearly too deep": (f'{{"type": "subscribe", "run": {NEARLY_TOO_DEEP}}}', "bad_message", "run"),
    "a type that is nearly too deep": (f'{{"type": {NEARLY_TOO_DEEP}}}', "bad_message", "type"),
    "a limit that is nearly too deep": (
        f'{{"type": "subscribe", "run": "r", "limit": {NEARLY_TOO_DEEP}}}',
        "bad_message",
        "limit",
    ),
    "no type": ({}, "bad_message", "type"),
    "an unknown type": ({"type": "hello"}, "bad_message", "subscribe"),
    "a type that is a number": ({"type": 1}, "bad_message", "type"),
    "a type that can't be looked up": ({"type": {"a": []}}, "bad_message", "type"),
    "a name with a slip": (subscribe(run="r", skipColums=[]), "bad_message", "'skipColumns'"),
    "a name that is near nothing": (subscribe(run="r", zzz=1), "bad_message", "limit"),
    "a long name": (subscribe(**{"z" * 60_000: 1}), "bad_message", "unknown field"),
    "many unknown names": (subscribe(**{f"z{n}": n for n in range(3000)}), "bad_message", "unknown field"),
    "an empty name": (subscribe(**{"": 1}), "bad_message", "unknown field"),
    "no feed": (subscribe(), "bad_message", "exactly one"),
    "two feeds": (subscribe(run="r", batch="b"), "bad_message", "exactly one"),
    "all feeds": (subscribe(run="r", batch="b", task="t", tags=["x"], all=True), "bad_message", "exactly one"),
    "a run that is a number": (subscribe(run=1), "bad_message", "run"),
    "a run that is null": (subscribe(run=None), "bad_message", "run"),
    "a run that is a list": (subscribe(run=["r"]), "bad_message", "run"),
    "an empty run": (subscribe(run=""), "bad_message", "run"),
    "tags that are text": (subscribe(tags="a"), "bad_message", "tags"),
    "a tag that is a number": (subscribe(tags=["a", 1]), "bad_message", "tags"),
    "tags that are an object": (subscribe(tags={"a": 1}), "bad_message", "tags"),
    "a cursor that is a number": (subscribe(run="r", cursor=5), "bad_message", "cursor"),
    "a cursor that is an object": (subscribe(run="r", cursor={}), "bad_message", "cursor"),
    "columns that are text": (subscribe(run="r", skipColumns="payload"), "bad_message", "skipColumns"),
    "a column that is a number": (subscribe(run="r", skipColumns=[1]), "bad_message", "skipColumns"),
    "an unknown column": (subscribe(run="r", skipColumns=["zzz"]), "bad_message", "zzz"),
    "since true": (subscribe(run="r", since=True), "bad_message", "since"),
    "since never": (subscribe(run="r", since=""), "bad_message", "since"),
    "since tomorrow": (subscribe(run="r", since=-3600), "bad_message", "since"),
    "since the big bang": (subscribe(run="r", since=1e18), "bad_message", "since"),
    "since a list": (subscribe(run="r", since=["1h"]), "bad_message", "since"),
    "since many digits": (subscribe(run="r", since="9" * 60_000), "bad_message", "since"),
    "since many parts": (subscribe(run="r", since="1w" * 30_000), "bad_message", "since"),
    "a limit of nothing": (subscribe(run="r", limit=0), "bad_message", "limit"),
    "a limit below nothing": (subscribe(run="r", limit=-1), "bad_message", "limit"),
    "a limit over the limit": (subscribe(run="r", limit=1001), "bad_message", "limit"),
    "a limit of many digits": (f'{{"type": "subscribe", "run": "r", "limit": {"9" * 5000}}}', "bad_message", ""),
    "a limit that is text": (subscribe(run="r", limit="10"), "bad_message", "limit"),
    "a limit that is true": (subscribe(run="r", limit=True), "bad_message", "limit"),
    "a limit with a point": (subscribe(run="r", limit=10.0), "bad_message", "limit"),
    "unsubscribe without a feed": ({"type": "unsubscribe"}, "bad_message", "feed"),
    "unsubscribe from a number": ({"type": "unsubscribe", "feed": 1}, "bad_message", "feed"),
    "authenticate without a token": ({"type": "authenticate"}, "bad_message", "token"),
    "authenticate with a number": ({"type": "authenticate", "token": 1}, "bad_message", "token"),
    "all that is false": (subscribe(all=False), "bad_feed", "all"),
    "all that is one": (subscribe(all=1), "bad_feed", "all"),
    "no tags": (subscribe(tags=[]), "bad_feed", "tags"),
    "an empty tag": (subscribe(tags=[""]), "bad_feed", "tag"),
    "a tag with a comma": (subscribe(tags=["a,b"]), "bad_feed", "','"),
    "a tag of 129 characters": (subscribe(tags=["x" * 129]), "bad_feed", "128"),
    "eleven tags": (subscribe(tags=[f"t{n}" for n in range(11)]), "bad_feed", "10"),
    "a run of 256 characters": (subscribe(run="x" * 256), "bad_feed", "255"),
    "a batch of 60,000 characters": (subscribe(batch="x" * 60_000), "bad_feed", "255"),
    "a task of 256 characters": (subscribe(task="x" * 256), "bad_feed", "255"),
    "a run with a NUL": (subscribe(run="run\0"), "bad_feed", "x00"),
    "a run with a newline": (subscribe(run="run\n1"), "bad_feed", "white space"),
    "a run with a header": (subscribe(run="run\r\nSet-Cookie:x"), "bad_feed", "white space"),
    "a batch with a tab": (subscribe(batch="a\tb"), "bad_feed", "white space"),
    "a task with a newline": (subscribe(task="a\r\nb"), "bad_feed", "contain"),
    "a tag with a newline": (subscribe(tags=["a\nb"]), "bad_feed", "contain"),
    "a tag with an escape": (subscribe(tags=["\x1b[2J"]), "bad_feed", "x1b"),
    "a run with a quote": (subscribe(run='a"b'), "bad_feed", "contain"),
    "a run with a backslash": (subscribe(run="a\\b"), "bad_feed", "contain"),
    "a line separator": (subscribe(tags=["a\u2028b"]), "bad_feed", "contain"),
    "unsubscribe from no kind": ({"type": "unsubscribe", "feed": "run_1"}, "bad_feed", "run:ID"),
    "unsubscribe from 60,000 characters": ({"type": "unsubscribe", "feed": "run:" + "x" * 60_000}, "bad_feed", "255"),
    "an empty cursor": (subscribe(run="r", cursor=""), "bad_message", "cursor"),
    "a word for a cursor": (subscribe(run="r", cursor="now"), "bad_cursor", "cursor"),
    "a negative cursor": (subscribe(run="r", cursor="64f3a1c0b2d41--1"), "bad_cursor", "cursor"),
    "a huge cursor": (subscribe(run="r", cursor="64f3a1c0b2d41-" + "9" * 17), "bad_cursor", "cursor"),
    "a huge epoch": (subscribe(run="r", cursor="f" * 17 + "-1"), "bad_cursor", "cursor"),
    "a cursor of 60,000 characters": (subscribe(run="r", cursor="1" * 60_000), "bad_cursor", "cursor"),
    "a cursor with a newline": (subscribe(run="r", cursor="64f3a1c0b2d41-1\n"), "bad_cursor", "cursor"),
    "a cursor with a NUL": (subscribe(run="r", cursor="64f3a1c0b2d41-1\0"), "bad_cursor", "cursor"),
    "a cursor with other digits": (subscribe(run="r", cursor="64f3a1c0b2d41-\u0661"), "bad_cursor", "cursor"),
    "capital letters in a cursor": (subscribe(run="r", cursor="64F3A1C0B2D41-1"), "bad_cursor", "cursor"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_message_that_is_wrong_is_answered_and_the_next_is_worked_on(gateway: Gateway, name: str) -> None:
    """The answer has the documented code and says what is wrong; it fits on a screen, and the socket goes on."""
    said, code, word = BAD[name]
    peer = await gateway.viewer()

    peer.send(say(said) + say(subscribe(run="run_1")))

    error = await peer.error()
    assert (error["code"], error["retry"]) == (code, False)
    assert word in error["message"]
    assert len(error["message"]) < 600
    assert (await peer.message("snapshot"))["feed"] == "run:run_1"


#: Names with characters that mean something to Redis, to JSON or to a pattern, and are names all the same.
ODD_NAMES = [
    "{}",
    "*",
    "run:run:1",
    "a}b{c",
    "{default}",
    "?[a-z]",
    "%00",
    "$.path",
    "../../x",
    "é",
    "😀",
    "'; --",
    "\x85",
]


@pytest.mark.parametrize("kind", ["run", "tag", "batch", "task"])
async def test_odd_names_are_names_and_nothing_else(gateway: Gateway, kind: str) -> None:
    """Braces, stars and colons are followed as they are: nobody sees another feed through them."""
    gateway.publish("bystander")
    odd = [name for name in ODD_NAMES if kind in ("tag", "task") or not any(c.isspace() for c in name)]
    peer = await gateway.viewer()

    for name in odd:
        peer.send(say(subscribe(tags=[name]) if kind == "tag" else subscribe(**{kind: name})))
        snapshot = await peer.message("snapshot")
        assert (snapshot["feed"], snapshot["runs"], snapshot["complete"]) == (f"{kind}:{name}", [], True)

    for name in odd:
        peer.send(say({"type": "unsubscribe", "feed": f"{kind}:{name}"}))
        assert (await peer.message("unsubscribed"))["feed"] == f"{kind}:{name}"


async def test_a_run_with_an_odd_name_is_seen_by_that_name_only(gateway: Gateway) -> None:
    """A star is no pattern, and a brace no hash tag."""
    for name in ("odd*", "odd1", "{odd}"):
        gateway.publish(name)
    peer = await gateway.viewer()

    for name in ("odd*", "{odd}"):
        peer.send(say(subscribe(run=name)))
        assert [run["id"] for run in (await peer.message("snapshot"))["runs"]] == [name]
    gateway.publish("odd1", "COMPLETED")
    gateway.publish("odd*", "COMPLETED")

    assert (await peer.message("update"))["run"]["id"] == "odd*"


async def _cursor(peer: WebSocketPeer, run: str) -> str:
    peer.send(say(subscribe(run=run)))
    cursor: str = (await peer.message("snapshot"))["cursor"]
    peer.send(say({"type": "unsubscribe", "feed": f"run:{run}"}))
    await peer.message("unsubscribed")
    return cursor


async def test_a_crafted_cursor_gets_a_fresh_snapshot(gateway: Gateway) -> None:
    """A cursor from the future, of another environment, or of an epoch that never was hides nothing."""
    gateway.publish("known")
    peer, stranger = await gateway.viewer(), await gateway.websocket()
    await stranger.open(gateway.bearer(keys=gateway.others))
    await stranger.message("welcome")
    epoch, _, sequence = (await _cursor(peer, "known")).partition("-")
    elsewhere = await _cursor(stranger, "known")
    crafted = [
        f"{epoch}-{int(sequence) + 1000}",
        f"{epoch}-{'9' * 16}",
        elsewhere,
        f"{'f' * 16}-1",
        "0-0",
        f"1-{sequence}",
    ]

    for cursor in crafted:
        peer.send(say(subscribe(run="known", cursor=cursor)))
        snapshot = await peer.message("snapshot")
        assert (snapshot["replaces"], [run["id"] for run in snapshot["runs"]]) == (True, ["known"])
        assert snapshot["cursor"].startswith(f"{epoch}-")
        peer.send(say({"type": "unsubscribe", "feed": "run:known"}))
        await peer.message("unsubscribed")


async def test_subscribing_twice_is_told_and_disturbs_nothing(gateway: Gateway) -> None:
    """The second wish for a feed is refused with its name; the first one goes on."""
    peer = await gateway.viewer()

    peer.send(say(subscribe(tags=["b", "a"])) + say(subscribe(tags=["a", "b"], limit=3)))

    messages = [await peer.hear(), await peer.hear()]
    assert all(isinstance(message, dict) for message in messages)
    by_type = {message["type"]: message for message in messages if isinstance(message, dict)}
    assert (by_type["error"]["code"], by_type["error"]["feed"]) == ("already_subscribed", "tag:a,b")
    gateway.publish("tagged", tags=["a", "b"])
    assert (await peer.message("update"))["run"]["id"] == "tagged"


async def test_leaving_what_is_not_followed_is_told(gateway: Gateway) -> None:
    """A feed that nobody follows can't be left, however often one tries; this is no offence."""
    peer = await gateway.viewer()

    for _ in range(30):
        peer.send(say({"type": "unsubscribe", "feed": "run:never"}))
        error = await peer.error()
        assert (error["code"], error["feed"]) == ("not_subscribed", "run:never")


async def test_feeds_over_the_limit_are_refused_and_a_place_that_is_left_is_free(gateway: Gateway) -> None:
    """The limit of feeds is kept, named, and counts what is followed now."""
    limit = gateway.services.settings.feeds_per_connection
    peer = await gateway.viewer()
    for number in range(limit):
        peer.send(say(subscribe(run=f"run_{number}")))
        await peer.message("snapshot")

    peer.send(say(subscribe(run="one_more")))
    error = await peer.error()
    assert (error["code"], error["feed"]) == ("too_many_feeds", "run:one_more")
    assert str(limit) in error["message"]
    peer.send(say({"type": "unsubscribe", "feed": "run:run_0"}))
    await peer.message("unsubscribed")
    peer.send(say(subscribe(run="one_more")))

    await peer.message("snapshot")


async def test_ten_messages_that_are_not_of_the_protocol_end_the_socket(gateway: Gateway) -> None:
    """Each of the ten is answered; then comes 4400, and what follows is not worked on."""
    peer = await gateway.viewer()

    peer.send(say("junk") * 10 + say(subscribe(run="run_1")) * 10)

    for _ in range(10):
        assert (await peer.error())["code"] == "bad_message"
    ended = await peer.hear()
    assert isinstance(ended, Closed)
    assert ended.code == 4400
    assert gateway.hub._channels == {}


async def test_ten_messages_that_are_not_of_the_protocol_end_a_socket_that_was_not_let_in(gateway: Gateway) -> None:
    """Strangers have no more patience coming to them than viewers."""
    peer = await gateway.websocket()
    await peer.open()

    peer.send(say("junk") * 11)

    assert (await peer.end()).code == 4400


async def test_a_wish_before_the_token_ends_the_socket(gateway: Gateway) -> None:
    """Whoever did not say who it is learns what to say first."""
    for said in (subscribe(run="run_1"), {"type": "unsubscribe", "feed": "run:run_1"}):
        peer = await gateway.websocket()
        await peer.open()
        peer.send(say(said) + say(subscribe(run="run_2")))

        code, closed = await peer.refusal()

        assert (code, closed.code) == ("not_authenticated", 4401)


async def test_a_name_is_echoed_so_that_it_can_be_read(gateway: Gateway) -> None:
    """What a viewer sent comes back shortened and escaped in the text for people."""
    peer = await gateway.viewer()

    peer.send(say(json.dumps({"type": "unsubscribe", "feed": "\x1b]0;x\x07" + "y" * 50_000})))

    error = await peer.error()
    assert error["message"].isprintable()
    assert len(error["message"]) < 300
