"""Credentials that must not open anything, in every place where one can stand; and those that open only a part."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from auth import EnvironmentKeys, generate_secret_key
from tests.hardening.peers import TEXT, Closed, frame, request, say, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import WebSocketPeer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def crafted(gateway: Gateway, *, header: object = None, secret: str | None = None, **claims: Any) -> str:
    """A token written by hand; good, if nothing is said of it."""
    good = {
        "sub": gateway.environment,
        "pub": True,
        "scopes": ["read:runs"],
        "iss": "https://id.trigger.dev",
        "aud": "https://api.trigger.dev",
        "exp": int(time.time()) + 900,
    }
    signed = f"{_part(header or {'alg': 'HS256'})}.{_part({**good, **claims})}"
    key = (secret or gateway.keys.current.secret).encode()
    signature = base64.urlsafe_b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).rstrip(b"=")
    return gateway.secret(f"{signed}.{signature.decode()}")


def _expired(gateway: Gateway) -> str:
    return gateway.token(expires=int(time.time()) - 10, now=time.time() - 100)


def _stranger(gateway: Gateway) -> str:
    return gateway.token(keys=EnvironmentKeys.of(gateway.environment, generate_secret_key()))


def _nobody(gateway: Gateway) -> str:
    return gateway.token(keys=EnvironmentKeys.of("nowhere", generate_secret_key()))


#: What makes the credential, and the code of the refusal.
BAD: dict[str, tuple[Callable[[Gateway], str], str]] = {
    "expired": (_expired, "token_expired"),
    "signed by a stranger": (_stranger, "token_invalid"),
    "of no environment here": (_nobody, "token_invalid"),
    "signed by another environment's key": (
        lambda g: crafted(g, secret=g.others.current.secret),
        "token_invalid",
    ),
    "without an algorithm": (lambda g: crafted(g, header={"alg": "none"}), "token_invalid"),
    "without an algorithm and signature": (
        lambda g: g.secret(crafted(g, header={"alg": "none"}).rpartition(".")[0] + "."),
        "token_invalid",
    ),
    "with an algorithm of key pairs": (lambda g: crafted(g, header={"alg": "RS256", "typ": "JWT"}), "token_invalid"),
    "with a longer algorithm": (lambda g: crafted(g, header={"alg": "HS512"}), "token_invalid"),
    "with a key of its own": (
        lambda g: crafted(g, header={"alg": "HS256", "crit": ["jwk"], "jwk": {"kty": "oct", "k": "AAAA"}}),
        "token_invalid",
    ),
    "truncated": (lambda g: g.secret(g.token()[:-1]), "token_invalid"),
    "half": (lambda g: g.secret(g.token()[:100]), "token_invalid"),
    "with a tail": (lambda g: g.secret(g.token() + "="), "token_invalid"),
    "doubled": (lambda g: g.secret(f"{g.token()}.{g.token()}"), "token_invalid"),
    "not public": (lambda g: crafted(g, pub=False), "token_invalid"),
    "of another issuer": (lambda g: crafted(g, iss="https://evil.example"), "token_invalid"),
    "for another audience": (lambda g: crafted(g, aud="https://evil.example"), "token_invalid"),
    "of tomorrow": (lambda g: crafted(g, nbf=int(time.time()) + 86400), "token_invalid"),
    "without an end": (lambda g: crafted(g, exp="never"), "token_invalid"),
    "with an end beyond time": (lambda g: crafted(g, exp=10**30), "token_invalid"),
    "with scopes that are text": (lambda g: crafted(g, scopes="read:runs"), "token_invalid"),
    "three dots": (lambda g: "...", "token_invalid"),
    "a word": (lambda g: "hello", "token_invalid"),
    "a made-up secret key": (lambda g: g.secret(generate_secret_key()), "token_invalid"),
    "a secret key with a tail": (lambda g: g.secret(g.keys.current.secret + "x"), "token_invalid"),
}


async def _refused(peer: WebSocketPeer) -> tuple[str, Closed]:
    code, closed = await peer.refusal()
    return code, closed


@pytest.mark.parametrize("name", BAD)
async def test_a_credential_that_does_not_hold_opens_nothing_anywhere(gateway: Gateway, name: str) -> None:
    """The same refusal in each of the five places: two headers, a message, another header, a query."""
    make, code = BAD[name]
    credential = make(gateway)
    closes = {"token_expired": 4410, "token_invalid": 4401}[code]
    headers = [f"Authorization: Bearer {credential}"]
    if "=" not in credential:  # no subprotocol can have one
        headers.append(f"Sec-WebSocket-Protocol: runcast.v1, token.{credential}")

    for header in headers:
        peer = await gateway.websocket()
        answer = await peer.open(header)
        refused, closed = await _refused(peer)
        assert (refused, closed.code) == (code, closes)
        assert answer.get("sec-websocket-protocol") in (None, "runcast.v1")

    peer = await gateway.websocket()
    await peer.open()
    peer.send(say({"type": "authenticate", "token": credential}))
    refused, closed = await _refused(peer)
    assert (refused, closed.code) == (code, closes)

    for target, more in (("/v1/events?run=r", headers[:1]), (f"/v1/events?run=r&token={quote(credential)}", [])):
        stream = await gateway.http()
        stream.send(request(target, *more))
        answered = await stream.answer()
        assert (answered.status, answered.problem["code"]) == (401, code)


@pytest.mark.parametrize("name", BAD)
async def test_a_renewal_that_does_not_hold_changes_nothing(gateway: Gateway, name: str) -> None:
    """A viewer whose new token is refused is told, and keeps what its old one opened."""
    make, code = BAD[name]
    viewer = await gateway.viewer()
    viewer.send(say({"type": "subscribe", "run": "run_1"}))
    await viewer.message("snapshot")

    viewer.send(say({"type": "authenticate", "token": make(gateway)}))

    assert (await viewer.error())["code"] == code
    gateway.publish("run_1", attempt=next(gateway._attempts))
    await viewer.message("update")


async def test_a_token_of_a_mebibyte_is_refused_by_its_size(gateway: Gateway) -> None:
    """Nobody decodes it: as a message it is too long, in a header or a query as well."""
    huge = gateway.secret("e" * 1024 * 1024)
    peer = await gateway.websocket()
    await peer.open()
    peer.send(frame(TEXT, json.dumps({"type": "authenticate", "token": huge}).encode()))
    assert (await peer.end()).code == 1009

    for data in (
        upgrade(f"Authorization: Bearer {huge}"),
        request("/v1/events?run=r", f"Authorization: Bearer {huge}"),
        request(f"/v1/events?run=r&token={huge}"),
    ):
        stream = await gateway.http()
        stream.send(data)
        assert (await stream.head())[0] in (414, 431)


async def test_a_token_that_is_just_too_long_is_refused_as_a_token(gateway: Gateway) -> None:
    """Over 16 KiB a token is none, wherever it comes from."""
    scopes = [f"read:runs:{'x' * 200}{number}" for number in range(100)]
    long = crafted(gateway, scopes=scopes)

    stream = await gateway.http()
    stream.send(request("/v1/events?run=r", f"Authorization: Bearer {long}"))
    assert (await stream.answer()).problem["code"] == "token_invalid"
    peer = await gateway.websocket()
    await peer.open()
    peer.send(say({"type": "authenticate", "token": long}))
    assert (await _refused(peer))[0] == "token_invalid"


NOTHING = {
    "no scopes": [],
    "an empty id": ["read:runs:"],
    "an empty type": ["read:"],
    "nothing but colons": ["::"],
    "blank text": [""],
    "an empty administrator": ["admin:"],
    "writing": ["write:runs"],
    "another run": ["read:runs:run_2"],
    "another kind": ["read:deployments"],
    "a star for an id": ["read:runs:*"],
    "a star for a type": ["read:*"],
    "only a star": ["*"],
    "capitals": ["READ:RUNS"],
    "a space": [" read:runs"],
    "a comma list": ["read:runs:run_1,run_2"],
    "another tag": ["read:tags:run_1"],
}


@pytest.mark.parametrize("name", NOTHING)
async def test_a_token_opens_only_what_its_scopes_name(gateway: Gateway, name: str) -> None:
    """A scope with an empty part, or of a form that means nothing, opens no feed on any transport."""
    gateway.publish("run_1", tags=["customer"])
    token = crafted(gateway, scopes=NOTHING[name])
    feeds: list[dict[str, Any]] = [
        {"run": "run_1"},
        {"tags": ["customer"]},
        {"batch": "batch_1"},
        {"task": "task"},
        {"all": True},
    ]
    peer = await gateway.websocket()
    await peer.open(f"Authorization: Bearer {token}")
    await peer.message("welcome")

    for feed in feeds:
        peer.send(say({"type": "subscribe", **feed}))
        error = await peer.error()
        assert (error["code"], error["retry"]) == ("not_allowed", False)

    for query in ("run=run_1", "tags=customer", "batch=batch_1", "task=task", "all=true", "run=run_2&all=true"):
        stream = await gateway.http()
        stream.send(request(f"/v1/events?{query}", f"Authorization: Bearer {token}"))
        answer = await stream.answer()
        assert (answer.status, answer.problem["code"]) == (403, "not_allowed")


async def test_the_key_of_another_environment_shows_nothing_of_this_one(gateway: Gateway) -> None:
    """Secret keys and tokens open their own environment, where a run of the same name is another one."""
    gateway.publish("run_1")
    for credential in (gateway.others.current.secret, gateway.token(keys=gateway.others)):
        peer = await gateway.websocket()
        await peer.open(f"Authorization: Bearer {credential}")
        assert (await peer.message("welcome"))["environment"] == gateway.others.environment
        peer.send(say({"type": "subscribe", "run": "run_1"}) + say({"type": "subscribe", "all": True}))
        for _ in range(2):
            assert (await peer.message("snapshot"))["runs"] == []
        gateway.publish("run_1", attempt=next(gateway._attempts))
        peer.send(say({"type": "unsubscribe", "feed": "all"}))
        assert (await peer.message("unsubscribed"))["feed"] == "all"  # and nothing in between


async def test_a_renewal_does_not_cross_environments(gateway: Gateway) -> None:
    """A token of another environment is good, but not for this connection."""
    viewer = await gateway.viewer()

    viewer.send(say({"type": "authenticate", "token": gateway.token(keys=gateway.others)}))

    error = await viewer.error()
    assert (error["code"], "another environment" in error["message"]) == ("token_invalid", True)


async def test_a_renewal_with_less_ends_what_it_does_not_allow(gateway: Gateway) -> None:
    """Feeds that the new token does not open end with an error that names them; the others go on."""
    viewer = await gateway.viewer()
    viewer.send(say({"type": "subscribe", "run": "run_1"}) + say({"type": "subscribe", "run": "run_2"}))
    for _ in range(2):
        await viewer.message("snapshot")

    viewer.send(say({"type": "authenticate", "token": gateway.token(["read:runs:run_2"])}))

    error = await viewer.error()
    assert (error["code"], error["feed"]) == ("not_allowed", "run:run_1")
    await viewer.message("welcome")
    for run in ("run_1", "run_2"):
        gateway.publish(run, attempt=next(gateway._attempts))
    assert (await viewer.message("update"))["feed"] == "run:run_2"


async def test_of_several_credentials_the_header_counts(gateway: Gateway) -> None:
    """A header wins over a subprotocol and a query, good or bad; two headers are none."""
    good, bad = gateway.token(), _expired(gateway)
    for first, second, opens in ((good, bad, True), (bad, good, False)):
        peer = await gateway.websocket()
        await peer.open(f"Authorization: Bearer {first}", f"Sec-WebSocket-Protocol: token.{second}")
        await (peer.message("welcome") if opens else peer.error())

        stream = await gateway.http()
        stream.send(request(f"/v1/events?run=r&token={second}", f"Authorization: Bearer {first}"))
        assert (await stream.head())[0] == (200 if opens else 401)

    for first, second in ((good, bad), (bad, good)):
        stream = await gateway.http()
        both = (f"Authorization: Bearer {first}", f"Authorization: Bearer {second}")
        stream.send(request("/v1/events?run=r", *both))
        assert (await stream.answer()).problem["code"] == "token_invalid"


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "bearer", "Token x", ""])
async def test_a_header_that_is_no_bearer_is_none(gateway: Gateway, header: str) -> None:
    """Without a credential the answer asks for one."""
    stream = await gateway.http()
    stream.send(request("/v1/events?run=r", f"Authorization: {header}"))

    assert (await stream.answer()).problem["code"] == "not_authenticated"


@pytest.mark.parametrize("place", ["a header", "a subprotocol", "a message", "a query"])
async def test_a_good_token_in_each_place_lets_in(gateway: Gateway, place: str) -> None:
    """Each way in works; and a subprotocol with a token is never repeated."""
    token = gateway.token()
    if place == "a query":
        stream = await gateway.http()
        stream.send(request(f"/v1/events?run=r&token={token}"))
        assert (await stream.head())[0] == 200
        return
    peer = await gateway.websocket()
    headers = {
        "a header": [f"Authorization: bearer {token}"],
        "a subprotocol": [f"Sec-WebSocket-Protocol: token.{token}, runcast.v1"],
        "a message": ["Sec-WebSocket-Protocol: runcast.v1"],
    }
    answer = await peer.open(*headers[place])
    if place == "a message":
        peer.send(say({"type": "authenticate", "token": token}))

    welcome = await peer.message("welcome")

    assert welcome["environment"] == gateway.environment
    assert answer.get("sec-websocket-protocol") == (None if place == "a header" else "runcast.v1")


@pytest.mark.parametrize("wrapping", ["a list", "an object"])
async def test_a_token_in_a_wrong_wrapping_is_not_shown(gateway: Gateway, wrapping: str) -> None:
    """The error says what is wrong without repeating what may be a secret, not even its beginning."""
    secret = gateway.keys.current.secret
    gateway.secret(secret[:20])
    peer = await gateway.websocket()
    await peer.open()

    peer.send(say({"type": "authenticate", "token": [secret] if wrapping == "a list" else {secret: secret}}))

    assert (await peer.error())["code"] == "bad_message"
