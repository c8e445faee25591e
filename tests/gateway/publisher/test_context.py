"""What a job may know of itself, and how failures are told."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import BadChange
from gateway.publisher.context import check_context
from gateway.publisher.failures import MAX_CAUSES, MAX_MESSAGE, MAX_STACK, error_column

WHOLE: dict[str, Any] = {
    "task": {"id": "resize", "exportName": "resize", "filePath": "jobs/resize.py"},
    "attempt": {
        "id": "attempt_1",
        "number": 1,
        "startedAt": "2026-01-31T10:00:00.123Z",
        "status": "EXECUTING",
        "backgroundWorkerId": "w",
        "backgroundWorkerTaskId": "wt",
    },
    "run": {
        "id": "run_1",
        "tags": ["a"],
        "isTest": False,
        "isReplay": False,
        "createdAt": "2026-01-31T10:00:00.123Z",
        "startedAt": "2026-01-31T10:00:00.123Z",
        "idempotencyKey": "k",
        "maxAttempts": 3,
        "durationMs": 0,
        "costInCents": 0.5,
        "baseCostInCents": 0.1,
        "version": "20260131.1",
        "maxDuration": 300,
    },
    "queue": {"id": "q", "name": "default"},
    "environment": {
        "id": "e",
        "slug": "prod",
        "type": "PRODUCTION",
        "branchName": "main",
        "git": {
            "author": "Ada",
            "message": "Fix",
            "ref": "main",
            "sha": "abc",
            "dirty": False,
            "remote": "origin",
            "pullRequest": {"number": 1, "title": "Fix", "state": "open"},
        },
    },
    "organization": {"id": "o", "slug": "o", "name": "O"},
    "project": {"id": "p", "ref": "proj", "slug": "p", "name": "P"},
    "batch": {"id": "b"},
    "machine": {"name": "small", "cpu": 0.5, "memory": 1, "centsPerMs": 0.001},
}


def test_every_part_and_field_is_known() -> None:
    assert check_context(WHOLE) == WHOLE


@pytest.mark.parametrize("part", sorted(WHOLE))
def test_each_part_is_optional(part: str) -> None:
    assert check_context({part: WHOLE[part]}) == {part: WHOLE[part]}


def test_what_is_not_known_is_left_out() -> None:
    assert check_context({"machine": {"cpu": None, "name": "x"}, "batch": None}) == {"machine": {"name": "x"}}


@pytest.mark.parametrize(
    ("context", "named"),
    [
        ({"nonsense": {}}, "'nonsense'"),
        ({"task": {"nonsense": 1}}, "context.task has no 'nonsense'"),
        ({"task": "resize"}, "context.task is an object"),
        ({"attempt": {"number": "1"}}, "context.attempt.number is int"),
        ({"attempt": {"number": True}}, "context.attempt.number is int"),
        ({"run": {"tags": "a"}}, "context.run.tags is list or tuple"),
        ({"environment": {"git": {"pullRequest": {"url": "x"}}}}, "context.environment.git.pullRequest has no 'url'"),
        ([], "context is an object"),
    ],
)
def test_what_can_be_no_context_is_named(context: Any, named: str) -> None:
    with pytest.raises(BadChange) as caught:
        check_context(context)
    assert named in str(caught.value)


def raised(make: Any) -> BaseException:
    try:
        make()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_cause_that_was_suppressed_is_not_told() -> None:
    def fail() -> None:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    assert "causes" not in error_column(raised(fail))


def test_a_context_is_a_cause() -> None:
    def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("then")  # noqa: B904

    assert [cause["name"] for cause in error_column(raised(fail))["causes"]] == ["KeyError"]


def test_causes_in_a_circle_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert len(error_column(first)["causes"]) == 1


def test_a_failure_is_bounded() -> None:
    error: BaseException = ValueError("x" * 10 * MAX_MESSAGE)
    for _ in range(3 * MAX_CAUSES):
        error, error.__cause__ = ValueError("x" * 10 * MAX_MESSAGE), error
    outer = ValueError("outer")
    outer.__cause__ = error
    column = error_column(outer)
    assert len(column["causes"]) <= MAX_CAUSES
    assert all(len(cause["message"]) <= MAX_MESSAGE for cause in column["causes"])
    assert all(len(cause["stackTrace"]) <= MAX_STACK + 1 for cause in column["causes"])


def test_an_exception_that_cannot_be_printed_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    column = error_column(Mute())
    assert column["name"] == "Mute"
    assert column["message"]
