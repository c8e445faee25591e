"""Settings as a program builds them: what can't be right is refused by its name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.changes import Limits
from gateway.errors import Misconfigured
from gateway.settings import CHECKED, Settings
from gateway.store.redis_keys import Retention
from gateway.transports.sinks import SocketLimits

URL = "redis://localhost/0"
WHOLE = (
    *("unsent_limit_bytes", "message_bytes", "body_bytes", "feeds_per_connection", "workers"),
    *("connections_per_environment", "connections_per_token"),
)
RATES = ("requests_per_second", "token_requests_per_second", "changes_per_second")
SPANS = ("heartbeat_seconds", "stuck_seconds", "handshake_seconds", "drain_seconds")


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", -1), ("port", 65536), ("port", "8787"), ("metrics_port", 0), ("workers", 1.0), ("workers", True)]
    + [("workers", 1025), ("host", ""), ("host", "http://0.0.0.0"), ("host", "a\nb"), ("uds", ""), ("uds", "x" * 104)]
    + [("log_format", "xml"), ("log_level", "LOUD")]
    + [(name, value) for name in (*WHOLE, *RATES, *SPANS) for value in (0, -1, float("nan"), float("inf"), "1", None)],
)
def test_what_cannot_be_right_is_refused_by_its_name(field: str, value: Any) -> None:
    """Whoever builds them learns which one, what it is, and what would do."""
    with pytest.raises(Misconfigured, match=rf"^{field} is .*not ") as refused:
        Settings(redis_url=URL, **{field: value})

    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("limits.metadata_bytes", {"limits": Limits(metadata_bytes=0)}),
        ("limits.chunk_bytes", {"limits": Limits(chunk_bytes=-1)}),
        ("retention.finished_seconds", {"retention": Retention(finished_seconds=0)}),
        ("retention.streams_seconds", {"retention": Retention(streams_seconds=float("nan"))}),
    ],
)
def test_the_parts_are_checked_too(field: str, part: dict[str, Any]) -> None:
    """They are settings like any other."""
    with pytest.raises(Misconfigured, match=rf"^{field} is "):
        Settings(redis_url=URL, **part)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", None, True])
def test_a_span_that_may_be_none_is_checked_too(value: Any) -> None:
    """Nothing at all is an answer there."""
    with pytest.raises(Misconfigured, match=r"^shape_handle_grace_seconds is .*or 0, not "):
        Settings(redis_url=URL, shape_handle_grace_seconds=value)

    assert Settings(redis_url=URL, shape_handle_grace_seconds=0).shape_handle_grace_seconds == 0


def test_every_number_is_checked() -> None:
    """None that is added can be forgotten."""
    fields = {field.name for field in dataclasses.fields(Settings)} - {"redis_url", "limits", "retention"}
    fields -= {"origins", "embed_origins", "public_badges"}  # of which each has a type that can't be wrong
    parts = {f"limits.{field.name}" for field in dataclasses.fields(Limits)}
    parts |= {f"retention.{field.name}" for field in dataclasses.fields(Retention)}

    assert fields | parts == set(CHECKED)


def test_settings_do_not_change() -> None:
    """One object for all, so nobody may."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(redis_url=URL).port = 1  # type: ignore[misc]


def test_what_a_socket_may_hold_is_part_of_the_settings() -> None:
    """As the servers take it."""
    assert Settings(redis_url=URL, unsent_limit_bytes=5, message_bytes=7).socket_limits == SocketLimits(5, 7)
