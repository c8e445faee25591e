"""Which scopes open what (Trigger.dev realtime protocol, sections 2.4 and 2.5)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from auth.tokens import _sign

if TYPE_CHECKING:
    from tests.gateway.triggerdev.asking import TheirAsking

RUN: dict[str, Any] = {"tags": ["user:42", "other"], "batchId": "batch_1"}

READ_RUN = ("GET", "/api/v3/runs/run_1")
READ_BATCH = ("GET", "/api/v2/batches/batch_1")
LIST = ("GET", "/api/v1/runs")
LIST_TASKS = ("GET", "/api/v1/runs?filter%5BtaskIdentifier%5D=export,import")
CANCEL = ("POST", "/api/v2/runs/run_1/cancel")

#: Request → sets of scopes with which it is allowed, and with which it is not.
MATRIX = {
    READ_RUN: (
        [
            *(["read:runs"], ["read:runs:run_1"], ["read:tasks"], ["read:tasks:export"], ["read:tags"]),
            *(["read:tags:user:42"], ["read:tags:other"], ["read:batch"], ["read:batch:batch_1"], ["admin"]),
            *(["read:all"], ["*:runs"], ["*:all"], ["read:runs:run_2", "read:tags:other"]),
        ],
        [
            *([], ["read"], ["*"], ["all"], ["read:"], ["read:runs:"], ["admin:"], ["admin:runs"], ["read:runs:run_2"]),
            *(["read:tags:user"], ["read:tags:42"], ["read:batch:batch_2"], ["write:runs"], ["write:all"], [":runs"]),
            *(["read:tasks:import"], ["READ:runs"], ["trigger:tasks:export"]),
        ],
    ),
    READ_BATCH: (
        [["read:batch"], ["read:batch:batch_1"], ["read:runs"], ["admin"], ["read:all"]],
        [["read:runs:run_1"], ["read:tags:other"], ["read:tasks:export"], ["read:batch:b"], ["write:batch"], ["read"]],
    ),
    LIST: (
        [["read:runs"], ["read:tasks"], ["admin"], ["*:tasks"], ["read:all"]],
        [["read:runs:run_1"], ["read:tasks:export"], ["read:tags"], ["read:batch"], ["write:runs"], ["read"]],
    ),
    LIST_TASKS: (
        [["read:runs"], ["read:tasks"], ["read:tasks:export", "read:tasks:import"], ["admin"]],
        [["read:tasks:export"], ["read:tasks:import"], ["read:tasks:export", "read:runs:run_1"], ["read:tags"]],
    ),
    CANCEL: (
        [["write:runs"], ["write:runs:run_1"], ["write:tasks"], ["write:tasks:export"], ["admin"], ["*:all"]],
        [
            ["read:runs"],
            ["write:tags:other"],
            ["write:batch:batch_1"],
            ["write:runs:run_2"],
            ["write"],
            ["write:runs:"],
        ],
    ),
}


@pytest.mark.parametrize("request_", MATRIX, ids=lambda request_: request_[1])
async def test_scopes_open_what_they_name(api: TheirAsking, request_: tuple[str, str]) -> None:
    """And nothing else: 403, not to be repeated. A secret key opens everything."""
    method, path = request_
    allowed, refused = MATRIX[request_]
    await api.create(**RUN)

    await api.ask(method, path)
    for scopes in allowed:
        async with api.with_token(scopes) as viewer:
            await viewer.ask(method, path)
    for scopes in refused:
        async with api.with_token([]) as viewer:
            # Signed as their SDK signs: with blank parts, too, which ours would not.
            viewer.client.headers["authorization"] = f"Bearer {signed(api, scopes)}"
            error = await viewer.fails(403, method, path)
            assert error["headers"]["x-should-retry"] == "false"
            assert "user:42" not in error["error"]


def signed(api: TheirAsking, scopes: list[str]) -> str:
    """A token with these scopes as they are."""
    claims = {"sub": api.gateway.keys.environment, "pub": True, "scopes": scopes, "exp": int(time.time()) + 900}
    fixed = {"iss": "https://id.trigger.dev", "aud": "https://api.trigger.dev"}
    return _sign({**claims, **fixed}, api.gateway.keys.current)


async def test_what_is_not_there_is_not_found_before_it_is_forbidden(api: TheirAsking) -> None:
    """What is read: 404, to be tried again for a while. What is written: whoever may not is told so first."""
    async with api.with_token(["read:tags:x"]) as viewer:
        for path in ("/api/v3/runs/none", "/api/v2/batches/none"):
            error = await viewer.fails(404, "GET", path)
            assert error["headers"]["x-should-retry"] == "true"
        await viewer.fails(403, "POST", "/api/v2/runs/none/cancel")
    await api.fails(404, "POST", "/api/v2/runs/none/cancel")
