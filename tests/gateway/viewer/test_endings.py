"""What the end of a connection calls for, and how long to wait then."""

from __future__ import annotations

import pytest

from gateway.errors import Misconfigured
from gateway.viewer.address import checked_token, is_loopback, websocket_url
from gateway.viewer.endings import Pauses, Verdict, of_close, of_status


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 4413, 4999])
def test_most_ends_call_for_coming_back(code: int) -> None:
    assert of_close(code, "").verdict is Verdict.COME_BACK


@pytest.mark.parametrize("code", [1003, 1007, 1009, 4400, 4403])
def test_what_would_happen_again_calls_for_staying_away(code: int) -> None:
    ending = of_close(code, "why")

    assert (ending.verdict, ending.reason, ending.code) == (Verdict.STAY_AWAY, "why", f"close_{code}")


@pytest.mark.parametrize("code", [4401, 4410])
def test_a_refused_token_calls_for_another_one(code: int) -> None:
    """The error that came before says more than the close code."""
    ending = of_close(code, "it expired", "token_expired")

    assert (ending.verdict, ending.code) == (Verdict.NEW_TOKEN, "token_expired")


@pytest.mark.parametrize(
    ("status", "before", "after"),
    [
        (401, Verdict.NEW_TOKEN, Verdict.NEW_TOKEN),
        (403, Verdict.STAY_AWAY, Verdict.STAY_AWAY),
        (404, Verdict.STAY_AWAY, Verdict.COME_BACK),
        (429, Verdict.COME_BACK, Verdict.COME_BACK),
        (502, Verdict.COME_BACK, Verdict.COME_BACK),
    ],
)
def test_what_a_proxy_answers_counts_as_a_moment_where_a_gateway_was_before(
    status: int, before: Verdict, after: Verdict
) -> None:
    assert of_status(status, known_good=False).verdict is before
    assert of_status(status, known_good=True).verdict is after


def test_pauses_are_drawn_below_a_limit_that_doubles_until_data_came() -> None:
    longest = Pauses(lambda low, high: high)
    drawn = [longest.next() for _ in range(9)]
    longest.reset()

    assert drawn == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert longest.next() == 0.25
    assert Pauses(lambda low, high: low).next() == 0


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        ("http://127.0.0.1:8787", "ws://127.0.0.1:8787/v1/ws"),
        ("https://example.com/runs/", "wss://example.com/runs/v1/ws"),
        ("wss://example.com", "wss://example.com/v1/ws"),
    ],
)
def test_the_socket_is_below_the_address_of_the_gateway(url: str, socket: str) -> None:
    assert websocket_url(url) == socket


@pytest.mark.parametrize("url", ["example.com", "ftp://a", "http://", "http://me:secret@a", "http://a?token=secret"])
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        websocket_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("token", ["", "a b", "a\n", "é"])
def test_what_can_not_be_in_a_header_is_no_token(token: str) -> None:
    with pytest.raises(Misconfigured):
        checked_token(token)


def test_this_machine_is_known_by_its_addresses() -> None:
    assert [is_loopback(f"http://{host}:1") for host in ("127.0.0.1", "127.1.2.3", "[::1]", "localhost")] == [True] * 4
    assert [is_loopback(f"http://{host}:1") for host in ("10.0.0.1", "example.com", "localhost.example")] == [False] * 3
