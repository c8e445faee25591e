"""Tags and metadata of a run: their limits, and what users wrote, which survives byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.changes import Limits, Operation, Operator
from gateway.codec import decode_json
from gateway.store.writing import Answer
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


def set_to(key: str, value: object) -> Operation:
    return Operation(Operator.SET, key, value)


# Tags


def test_a_run_carries_ten_tags(changing: Changing) -> None:
    """The eleventh is refused with the whole change, which can be said again without it."""
    changing.create(tags=[f"t{number}" for number in range(9)])
    assert changing.apply(tags=["t9", "t1"]).outcome is Answer.APPLIED
    assert changing.apply(status="EXECUTING", tags=["t10"]).outcome is Answer.TOO_MANY_TAGS
    assert changing.row()["status"] == "PENDING"
    assert changing.row()["runTags"] == [f"t{number}" for number in range(10)]


def test_tags_that_look_alike_are_different(changing: Changing) -> None:
    """A tag is never taken for a part of another, nor for a pattern."""
    tags = ["a", "aa", "%a", ".", "a:b", "ü{}", "a b"]
    changing.create(tags=tags[:3])
    changing.apply(tags=tags)
    assert changing.row()["runTags"] == tags


# Metadata


def test_a_document_over_its_limit_is_refused_with_its_size(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    with each_redis_server.client() as client:
        changing = Changing(client, environment, limits=Limits(metadata_bytes=100))
        changing.create(operations=[set_to("a", "x" * 80)])
        refused = changing.apply(status="EXECUTING", operations=[set_to("b", "x" * 80)])
        assert refused.outcome is Answer.TOO_LARGE
        assert refused.sequence == 2 * (80 + 2 + 1 + 4)
        assert changing.row()["status"] == "PENDING"
        assert changing.metadata().keys() == {"a"}


def test_a_document_that_is_too_large_already_may_shrink(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    with each_redis_server.client() as client:
        Changing(client, environment).create(operations=[set_to("a", "x" * 200), set_to("b", "x" * 200)])
        changing = Changing(client, environment, limits=Limits(metadata_bytes=100))
        assert changing.apply(operations=[Operation(Operator.DELETE, "a")]).outcome is Answer.APPLIED
        assert changing.apply(operations=[set_to("c", 1)]).outcome is Answer.TOO_LARGE


def test_operations_computed_from_another_version_conflict(changing: Changing) -> None:
    changing.create(operations=[set_to("a", 1)])
    version = int(changing.stored()["_version"])
    changing.apply(operations=[set_to("a", 2)])
    refused = changing.apply(triples=[("set", "a", b"3")], version=version)
    assert refused.outcome is Answer.CONFLICT
    assert changing.metadata() == {"a": 2}
    assert changing.apply(triples=[("set", "a", b"3")], version=version + 1).outcome is Answer.APPLIED


def test_named_operations_are_applied_once(changing: Changing) -> None:
    """Whoever had no answer asks again under the same name, and nothing counts twice; the status still arrives."""
    changing.create()
    operations = [Operation(Operator.INCREMENT, "n", 1), Operation(Operator.APPEND, "log", "x")]
    changing.apply(operations=operations, once="aaaaaaaa")
    again = changing.apply(operations=operations, once="aaaaaaaa")
    changing.apply(status="EXECUTING", operations=operations, once="aaaaaaaa")
    changing.apply(operations=operations, once="bbbbbbbb")
    assert again.outcome is Answer.UNCHANGED
    assert changing.metadata() == {"n": 2, "log": ["x", "x"]}
    assert changing.row()["status"] == "EXECUTING"


def test_a_sum_that_json_has_no_number_for_is_not_stored(changing: Changing) -> None:
    changing.create(metadata={"n": 1e308})
    changing.apply(operations=[Operation(Operator.INCREMENT, "n", 1e308)])
    assert changing.metadata() == {"n": 1e308}


_TEXTS = [
    '{"empty":[],"object":{},"nested":[[],{}]}',
    "12345678901234567",
    "-9223372036854775808",
    "1.0",
    '"ü 日本 \U0001f600 \\u2028 \\" \\\\ / %s %1 \\u0000"',
    "[]",
    "{}",
    "null",
    "false",
]


@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("key", ["k", "a/b", 'qu"ote', "ba\\ck", "ü", "", "12", "$x", "new\nline", "%d"])
def test_what_users_wrote_survives_byte_for_byte(changing: Changing, key: str, text: str) -> None:
    """In the row, in metadata, through appending, and in the event."""
    changing.create()
    with changing.listen() as listening:
        changing.apply(triples=[("set", key, text.encode()), ("append", "list", text.encode())])
        changing.apply(triples=[("append", "list", text.encode())])
        events = dict(listening.heard()[::2])
    assert changing.raw_metadata() == {key: text, "list": f"[{text},{text}]"}
    assert events["run:run_1"].metadata in (
        {"list": [decode_json(text)] * 2},
        {key: decode_json(text), "list": [decode_json(text)]},
    )


def test_columns_survive_byte_for_byte(changing: Changing) -> None:
    value = {"list": [], "object": {}, "number": 12345678901234567, "text": 'ü"\\/\n'}
    changing.create(initial={"payload": value})
    changing.apply(columns={"output": value})
    assert changing.stored()["payload"] == changing.stored()["output"]
    assert changing.row()["output"] == value
