"""Who asks a run to stop, first, and for how long that holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import cancel_request
from gateway.errors import BadChange
from gateway.store.writing import Answer

if TYPE_CHECKING:
    from tests.gateway.store.watching import Watching


def asks(watching: Watching, reason: str | None = None, run: str = "run_1") -> Answer:
    wish = cancel_request(run, reason)
    columns = {"cancelRequestedAt": int(wish.columns["cancelRequestedAt"]), "cancelReason": reason}
    return watching.apply(run, columns=columns).outcome


def test_who_asks_first_is_remembered(watching: Watching) -> None:
    """Also with what was not said: a reason belongs to whoever asked."""
    watching.start(lease=None)
    assert asks(watching) is Answer.APPLIED
    first = watching.row()
    assert asks(watching, "me too") is Answer.UNCHANGED
    assert watching.row() == first
    assert first["cancelRequestedAt"] == pytest.approx(time.time() * 1000, abs=5_000)
    assert "cancelReason" not in first


def test_a_run_that_has_ended_is_asked_nothing(watching: Watching) -> None:
    watching.start(lease=None)
    watching.apply(status="COMPLETED")
    assert asks(watching) is Answer.UNCHANGED
    assert "cancelRequestedAt" not in watching.row()
    assert asks(watching, run="none") is Answer.MISSING


def test_a_wish_holds_until_the_run_has_ended(watching: Watching) -> None:
    """The attempt that follows a failure or a lost worker is asked, too; one that begins anew is not."""
    for end, kept in (("RETRYING_AFTER_FAILURE", True), ("CRASHED", True), ("CANCELED", False), ("COMPLETED", False)):
        run = end.lower()
        watching.start(run, lease=None)
        asks(watching, "enough", run)
        watching.apply(run, status=end)
        watching.apply(run, status="EXECUTING", attempt=2)
        assert watching.row(run).get("cancelReason") == ("enough" if kept else None), end
        assert ("cancelRequestedAt" in watching.row(run)) == kept, end


@pytest.mark.parametrize("reason", ["x" * 1_001, 7])
def test_a_reason_is_a_short_text(reason: Any) -> None:
    with pytest.raises(BadChange, match="a reason is text"):
        cancel_request("run_1", reason)
