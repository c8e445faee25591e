"""Who is let in, and to what: lines 17 to 26 of the checklist in the Trigger.dev realtime protocol, section 11."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from auth import EnvironmentKeys, UnusableSecret, generate_secret_key, mint
from tests.conformance.world import CLIENT_HEADERS, ORIGIN, segment

if TYPE_CHECKING:
    import httpx2

    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ISSUER, AUDIENCE = "https://id.trigger.dev", "https://api.trigger.dev"
RESTRICTED: Final = re.compile(r"tr_(dev|stg|prod|preview)_sk_[0-9a-zA-Z]{24}")


def signed(claims: dict[str, Any], secret: str, header: dict[str, Any] | None = None) -> str:
    """A token as the SDK signs one, by hand: nothing of it is checked."""
    parts = [_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (header or {"alg": "HS256"}, claims)]
    signature = hmac.digest(secret.encode(), ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, _base64(signature)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(world: World, **changed: Any) -> dict[str, Any]:
    """What the SDK puts into a public token; None takes a claim out."""
    now = int(time.time())
    whole = {
        "sub": world.environment,
        "pub": True,
        "scopes": ["read:runs"],
        "iat": now,
        "exp": now + 900,
        "iss": ISSUER,
        "aud": AUDIENCE,
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def told(answer: httpx2.Response, status: int) -> None:
    """It has *status*, and a JSON object with an error."""
    assert answer.status_code == status, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"].startswith("application/json")
    assert isinstance(answer.json()["error"], str)


async def test_t17_a_token_that_the_sdk_signed_is_good(world: World) -> None:
    """HS256 over the claims, with the bytes of the root key."""
    path = f"/realtime/v1/runs/{world.run().id}?offset=-1"

    for good in (claims(world), claims(world, otu=False), claims(world, realtime={"skipColumns": []})):
        answer = await world.ask(path, bearer=signed(good, world.secret))
        assert answer.status_code == 200, answer.text


BAD_CLAIMS: Final[dict[str, dict[str, Any]]] = {
    "another issuer": {"iss": "https://id.example.com"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://api.example.com"},
    "no audience": {"aud": None},
    "over": {"exp": 1_700_000_000},
    "without end": {"exp": None},
    "an environment that is not there": {"sub": "elsewhere"},
    "no environment": {"sub": None},
    "not public": {"pub": False},
}


@pytest.mark.parametrize("path", ["/realtime/v1/runs?offset=-1", "/api/v1/runs"])
@pytest.mark.parametrize("name", BAD_CLAIMS)
async def test_t17_a_token_with_wrong_claims_is_refused(world: World, name: str, path: str) -> None:
    """401 on feeds and elsewhere."""
    told(await world.ask(path, bearer=signed(claims(world, **BAD_CLAIMS[name]), world.secret)), 401)


async def test_t17_a_token_with_another_signature_or_algorithm_is_refused(world: World) -> None:
    """Nobody chooses how we verify."""
    right = signed(claims(world), world.secret)
    head, body, signature = right.split(".")
    none, rs256 = ({"alg": name} for name in ("none", "RS256"))
    wrong = {
        "another key": signed(claims(world), generate_secret_key()),
        "the key of another environment": signed(claims(world), world.others.current.secret),
        "none": signed(claims(world), world.secret, none),
        "none, unsigned": signed(claims(world), world.secret, none).rpartition(".")[0] + ".",
        "RS256": signed(claims(world), world.secret, rs256),
        "no signature": f"{head}.{body}.",
        "another body": f"{head}.{_base64(json.dumps(claims(world, scopes=['admin'])).encode())}.{signature}",
    }
    for name, token in wrong.items():
        for path in ("/realtime/v1/runs?offset=-1", "/api/v1/runs"):
            answer = await world.ask(path, bearer=token)
            assert answer.status_code == 401, (name, path)


async def test_t18_a_retired_key_and_its_tokens_hold_for_a_day(world: World) -> None:
    """23 hours after the rotation they do, 25 hours after it they don't."""
    path = f"/realtime/v1/runs/{world.run().id}?offset=-1"
    for key, status in ((world.retired, 200), (world.forgotten, 401)):
        keys = EnvironmentKeys.of(world.environment, key)
        assert (await world.ask(path, bearer=key)).status_code == status
        assert (await world.ask(path, bearer=mint(["read:runs"], keys))).status_code == status
        assert (await world.ask("/api/v1/runs", bearer=key)).status_code == status


#: Scopes, and what they open of: the run, the tag feed, the tag feed of two tags, all runs, the batch.
READS: Final[dict[str, str]] = {
    "read:runs": "run one two all batch retrieve list",
    "read:runs:{run}": "run retrieve",
    "read:runs:another": "",
    "read:tasks": "run retrieve list",
    "read:tasks:resize": "run retrieve",
    "read:tasks:other": "",
    "read:tags": "run one two all retrieve",
    "read:tags:{tag}": "run one two retrieve",
    "read:tags:user": "",
    "read:batch": "run batch retrieve",
    "read:batch:{batch}": "run batch retrieve",
    "read:batch:another": "",
    "read:all": "run one two all batch retrieve list",
    "*:runs": "run one two all batch retrieve list",
    "admin": "run one two all batch retrieve list",
    # None of these grants anything to read.
    "read": "",
    "admin:runs": "",
    "admin:": "",
    "read:runs:": "",
    "read:": "",
    ":runs": "",
    "write:runs": "",
    "write:runs:{run}": "",
    "READ:RUNS": "",
    "runs:read": "",
}


@pytest.mark.parametrize("scope", READS)
async def test_t19_a_scope_opens_what_it_names_and_nothing_else(world: World, scope: str) -> None:
    """Ids keep their colons, an id is not the whole type, and scopes with an empty part count for nothing."""
    tag, batch = f"{world.new('user')}:42", world.new("batch")
    run = world.run(tags=[tag, "other"], batch=batch)
    named = scope.format(run=run.id, tag=tag, batch=batch)
    token = signed(claims(world, scopes=[named]), world.secret)
    paths = {
        "run": f"/realtime/v1/runs/{run.id}?offset=-1",
        "one": f"/realtime/v1/runs?tags={segment(tag)}&offset=-1",
        "two": f"/realtime/v1/runs?tags=other,{segment(tag)}&offset=-1",
        "all": "/realtime/v1/runs?offset=-1",
        "batch": f"/realtime/v1/batches/{batch}?offset=-1",
        "retrieve": f"/api/v3/runs/{run.id}",
        "list": "/api/v1/runs",
    }

    found = {name: (await world.ask(path, bearer=token)).status_code for name, path in paths.items()}

    assert found == {name: 200 if name in READS[scope].split() else 403 for name in paths}


async def test_t19_a_list_of_tasks_needs_every_one_of_them(world: World) -> None:
    """Or the type as a whole."""
    both = "filter[taskIdentifier]=resize,crop"
    wanted = {
        ("read:tasks:resize",): 403,
        ("read:tasks:resize", "read:tasks:crop"): 200,
        ("read:tasks",): 200,
        ("read:runs",): 200,
        ("read:runs:resize",): 403,
    }
    for scopes, status in wanted.items():
        answer = await world.ask(f"/api/v1/runs?{both}", bearer=world.token(*scopes))
        assert answer.status_code == status, scopes


WRITES: Final = {
    "write:runs:{run}": 200,
    "write:runs": 200,
    "write:tasks:resize": 200,
    "write:tasks": 200,
    "read:runs": 403,
    "write:runs:another": 403,
    "write:runs:": 403,
    "trigger:tasks:resize": 403,
}


@pytest.mark.parametrize("scope", WRITES)
async def test_t19_canceling_needs_a_scope_to_write_the_run_or_its_task(world: World, scope: str) -> None:
    """Reading does not do."""
    run = world.run()
    token = signed(claims(world, scopes=[scope.format(run=run.id)]), world.secret)

    answer = await world.ask(f"/api/v2/runs/{run.id}/cancel", "POST", bearer=token)

    assert answer.status_code == WRITES[scope], answer.text


async def test_t19_sending_input_needs_the_scope_of_that_run(world: World) -> None:
    """`write:inputStreams` of another run is not enough, nor is any right to read."""
    run = world.run()
    wanted = {
        f"write:inputStreams:{run.id}": 200,
        "write:inputStreams": 200,
        "write:inputStreams:another": 403,
        "read:runs": 403,
        "write:runs": 403,
        f"read:inputStreams:{run.id}": 403,
    }
    for scope, status in wanted.items():
        path = f"/realtime/v1/streams/{run.id}/input/approval"
        answer = await world.ask(path, "POST", bearer=world.token(scope), json={"data": 1})
        assert answer.status_code == status, (scope, answer.text)


async def test_t19_a_token_without_scopes_opens_nothing(world: World) -> None:
    """The claim may be missing; that grants nothing."""
    run = world.run()
    nothing: tuple[list[str] | None, ...] = (None, [])
    for absent in nothing:
        answer = await world.ask(
            f"/realtime/v1/runs/{run.id}?offset=-1", bearer=signed(claims(world, scopes=absent), world.secret)
        )
        told(answer, 403)


SECRET_ONLY: Final[dict[str, tuple[str, str, Any]]] = {
    "claims": ("POST", "/api/v1/auth/jwt/claims", None),
    "tokens": ("POST", "/api/v1/auth/public-tokens", {"scopes": ["read:runs"]}),
    "metadata": ("PUT", "/api/v1/runs/{run}/metadata", {"metadata": {}}),
    "read metadata": ("GET", "/api/v1/runs/{run}/metadata", None),
    "tags": ("POST", "/api/v1/runs/{run}/tags", {"tags": "a"}),
    "create a stream": ("PUT", "/realtime/v1/streams/{run}/self/tokens", None),
    "append": ("POST", "/realtime/v1/streams/{run}/self/tokens/append", {}),
    "probe": ("HEAD", "/realtime/v1/streams/{run}/self/tokens", None),
}


@pytest.mark.parametrize("name", SECRET_ONLY)
async def test_t19_what_only_a_secret_key_may_do_is_refused_to_the_mightiest_token(world: World, name: str) -> None:
    """With 401, as for a key that nobody knows."""
    method, path, body = SECRET_ONLY[name]
    target = path.format(run=world.run().id)
    options = {} if body is None else {"json": body}

    answer = await world.ask(target, method, bearer=world.token("admin", "write:all", "read:all"), **options)

    assert answer.status_code in (401, 403)
    if method != "HEAD":
        assert answer.json()["error"]


async def test_t20_another_environment_sees_nothing_and_changes_nothing(world: World) -> None:
    """Its key and its mightiest token: 404 for everything that is named, empty lists, never data."""
    tag, batch = world.new("tag"), world.new("batch")
    run = world.run(tags=[tag], batch=batch, payload={"secret": "of the first environment"})
    run.stream("tokens").write("secret")
    assert world.publisher.flush()
    mighty = mint(["admin"], world.others)
    paths = (
        f"/realtime/v1/runs/{run.id}?offset=-1",
        f"/realtime/v1/batches/{batch}?offset=-1",
        f"/realtime/v1/streams/{run.id}/tokens",
        f"/realtime/v1/streams/{run.id}/input/approval",
        f"/api/v3/runs/{run.id}",
        f"/api/v2/batches/{batch}",
    )
    for bearer in (world.others.current.secret, mighty):
        for answer in await asyncio.gather(*(world.ask(path, bearer=bearer) for path in paths)):
            told(answer, 404)
        assert (await world.ask(f"/api/v2/runs/{run.id}/cancel", "POST", bearer=bearer)).status_code == 404
        empty = await world.feed("runs", bearer=bearer, tags=tag).catch_up()
        assert empty.rows == {}
        assert run.id not in (await world.ask(f"/api/v1/runs?filter[tag]={tag}", bearer=bearer)).text

    other = world.others.current.secret
    for method, path, body in (
        ("PUT", f"/api/v1/runs/{run.id}/metadata", {"metadata": {"theirs": 1}}),
        ("GET", f"/api/v1/runs/{run.id}/metadata", None),
        ("POST", f"/api/v1/runs/{run.id}/tags", {"tags": "theirs"}),
        ("PUT", f"/realtime/v1/streams/{run.id}/self/theirs", None),
        ("POST", f"/realtime/v1/streams/{run.id}/self/theirs/append", "x"),
        ("POST", f"/realtime/v1/streams/{run.id}/input/theirs", {"data": 1}),
    ):
        answer = await world.ask(path, method, bearer=other, **({} if body is None else {"json": body}))
        assert answer.status_code == 404, (method, path)
    row = (await world.feed(f"runs/{run.id}").catch_up()).row
    assert "theirs" not in json.dumps(row)


async def test_t20_an_unknown_run_is_as_one_of_another_environment(world: World) -> None:
    """Nothing tells them apart."""
    run = world.run()
    nobodys = f"{run.id}x"
    for bearer in (world.others.current.secret, mint(["read:runs"], world.others)):
        asking = (world.ask(f"/realtime/v1/runs/{one}?offset=-1", bearer=bearer) for one in (run.id, nobodys))
        theirs, unknown = await asyncio.gather(*asking)
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.json() == unknown.json()


REFUSED: Final = {
    "/realtime/v1/runs/{run}?offset=-1": "GET",
    "/realtime/v1/runs?offset=-1": "GET",
    "/realtime/v1/batches/batch_1?offset=-1": "GET",
    "/realtime/v1/streams/{run}/tokens": "GET",
    "/realtime/v1/streams/{run}/input/approval": "POST",
    "/api/v3/runs/{run}": "GET",
    "/api/v1/runs": "GET",
    "/api/v2/runs/{run}/cancel": "POST",
    "/api/v2/batches/batch_1": "GET",
}


@pytest.mark.parametrize("path", REFUSED)
async def test_t21_a_refusal_is_json_that_a_page_may_read(world: World, path: str) -> None:
    """401 and 403, with the headers of CORS: without them a browser sees a lost connection, and asks for ever."""
    run = world.run(batch="batch_1")
    target, method = path.format(run=run.id), REFUSED[path]
    body = {"json": {"data": 1}} if "input" in path else {}
    for bearer, status in (("", 401), ("nonsense", 401), (world.token("read:nothing"), 403)):
        answer = await world.ask(target, method, bearer=bearer, headers={"origin": ORIGIN}, **body)
        told(answer, status)
        assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)


@pytest.mark.parametrize("path", REFUSED)
async def test_t21_a_preflight_needs_no_token(world: World, path: str) -> None:
    """Every header that the clients send may be sent; PUT, too, where it is used."""
    asked = ["authorization", "content-type", "last-event-id", "timeout-seconds", "x-trigger-stream-start"]
    asked += ["x-trigger-source", "x-trigger-client", "x-trigger-request-idempotency-key", *CLIENT_HEADERS]
    for method in {"GET", "PUT", REFUSED[path]}:
        answer = await world.http.options(
            path.format(run="run_1"),
            headers={
                "origin": ORIGIN,
                "access-control-request-method": method,
                "access-control-request-headers": ",".join(asked),
            },
        )
        assert answer.is_success, answer.text
        assert set(re.split(r",\s*", answer.headers["access-control-allow-headers"].lower())) >= set(asked)
        assert method in answer.headers["access-control-allow-methods"]


async def test_t21_the_headers_of_the_clients_are_exposed(world: World) -> None:
    """Those of section 0.4, by name or all."""
    answer = await world.ask(f"/api/v3/runs/{world.run().id}", headers={"origin": ORIGIN})

    exposed = set(re.split(r",\s*", answer.headers["access-control-expose-headers"].lower()))
    needed = {
        *("electric-offset", "electric-handle", "electric-cursor", "electric-schema", "x-trigger-jwt"),
        *("x-trigger-jwt-claims", "x-stream-version", "x-session-settled", "x-last-chunk-index"),
        *("x-should-retry", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"),
    }
    assert "*" in exposed or exposed >= needed


async def test_t25_the_claims_for_a_token_name_the_environment(world: World) -> None:
    """`sub` and `pub`; a token that is signed with them locally is good."""
    answer = await world.ask("/api/v1/auth/jwt/claims", "POST")
    assert answer.status_code == 200
    given = answer.json()
    assert (given["sub"], given["pub"]) == (world.environment, True)

    run = world.run()
    token = signed(claims(world, **given, scopes=[f"read:runs:{run.id}"]), world.secret)
    assert (await world.ask(f"/realtime/v1/runs/{run.id}?offset=-1", bearer=token)).status_code == 200

    told(await world.ask("/api/v1/auth/jwt/claims", "POST", bearer=""), 401)


async def test_t26_root_keys_are_never_taken_for_restricted_ones(world: World) -> None:
    """The newer SDK would not sign with them; one that looks so is refused at the start."""
    assert not any(RESTRICTED.fullmatch(generate_secret_key()) for _ in range(100))
    with pytest.raises(UnusableSecret):
        EnvironmentKeys.of("env", "tr_dev_sk_" + "a1B2" * 6)


async def test_t26_public_tokens_are_minted_for_whoever_cannot_sign(world: World) -> None:
    """What comes back opens what was asked for, once if it was asked so, and ends when it was said."""
    run = world.run()
    body = {"scopes": [f"read:runs:{run.id}"], "expirationTime": "1h", "realtime": {"skipColumns": ["payload"]}}
    answer = await world.ask("/api/v1/auth/public-tokens", "POST", json=body)
    assert answer.status_code == 200, answer.text
    token = answer.json()["token"]

    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert payload["scopes"] == body["scopes"]
    assert abs(payload["exp"] - time.time() - 3600) < 60
    feed = await world.feed(f"runs/{run.id}", bearer=token).catch_up()
    assert "payload" not in feed.row

    wrong: list[dict[str, Any]] = [
        *({}, {"scopes": []}, {"scopes": "read"}),
        *({"scopes": ["read:runs"], "expirationTime": "soon"}, {"scopes": ["read:runs"], "expirationTime": "31d"}),
    ]
    for bad in wrong:
        told(await world.ask("/api/v1/auth/public-tokens", "POST", json=bad), 400)
