"""Minting, revoking and renewing over HTTP, asked for by whoever must not, or in words that mean nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.transports import renewing
from tests.hardening.peers import request, say
from tests.hardening.test_tokens import BAD, crafted

if TYPE_CHECKING:
    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCOPE = ["read:runs:run_1"]
PATHS = ("/v1/tokens", "/v1/tokens/revoke")


async def post(gateway: Gateway, path: str, body: object, *headers: str, credential: str | None = None) -> Answer:
    """What is answered to *body*: bytes as they are, everything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    bearer = gateway.keys.current.secret if credential is None else credential
    peer = await gateway.http()
    head = request(
        path,
        f"Authorization: Bearer {bearer}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *headers,
        method="POST",
    )
    peer.send(head + data)
    return await peer.answer()


def minted(gateway: Gateway, answer: Answer) -> dict[str, Any]:
    assert answer.status == 201, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    gateway.secret(found["token"])
    gateway.heard.clear()  # who asked for it is told it, and nobody else
    return found


#: A body, and the field that its refusal names.
WRONG_WISHES: list[tuple[Any, str]] = [
    ({}, "/scopes"),
    ({"scopes": None}, "/scopes"),
    ({"scopes": "read:runs"}, "/scopes"),
    ({"scopes": {"read": {"runs": True}}}, "/scopes"),
    ({"scopes": []}, "/scopes"),
    ({"scopes": [7]}, "/scopes/0"),
    ({"scopes": ["read:runs", "read:runs:"]}, "/scopes/1"),
    ({"scopes": ["read::run_1"]}, "/scopes/0"),
    ({"scopes": ["read:runs: "]}, "/scopes/0"),
    ({"scopes": ["read:runs:run_1\n"]}, "/scopes/0"),
    ({"scopes": ["\x00"]}, "/scopes/0"),
    ({"scopes": ["read:runs:" + "x" * 500]}, "/scopes/0"),
    ({"scopes": ["read:runs"] * 501}, "/scopes"),
    ({"scopes": [f"read:runs:{'x' * 300}{number}" for number in range(400)]}, "/scopes"),
    ({"scopes": SCOPE, "expirationTime": "soon"}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": "-5m"}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": "0s"}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": "400 days"}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": "2020-01-01T00:00:00Z"}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": "2026-12-01T00:00:00"}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": 5}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": 10**13}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": 10**300}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": True}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": None}, "/expirationTime"),
    ({"scopes": SCOPE, "expirationTime": ["15m"]}, "/expirationTime"),
    ({"scopes": SCOPE, "oneTimeUse": "yes"}, "/oneTimeUse"),
    ({"scopes": SCOPE, "realtime": []}, "/realtime"),
    ({"scopes": SCOPE, "realtime": {"skipColumns": "payload"}}, "/realtime/skipColumns"),
    ({"scopes": SCOPE, "realtime": {"skipColumns": ["paylod"]}}, "/realtime/skipColumns/0"),
    ({"scopes": SCOPE, "subject": ""}, "/subject"),
    ({"scopes": SCOPE, "subject": 7}, "/subject"),
    ({"scopes": SCOPE, "subject": "x" * 256}, "/subject"),
    ({"scopes": SCOPE, "subject": "x\n"}, "/subject"),
    ({"scopes": SCOPE, "expiresIn": 5}, "/expiresIn"),
]
WRONG_REVOCATIONS: list[tuple[Any, str]] = [
    ({}, ""),
    ({"jti": "a", "tag": "b"}, ""),
    ({"jti": "a", "issuedBefore": 1}, ""),
    ({"jti": 7}, "/jti"),
    ({"jti": ["a"]}, "/jti"),
    ({"jti": {"a": 1}}, "/jti"),
    ({"jti": None}, "/jti"),
    ({"jti": ""}, "/jti"),
    ({"jti": "x" * 256}, "/jti"),
    ({"subject": True}, "/subject"),
    ({"subject": " x"}, "/subject"),
    ({"tag": "a,b"}, "/tag"),
    ({"tag": ""}, "/tag"),
    ({"tag": ["a"]}, "/tag"),
    ({"issuedBefore": "yesterday"}, "/issuedBefore"),
    ({"issuedBefore": -1}, "/issuedBefore"),
    ({"issuedBefore": True}, "/issuedBefore"),
    ({"issuedBefore": 10**13}, "/issuedBefore"),
    ({"issuedBefore": "2999-01-01T00:00:00Z"}, "/issuedBefore"),
    ({"token": 7}, "/token"),
    ({"token": "hello"}, "/token"),
    ({"token": "a.b.c"}, "/token"),
    ({"all": True}, "/all"),
]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [*((PATHS[0], *one) for one in WRONG_WISHES), *((PATHS[1], *one) for one in WRONG_REVOCATIONS)],
    ids=lambda value: str(value)[:60],
)
async def test_a_wish_that_means_nothing_is_refused_by_its_field(
    gateway: Gateway, path: str, body: Any, field: str
) -> None:
    """With 400, and words about what would be right; nothing is minted or revoked."""
    answer = await post(gateway, path, body)

    assert answer.status == 400, answer.body
    assert answer.problem["field"] == field
    assert answer.problem["retry"] is False


async def test_a_moment_that_is_none_is_refused_with_what_would_be_one(gateway: Gateway) -> None:
    """`issuedBefore` takes seconds, where a list of runs takes milliseconds: the text must not mix them up."""
    answer = await post(gateway, PATHS[1], {"issuedBefore": "yesterday"})

    assert "2026-01-31T10:00:00Z, or unix seconds, not 'yesterday'" in answer.problem["detail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"null", b'"x"', b"\xff", b'{"scopes":["\\ud800"]}', b'{"jti":"a","jti":"b"}']
)
async def test_a_body_that_is_no_object_is_refused(gateway: Gateway, path: str, body: bytes) -> None:
    """As any request's."""
    answer = await post(gateway, path, body)

    assert (answer.status, answer.problem["code"]) == (400, "bad_message")


@pytest.mark.parametrize("path", PATHS)
async def test_only_the_secret_key_mints_and_revokes(gateway: Gateway, path: str) -> None:
    """No public token does, whatever it allows; and nobody without a credential, or with one that does not hold."""
    body = {"scopes": SCOPE} if path == PATHS[0] else {"subject": "x"}
    for scopes in (["admin"], ["*:all"], ["write:tokens", "read:runs"]):
        answer = await post(gateway, path, body, credential=gateway.token(scopes))
        assert (answer.status, answer.problem["code"]) == (403, "not_allowed")
    for make, code in BAD.values():
        credential = make(gateway)
        answer = await post(gateway, path, body, credential=credential)
        assert (answer.status, answer.problem["code"]) == (401, code)


async def test_a_token_of_another_environment_can_t_be_revoked_from_here(gateway: Gateway) -> None:
    """By itself it is refused; by its names it is not touched, for these are names in this environment."""
    theirs = gateway.token(keys=gateway.others, jti="shared", subject="shared")
    answer = await post(gateway, PATHS[1], {"token": theirs})
    assert (answer.status, answer.problem["field"]) == (400, "/token")
    for by in ({"jti": "shared"}, {"subject": "shared"}, {"issuedBefore": int(time.time())}):
        assert (await post(gateway, PATHS[1], by)).status == 200
    peer = await gateway.websocket()
    await peer.open(f"Authorization: Bearer {theirs}")
    assert (await peer.message("welcome"))["environment"] == gateway.others.environment


async def test_a_token_can_be_revoked_before_it_begins_and_after_it_ended(gateway: Gateway) -> None:
    """Whoever revokes wants it gone; that it is not there yet, or not any more, is no mistake."""
    for token in (
        crafted(gateway, nbf=int(time.time()) + 600),
        crafted(gateway, exp=int(time.time()) - 5),
        crafted(gateway, jti="x" * 5000),
        crafted(gateway),
    ):
        answer = await post(gateway, PATHS[1], {"token": token})
        assert answer.status == 200, answer.body
    for _ in range(2):
        assert (await post(gateway, PATHS[1], {"token": gateway.token()})).status == 200


async def test_what_is_minted_is_told_to_nobody_else(gateway: Gateway) -> None:
    """The answer may not be kept anywhere, and the token is in no log."""
    answer = await post(gateway, PATHS[0], {"scopes": SCOPE, "subject": "u"})
    assert answer.headers["cache-control"] == "no-store"
    found = minted(gateway, answer)
    peer = await gateway.websocket()
    await peer.open(f"Authorization: Bearer {found['token']}")
    await peer.message("welcome")
    assert (await post(gateway, PATHS[1], {"token": found["token"]})).status == 200
    error = await peer.error()
    assert (error["code"], error["retry"]) == ("token_revoked", False)
    assert (await peer.end()).code == 4411


@pytest.mark.parametrize("connection", ["x", ".", "a.b", "%2e%2e", "A" * 12 + "." + "b" * 22, "%00", "ü", "x" * 101])
async def test_a_connection_that_is_none_can_t_be_renewed(
    gateway: Gateway, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not found, whatever it looks like; and the token is not used up by it."""
    monkeypatch.setattr(renewing, "ANSWER_SECONDS", 0.05)
    once = gateway.token(one_time=True)
    path = f"/v1/connections/{connection.encode().decode('latin-1')}/token"
    answer = await post(gateway, path, b"", credential=once)
    assert answer.status in (400, 404)
    peer = await gateway.websocket()
    await peer.open(f"Authorization: Bearer {once}")
    await peer.message("welcome")


async def test_a_stranger_can_t_renew_a_connection(gateway: Gateway) -> None:
    """Who knows its id needs a token that holds, of the same environment; else it stays as it is."""
    viewer = await gateway.websocket()
    await viewer.open(gateway.bearer())
    connection = (await viewer.message("welcome"))["connection"]
    path = f"/v1/connections/{connection}/token"
    for make, code in BAD.values():
        answer = await post(gateway, path, b"", credential=make(gateway))
        assert (answer.status, answer.problem["code"]) == (401, code)
    theirs = gateway.token(keys=gateway.others)
    answer = await post(gateway, path, b"", credential=theirs)
    assert (answer.status, answer.problem["code"]) == (401, "token_invalid")
    assert (await gateway.ask(path, gateway.bearer())).status == 405
    await gateway.check_serves(viewer)


async def test_a_one_time_token_is_not_used_up_by_mistakes(gateway: Gateway) -> None:
    """A feed that is not allowed, a query that means nothing; then it opens one thing, and no second one."""
    once = gateway.token(["read:runs:run_1"], one_time=True)
    bearer = f"Authorization: Bearer {once}"
    for target in ("/v1/events?run=run_2", "/v1/events?rnu=run_1", "/v1/runs/run_2", "/v1/runs/run_1?x=y"):
        assert (await gateway.ask(target, bearer)).status in (400, 403)
    peer = await gateway.websocket()
    await peer.open(bearer)
    peer.send(say({"type": "subscribe", "run": "run_1"}))
    assert [(await peer.message("welcome"))["type"], (await peer.message("snapshot"))["feed"]] == [
        "welcome",
        "run:run_1",
    ]
    for target in ("/v1/events?run=run_1", "/v1/runs/run_1"):
        assert (await gateway.ask(target, bearer)).problem["code"] == "token_used"
    again = await gateway.websocket()
    await again.open(bearer)
    assert (await again.error())["code"] == "token_used"
    assert (await again.end()).code == 4401
    peer.send(say({"type": "authenticate", "token": once}))
    assert (await peer.error())["code"] == "token_used"
    await gateway.check_serves(await gateway.viewer())
