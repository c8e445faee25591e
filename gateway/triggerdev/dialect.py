"""How the official clients of Trigger.dev ask, and how they are refused (Trigger.dev realtime protocol, section 0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api.calls import Answer
from gateway.api.dialect import Dialect
from gateway.triggerdev import refusals

if TYPE_CHECKING:
    from gateway.errors import GatewayError


class TriggerDialect(Dialect):
    """
    What we don't know in a request is passed over: these clients say more than any server needs. But for filters: a
    list that passed one over would show what was not asked for.
    """

    key_header = "x-trigger-request-idempotency-key"
    needs_media_type = False

    def ignores(self, parameter: str) -> bool:
        return not parameter.startswith("filter")

    def refused(self, error: GatewayError) -> Answer:
        return _answer(*refusals.refusal(error))

    def method_not_allowed(self, method: str, allowed: str) -> Answer:
        return _answer(*refusals.method_not_allowed(method, allowed))

    def internal_error(self) -> Answer:
        return _answer(*refusals.internal_error())


def _answer(status: int, headers: refusals.Headers, body: bytes) -> Answer:
    kept = tuple((name.decode(), value.decode()) for name, value in headers if name != b"content-type")
    return Answer(status, body, kept)


TRIGGERDEV: Final = TriggerDialect()
