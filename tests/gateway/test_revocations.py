"""What a revocation means, and what is known of all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.revocations import By, Revocation, Revoked, TokenMarks, key_of

NOW = 1_760_000_000_000
LATER = NOW + 1000

MARKS = TokenMarks("d" * 64, "j", "s", NOW / 1000)


def revocation(by: By, name: str = "", *, before: int = 0, until: int = LATER) -> Revocation:
    return Revocation(by, name, before, NOW, until)


@pytest.mark.parametrize(
    ("by", "name"), [(By.TOKEN, "d" * 64), (By.JTI, "j"), (By.SUBJECT, "s"), (By.TAG, "a:b"), (By.BEFORE, "")]
)
def test_a_token_is_found_by_each_of_its_names(by: By, name: str) -> None:
    """And by none of another token's, nor by a name of another kind."""
    revoked = Revoked()
    revoked.learn(revocation(by, name, before=NOW + 1), NOW)
    if by is not By.BEFORE:
        revoked.learn(revocation(by, "another", before=NOW + 1), NOW)

    found = revoked.find(MARKS, ["x", "a:b"])

    assert found is not None
    assert (found.by, found.name) == (by, name)
    nobody = TokenMarks("e" * 64, "k", "t", NOW / 1000)
    assert (revoked.find(nobody, ["b"]) is None) == (by is not By.BEFORE)
    mixed_up = TokenMarks("j", "s", "a:b", NOW / 1000)
    assert (revoked.find(mixed_up, ["j"]) is None) == (by is not By.BEFORE)


@pytest.mark.parametrize(
    ("issued_at", "covered"),
    [
        (NOW / 1000 - 1, True),
        (NOW / 1000 - 0.001, True),
        (NOW / 1000, False),
        (NOW / 1000 + 0.001, False),
        (None, True),
    ],
)
def test_a_revocation_up_to_a_moment_leaves_what_was_issued_later(issued_at: float | None, covered: bool) -> None:
    """To the millisecond; what does not say when it was issued counts as issued before."""
    revoked = Revoked()
    revoked.learn(revocation(By.SUBJECT, "s", before=NOW), NOW)

    assert (revoked.find(TokenMarks("", None, "s", issued_at), ()) is not None) == covered


def test_only_what_says_more_is_news() -> None:
    """Said again, or said with less, it changes nothing; whoever ends viewers is not woken for it."""
    revoked = Revoked()
    assert revoked.learn(revocation(By.SUBJECT, "s", before=5), NOW)
    for again in (revocation(By.SUBJECT, "s", before=5), revocation(By.SUBJECT, "s", before=4, until=LATER + 9)):
        assert not revoked.learn(again, NOW)
    assert revoked.learn(revocation(By.SUBJECT, "s", before=6), NOW)
    assert revoked.learn(revocation(By.SUBJECT, "s", before=6, until=LATER + 1), NOW)
    assert not revoked.learn(revocation(By.JTI, "j", until=NOW), NOW), "it is over"
    assert len(revoked) == 1
    assert revoked.newest == 6


def test_what_may_be_forgotten_is() -> None:
    """However many come, what is kept stays within twice of what holds."""
    revoked = Revoked()
    for number in range(10_000):
        revoked.learn(revocation(By.TOKEN, f"t{number}", until=NOW + number + 10), NOW + number)
        assert len(revoked) <= 64 + 1


@given(st.text(max_size=20), st.text(max_size=20))
def test_names_of_different_kinds_never_meet(first: str, second: str) -> None:
    """Whatever a name holds."""
    keys = [key_of(by, name) for by in By for name in {first, second}]

    assert len(set(keys)) == len(keys)
