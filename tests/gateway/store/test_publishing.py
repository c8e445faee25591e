"""What is published of a change: to whom, and how much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.changes import Operation, Operator
from gateway.store.redis_keys import LARGE_COLUMN_BYTES
from tests.gateway.store.test_documents import set_to

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing


def test_a_change_is_published_once_per_feed_that_holds_the_run(changing: Changing) -> None:
    changing.create(tags=["a", "b"], initial={"batchId": "b1"})
    with changing.listen() as listening:
        changing.apply(status="EXECUTING")
        heard = listening.heard()
    assert sorted(feed for feed, _ in heard) == ["all", "batch:b1", "run:run_1", "tag:a", "tag:b", "task:resize"]
    assert all(event == heard[0][1] for _, event in heard)


def test_what_changes_nothing_is_not_published(changing: Changing) -> None:
    changing.create(tags=["a"])
    changing.apply(status="COMPLETED", operations=[set_to("a", 1)])
    with changing.listen() as listening:
        changing.apply(status="EXECUTING")
        changing.apply(status="COMPLETED")
        changing.apply(tags=["a"])
        changing.apply(columns={"output": None})
        changing.apply(operations=[set_to("a", 1), Operation(Operator.DELETE, "none")])
        changing.apply(operations=[set_to("a", 2), set_to("a", 1)])
        changing.apply(operations=[Operation(Operator.UPDATE, value={"a": 1})])
        changing.apply("other", status="EXECUTING")
        assert listening.heard() == []


def test_an_event_is_the_delta(changing: Changing) -> None:
    """Only what changed travels: columns, metadata by key, names of deleted keys, the transition."""
    created = changing.create(tags=["a"], metadata={"gone": 1, "stays": 2})
    with changing.listen() as listening:
        applied = changing.apply(
            status="EXECUTING", operations=[set_to("new", [1]), Operation(Operator.DELETE, "gone")]
        )
        event = listening.heard()[0][1]
    row = changing.row()
    assert (event.sequence, event.epoch, event.run) == (applied.sequence, created.epoch, "run_1")
    assert (event.created, event.tags, event.whole, event.added) == (row["createdAt"], ("a",), False, frozenset())
    assert event.columns == {
        "status": "EXECUTING",
        "startedAt": row["startedAt"],
        "updatedAt": row["updatedAt"],
    }
    assert (event.metadata, event.deleted) == ({"new": [1]}, ("gone",))
    assert event.transition is not None
    assert event.transition.status == "EXECUTING"
    assert event.transition.sequence == applied.sequence


def test_a_run_that_enters_a_feed_comes_whole(changing: Changing) -> None:
    """Created, or tagged later: whoever follows that feed knows nothing of the run yet."""
    changing.create(initial={"payload": {"x": []}}, metadata={"k": {}})
    with changing.listen() as listening:
        changing.apply(tags=["late"])
        heard = dict(listening.heard())
    event = heard["tag:late"]
    assert event.whole
    assert event.added == {"late"}
    assert event.columns == changing.row()
    assert event.metadata == {"k": {}}
    assert "tag:late" in heard


def test_large_columns_are_left_out_with_their_size(changing: Changing) -> None:
    """A change with a large output is published without it; the row has it."""
    text = "x" * LARGE_COLUMN_BYTES
    changing.create(initial={"payload": text})
    with changing.listen() as listening:
        changing.apply(status="COMPLETED", columns={"output": text})
        changing.apply(tags=["t"])
        delta, *_, whole = (event for _, event in listening.heard())
    assert "output" not in delta.columns
    assert delta.left_out == {"output": len(text) + 2}
    assert whole.left_out == {"output": len(text) + 2, "payload": len(text) + 2}
    assert changing.row()["output"] == text
