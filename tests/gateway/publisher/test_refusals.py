"""What can't be stored is dropped and seen, and what can't be right is told at once; the job goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits, Outcome
from gateway.errors import BadChange, BadFeed, TooLarge
from gateway.publisher import Publisher
from gateway.store.redis_keys import run_key

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


def test_metadata_over_its_limit_is_dropped_and_the_status_is_sent(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, logged once per run; what was there stays."""
    limits = Limits(metadata_bytes=1000)
    with Publisher(redis_server.url, environment=environment, limits=limits) as publisher:
        run = publisher.create("t", metadata={"small": 1})
        run.set("big", "x" * 2000)
        run.set("big", "x" * 2000)
        assert run.complete() is Outcome.APPLIED
        assert publisher.statistics.dropped == {"metadata_too_large": 2}
    assert stored.metadata(run.id) == {"small": 1}
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"
    assert len([record for record in caplog.records if run.id in record.getMessage()]) == 1
    assert "the limit is 1000" in caplog.text


def test_an_output_over_its_limit_is_left_out_and_the_run_completes(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(redis_server.url, environment=environment, limits=Limits(output_bytes=100)) as publisher:
        run = publisher.create("t")
        assert run.complete("x" * 200) is Outcome.APPLIED
        assert publisher.statistics.dropped == {"output_too_large": 1}
    assert "output" not in stored.row(run.id)
    assert "output is 202 bytes" in caplog.text


def test_a_refused_change_is_dropped_and_not_tried_for_ever(
    publisher: Publisher, stored: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else's key where the run should be: counted, logged, and the next run goes well."""
    stored.client.set(run_key(stored.environment, "r"), "not a hash", ex=60)
    assert publisher.create("t", id="r").complete() is Outcome.DROPPED
    assert publisher.statistics.dropped == {"refused": 2}
    assert "WRONGTYPE" in caplog.text
    assert publisher.create("t").complete() is Outcome.APPLIED


# Wrong arguments are told at once


@pytest.mark.parametrize(
    "said",
    [
        lambda publisher: publisher.create(""),
        lambda publisher: publisher.create(7),
        lambda publisher: publisher.create(["t"]),
        lambda publisher: publisher.create("t", batch={"b": 1}),
        lambda publisher: publisher.create("t", tags=[["a"]]),
        lambda publisher: publisher.create("t", id=7),
        lambda publisher: publisher.create("t", number="7"),
        lambda publisher: publisher.create("t", ttl=[]),
        lambda publisher: publisher.create("t", id="a b"),
        lambda publisher: publisher.create("t", tags=["a,b"]),
        lambda publisher: publisher.create("t", tags="abc"),
        lambda publisher: publisher.create("t", tags=[str(number) for number in range(11)]),
        lambda publisher: publisher.create("t", payload=object()),
        lambda publisher: publisher.create("t", status="DONE"),
        lambda publisher: publisher.create("t", metadata={"k": object()}),
        lambda publisher: publisher.create("t", delay_until="tomorrow"),
        lambda publisher: publisher.run("r", attempt=0),
        lambda publisher: publisher.run("r", context={"nonsense": {}}),
        lambda publisher: publisher.run("r").start(context={"task": {"nonsense": 1}}),
        lambda publisher: publisher.run("r").start(context={"machine": {"cpu": "two"}}),
        lambda publisher: publisher.run("r").start(attempt="1"),
        lambda publisher: publisher.run("r").progress("half"),
        lambda publisher: publisher.run("r").progress(float("nan")),
        lambda publisher: publisher.run("r").progress(1, -1),
        lambda publisher: publisher.run("r").progress(1, 2, b"text"),
        lambda publisher: publisher.run("r").set("k", object()),
        lambda publisher: publisher.run("r").increment("k", "1"),
        lambda publisher: publisher.run("r").add_tags("a\nb"),
        lambda publisher: publisher.run("r").complete(object()),
        lambda publisher: publisher.run("r").status("DONE"),
    ],
)
def test_wrong_arguments_are_told_at_once(publisher: Publisher, said: Any) -> None:
    with pytest.raises((BadChange, BadFeed)) as caught:
        said(publisher)
    assert str(caught.value)
    assert publisher.statistics.sent == 0


def test_a_payload_over_its_limit_is_told_at_once(redis_server: RedisServer) -> None:
    with Publisher(redis_server.url, limits=Limits(payload_bytes=10)) as publisher, pytest.raises(TooLarge):
        publisher.create("t", payload="x" * 20)
