"""Somebody who asks as the official Trigger.dev clients do, and looks closely at how they are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.gateway.api.asking import Asking

if TYPE_CHECKING:
    from auth import Permissions
    from tests.gateway.serving import ServedGateway

#: What their clients send with every request of theirs (Trigger.dev realtime protocol, section 0.1).
HEADERS = {
    "content-type": "application/json",
    "trigger-version": "4.8.3",
    "x-trigger-api-version": "2025-07-16",
    "x-trigger-source": "sdk",
    "x-trigger-realtime-streams-version": "v2",
}


class TheirAsking(Asking):
    """One of their clients with one credential."""

    def __init__(self, gateway: ServedGateway, credential: str | None = None) -> None:
        super().__init__(gateway, credential, **HEADERS)

    def with_token(self, scopes: Permissions | list[str], **options: Any) -> TheirAsking:
        return TheirAsking(self.gateway, self.gateway.token(scopes, **options))

    async def fails(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """The body of an error of that status, and its headers: checked for what their clients need of one."""
        if body is not None:
            options["json"] = body
        answer = await self.client.request(method, path, **options)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-should-retry"] in ("true", "false")
        error: dict[str, Any] = answer.json() if method != "HEAD" else {"error": "unseen"}
        assert isinstance(error["error"], str)
        assert error["error"]
        assert self.credential not in answer.text
        assert "Traceback" not in answer.text
        return error | {"headers": answer.headers}
