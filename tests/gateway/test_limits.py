"""Shares: what is over a limit is refused, with when to come back; what others take makes no difference."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TooManyChanges, TooManyConnections, TooManyRequests
from gateway.limits import Bucket, Hearing, Quotas


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def quotas(clock: Clock | None = None, **limits: Any) -> tuple[Quotas, Counter[tuple[str, str]]]:
    hits: Counter[tuple[str, str]] = Counter()
    standard = {
        "connections_per_environment": 3,
        "connections_per_token": 2,
        "requests_per_second": 10,
        "token_requests_per_second": 5,
        "changes_per_second": 4,
    }
    return Quotas(**standard | limits, hits=hits, clock=clock or Clock()), hits


def test_a_bucket_gives_a_second_s_worth_at_once_and_then_its_rate() -> None:
    bucket = Bucket(10, now=0.0)

    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1) == 0.0
    assert bucket.take(0.15) == pytest.approx(0.05)


def test_a_bucket_of_less_than_one_a_second_gives_one() -> None:
    bucket = Bucket(0.5, now=0.0)

    assert bucket.take(0.0) == 0.0
    assert bucket.take(0.0) == pytest.approx(2.0)


def test_more_than_a_burst_is_owed() -> None:
    """Ten chunks at four a second are taken together, and the next one waits until they are paid."""
    bucket = Bucket(4, now=0.0)

    assert bucket.take(0.0, 10) == 0.0
    assert bucket.take(0.0) == pytest.approx(7 / 4)


@given(st.lists(st.floats(0, 3), max_size=200), st.integers(1, 50))
def test_nobody_gets_more_than_the_rate(pauses: list[float], rate: int) -> None:
    """Whenever somebody asks: never more than a burst and the rate times the time."""
    bucket, now, taken = Bucket(rate, now=0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0.0
        assert taken <= rate + now * rate + 1e-6


def test_an_environment_has_so_many_connections() -> None:
    limited, hits = quotas(connections_per_token=10)
    for token in ("a", "b", "c"):
        limited.check_connection("env", token)
        limited.connect("env", token)

    with pytest.raises(
        TooManyConnections, match="this environment may have 3 connections open; come back in"
    ) as refused:
        limited.check_connection("env", "d")
    limited.check_connection("other", "d")

    assert refused.value.retry
    assert 2 <= (refused.value.retry_after_seconds or 0) <= 10
    assert hits == {("connections_per_environment", "env"): 1}


def test_a_token_has_so_many_connections() -> None:
    """A secret key is no token."""
    limited, hits = quotas(connections_per_environment=100)
    for token in ("a", "a", None, None, None):
        limited.connect("env", token)

    with pytest.raises(TooManyConnections, match="this token may have 2"):
        limited.check_connection("env", "a")
    limited.check_connection("env", "b")
    limited.check_connection("env", None)

    limited.disconnect("env", "a")
    limited.check_connection("env", "a")
    assert hits == {("connections_per_token", "env"): 1}


def test_what_was_given_back_leaves_nothing() -> None:
    limited, _ = quotas()
    limited.connect("env", "a")
    limited.disconnect("env", "a")

    assert not limited._connections
    assert not limited._of_tokens


def test_requests_come_at_a_rate() -> None:
    clock = Clock()
    limited, hits = quotas(clock)
    for _ in range(5):
        limited.check_request("env", "a")

    with pytest.raises(TooManyRequests, match="this token may ask 5 times a second") as refused:
        limited.check_request("env", "a")
    for _ in range(4):
        limited.check_request("env", None)
    with pytest.raises(TooManyRequests, match="this environment may ask 10 times a second"):
        limited.check_request("env", None)
    limited.check_request("other", None)

    clock.now += refused.value.retry_after_seconds or 0
    limited.check_request("env", "a")
    assert hits == {("token_requests_per_second", "env"): 1, ("requests_per_second", "env"): 1}


def test_tokens_that_don_t_ask_any_more_are_forgotten() -> None:
    clock = Clock()
    limited, _ = quotas(clock, requests_per_second=1_000_000)
    for number in range(25_000):
        clock.now += 0.001
        limited.check_request("env", number)

    assert len(limited._token_requests) <= 10_000


def test_changes_come_at_a_rate() -> None:
    limited, hits = quotas()
    limited.check_changes("env", 4)

    with pytest.raises(TooManyChanges, match="may write 4 changes a second"):
        limited.check_changes("env")
    limited.check_changes("other")

    assert hits == {("changes_per_second", "env"): 1}


def test_what_is_heard_too_fast_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many in a second; then nothing until it is over, and those who catch up do so one after the other."""
    clock = Clock()
    monkeypatch.setattr("gateway.limits.time.monotonic", clock)
    hits: Counter[tuple[str, str]] = Counter()
    hearing = Hearing(100, "env", hits)

    assert [hearing.hear() for _ in range(100)] == [True] * 100
    assert hearing.turn() == 0.0
    assert [hearing.hear() for _ in range(500)] == [False] * 500
    assert hits == {("changes_per_second", "env"): 1}
    turns = [hearing.turn() for _ in range(3)]
    assert turns == pytest.approx([1.0, 1.002, 1.004])

    clock.now += 1.0
    assert hearing.hear()
    clock.now += 5.0
    assert hearing.turn() == 0.0
