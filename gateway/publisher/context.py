"""
The context: what a job knows of itself, fixed when an attempt starts. Every part is optional, and so is every field.

The names are those of Trigger.dev's run context, so that what its users know can be read here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypedDict, get_type_hints

from gateway.errors import BadChange


class TaskContext(TypedDict, total=False):
    id: str
    exportName: str
    filePath: str


class AttemptContext(TypedDict, total=False):
    id: str
    number: int
    startedAt: str | datetime
    status: str
    backgroundWorkerId: str
    backgroundWorkerTaskId: str


class RunContext(TypedDict, total=False):
    id: str
    tags: list[str]
    isTest: bool
    isReplay: bool
    createdAt: str | datetime
    startedAt: str | datetime
    idempotencyKey: str
    maxAttempts: int
    durationMs: float
    costInCents: float
    baseCostInCents: float
    version: str
    maxDuration: float


class QueueContext(TypedDict, total=False):
    id: str
    name: str


class PullRequestContext(TypedDict, total=False):
    number: int
    title: str
    state: str


class CommitAuthorContext(TypedDict, total=False):
    name: str
    email: str


class GitContext(TypedDict, total=False):
    author: str | CommitAuthorContext
    message: str
    ref: str
    sha: str
    dirty: bool
    remote: str
    pullRequest: PullRequestContext


class EnvironmentContext(TypedDict, total=False):
    id: str
    slug: str
    type: str
    branchName: str
    git: GitContext


class OrganizationContext(TypedDict, total=False):
    id: str
    slug: str
    name: str


class ProjectContext(TypedDict, total=False):
    id: str
    ref: str
    slug: str
    name: str


class BatchContext(TypedDict, total=False):
    id: str


class MachineContext(TypedDict, total=False):
    name: str
    cpu: float
    memory: float
    centsPerMs: float


class Context(TypedDict, total=False):
    """What a job knows of itself. A type checker knows the parts; `check_context` checks them when it runs."""

    task: TaskContext
    attempt: AttemptContext
    run: RunContext
    queue: QueueContext
    environment: EnvironmentContext
    organization: OrganizationContext
    project: ProjectContext
    batch: BatchContext
    machine: MachineContext


_PARTS: Final[dict[str, type]] = get_type_hints(Context)
_FIELDS: Final = {name: get_type_hints(part) for name, part in _PARTS.items()}
_GIT: Final = get_type_hints(GitContext)
_KINDS: Final[dict[Any, tuple[type, ...]]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    list[str]: (list, tuple),
    str | datetime: (str, datetime),
    str | CommitAuthorContext: (str, dict),
}
_DEPTH: Final = {GitContext: _GIT, PullRequestContext: get_type_hints(PullRequestContext)}


def check_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *context* without what is None, if it can be one.

    Raises:
        BadChange: Naming the part or field that there is not, or that has another type.
    """
    return _check(context, _PARTS, "context")


def _check(given: Any, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadChange(f"{where} is an object with {', '.join(fields)}, not {given!r}"[:400])
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise BadChange(f"{where} has no {unknown[0]!r}; it has {', '.join(fields)}")
    return {
        name: _check_value(value, fields[name], f"{where}.{name}") for name, value in given.items() if value is not None
    }


def _check_value(value: Any, kind: Any, where: str) -> Any:
    nested = _FIELDS_BY_TYPE.get(kind)
    if nested is not None:
        return _check(value, nested, where)
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(allowed.__name__ for allowed in _KINDS[kind])
        raise BadChange(f"{where} is {wanted}, not {value!r}"[:400])
    return value


_FIELDS_BY_TYPE: Final[dict[Any, dict[str, Any]]] = _DEPTH | {_PARTS[name]: fields for name, fields in _FIELDS.items()}
