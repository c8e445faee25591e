"""Somebody who asks a gateway over HTTP, and looks closely at what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import httpx2

if TYPE_CHECKING:
    from auth import Permissions
    from tests.gateway.serving import ServedGateway


class Asking:
    """One client with one credential: the secret key, unless another is given."""

    def __init__(self, gateway: ServedGateway, credential: str | None = None, **headers: str) -> None:
        self.gateway = gateway
        self.credential = gateway.secret if credential is None else credential
        headers = {"authorization": f"Bearer {self.credential}", **headers}
        self.client = httpx2.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False)

    def with_token(self, scopes: Permissions | list[str], **options: Any) -> Asking:
        """Another client, with a public token."""
        return Asking(self.gateway, self.gateway.token(scopes, **options))

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **options: Any) -> Any:
        """What is answered, if it is with *status*; the decoded body, or the whole answer when it has none."""
        if body is not None:
            options["json"] = body
        answer = await self.client.request(method, path, **options)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else answer

    async def create(self, run: str = "run_1", **said: Any) -> Any:
        return await self.ask("POST", "/v1/runs", {"taskIdentifier": "export", "id": run, **said}, status=201)

    async def refused(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """The problem that is answered: checked for its form, and that it does not leak what it should not."""
        if body is not None:
            options["json"] = body
        answer = await self.client.request(method, path, **options)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        problem: dict[str, Any] = answer.json()
        assert problem["status"] == answer.status_code
        assert problem.keys() >= {"title", "detail", "code", "retry"}
        assert self.credential not in answer.text
        assert "Traceback" not in answer.text
        return problem | {"headers": answer.headers}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
