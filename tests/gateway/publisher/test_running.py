"""`running` is the whole life of a run, and the run that others in the same context find."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from gateway.publisher import Publisher, current_run
from tests.gateway.publisher.test_publisher import statuses

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing


def test_running_is_the_whole_life_of_a_run(publisher: Publisher, stored: Changing) -> None:
    with publisher.running("t", tags=["a"]) as run:
        assert current_run() is run
        with publisher.running("t") as inner:
            assert current_run() is inner
        assert current_run() is run
    assert current_run() is None
    assert statuses(stored, run.id) == ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]


def test_running_fails_with_what_is_raised(publisher: Publisher, stored: Changing) -> None:
    with pytest.raises(ZeroDivisionError), publisher.running("t", id="r"):
        _ = 1 / 0
    assert stored.row("r")["error"]["name"] == "ZeroDivisionError"
    assert current_run() is None


def test_who_begins_a_run_that_has_ended_is_told(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, since the job itself goes on: nobody will see what it says."""
    with publisher.running("t", id="r"):
        pass
    assert not caplog.messages
    with publisher.running("t", id="r"):
        pass
    (said,) = caplog.messages
    assert said.startswith("run r has ended")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_running_is_canceled_from_outside(publisher: Publisher, stored: Changing, error: type[BaseException]) -> None:
    with pytest.raises(error), publisher.running("t", id="r"):
        raise error
    assert stored.row("r")["status"] == "CANCELED"


def test_another_end_can_be_said_inside(publisher: Publisher, stored: Changing) -> None:
    with publisher.running("t", id="a") as run:
        run.complete({"n": 1})
    with publisher.running("t", id="b") as run:
        run.cancel("not needed")
    assert stored.row("a")["output"] == {"n": 1}
    assert stored.row("b")["status"] == "CANCELED"


def test_attaching_and_detaching(publisher: Publisher) -> None:
    """As hooks of a task queue do it, and as a block; in another thread there is no ambient run."""
    run = publisher.run("r")
    attachment = run.attach()
    assert current_run() is run
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(current_run()))
    thread.start()
    thread.join()
    assert seen == [None]
    attachment.detach()
    attachment.detach()
    assert current_run() is None
    with run as same:
        assert current_run() is same is run
    assert current_run() is None
