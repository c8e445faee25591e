"""
What a credential allows: `Scope`, `Resource` and `Grant`.

A scope reads `action[:type[:id]]`. A `Grant` holds scopes, denies by default, and answers whether an action
on a resource is allowed. The rules are those of the Trigger.dev realtime protocol, section 2.4, with one
difference that it recommends: a scope with an empty part (`read:runs:`, `admin:`) grants nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from auth.errors import BadScope, NotAllowed, shown

#: The bare scope that allows everything.
ADMIN = "admin"
#: As an action it stands for any, as a type `ALL_TYPES` does. Neither is a wildcard on its own.
ANY_ACTION, ALL_TYPES = "*", "all"
#: Actions that a `write` scope covers too. `read` is not among them: writing does not imply reading.
COVERED_BY_WRITE = frozenset({"trigger", "batchTrigger", "update"})

#: What mint() takes as permissions: {"read": {"runs": ["run_1"], "tags": "a:b", "tasks": True}}
Permissions = Mapping[str, bool | Mapping[str, bool | str | Iterable[str]]]


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is done to: one thing, or with no *id* its whole type."""

    type: str
    id: str | None = None

    def __str__(self) -> str:
        return self.type if self.id is None else f"{self.type}:{self.id}"


@dataclass(frozen=True, slots=True)
class Scope:
    """
    One permission, as a token spells it.

    Any text parses, and prints as it was; whether it grants something is another matter. Only the id may
    hold colons: `read:tags:user:42` is about the tag `user:42`.
    """

    action: str
    type: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        if ":" in self.action or ":" in (self.type or ""):
            raise BadScope(scope=str(self), reason="only the id of a scope may contain a colon")
        if self.type is None and self.id is not None:
            raise BadScope(scope=str(self), reason="a scope with an id needs a type")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The scope that *text* spells. Never fails."""
        return cls(*text.split(":", 2))

    def __str__(self) -> str:
        return ":".join(part for part in (self.action, self.type, self.id) if part is not None)

    @property
    def has_empty_part(self) -> bool:
        return "" in (self.action, self.type, self.id)

    def grants(self, action: str, resource: Resource) -> bool:
        """Whether this scope alone allows *action* on *resource*, aliases aside."""
        # An empty part comes from a variable that was not set. To read it as "no id", as the reference
        # server does, would turn that slip into access to everything.
        if self.has_empty_part:
            return False
        if self == _ADMIN_SCOPE:
            return True
        return self.action in (action, ANY_ACTION) and self._covers(resource)

    def _covers(self, resource: Resource) -> bool:
        if self.type == ALL_TYPES:
            return True
        # A scope for one thing never covers the type as a whole: then its id differs from None.
        return self.type == resource.type and self.id in (None, resource.id)


_ADMIN_SCOPE = Scope(ADMIN)


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What a credential allows, and which columns it hides.

    Nothing is allowed that no scope grants, and a question about no resources is always answered with no.
    Scopes that mean nothing here are kept, so that they can be shown, but grant nothing.
    """

    scopes: tuple[Scope, ...] = ()
    #: Columns that its viewers are never sent; None when the credential says nothing about columns.
    skip_columns: frozenset[str] | None = None

    @classmethod
    def everything(cls) -> Self:
        """What a secret key allows: any action on any resource of its environment."""
        return cls((_ADMIN_SCOPE,))

    @classmethod
    def parse(cls, scopes: Iterable[str], *, skip_columns: Iterable[str] | None = None) -> Self:
        """The grant of a token with these *scopes*."""
        hidden = None if skip_columns is None else frozenset(skip_columns)
        return cls(tuple(map(Scope.parse, scopes)), hidden)

    def allows(self, action: str, resources: Iterable[Resource]) -> bool:
        """Whether *action* is allowed on at least one of *resources*. One suffices; of none, no."""
        return self.granting_scope(action, resources) is not None

    def allows_every(self, action: str, resources: Iterable[Resource], *, broad: Iterable[Resource] = ()) -> bool:
        """
        Whether *action* is allowed on each of *resources*, or on one of the *broad* alternatives.

        Of no resources the answer is no, whatever *broad* says.
        """
        wanted, broad = tuple(resources), tuple(broad)
        return bool(wanted) and any(
            all(self._scope_for(spelling, one) for one in wanted)
            or any(self._scope_for(spelling, one) for one in broad)
            for spelling in _spellings(action)
        )

    def require(self, action: str, resources: Iterable[Resource]) -> None:
        """
        Return when `allows` would say yes.

        Raises:
            NotAllowed: When it would say no.
        """
        wanted = tuple(resources)
        if not self.allows(action, wanted):
            raise self._refusal(action, wanted)

    def explain(self, action: str, resources: Iterable[Resource]) -> str:
        """A sentence for people: which scope allows *action*, or that none does."""
        wanted = tuple(resources)
        granting = self.granting_scope(action, wanted)
        if granting is not None:
            return f"{action} is allowed by the scope {shown(str(granting))}"
        return str(self._refusal(action, wanted))

    def granting_scope(self, action: str, resources: Iterable[Resource]) -> Scope | None:
        """The scope that allows *action* on one of *resources*, or None when that is not allowed."""
        wanted = tuple(resources)
        for spelling in _spellings(action):
            for resource in wanted:
                scope = self._scope_for(spelling, resource)
                if scope is not None:
                    return scope
        return None

    def _refusal(self, action: str, resources: tuple[Resource, ...]) -> NotAllowed:
        asked, held = tuple(map(str, resources)), tuple(map(str, self.scopes))
        return NotAllowed(action=action, resources=asked, scopes=held)

    def _scope_for(self, action: str, resource: Resource) -> Scope | None:
        return next((scope for scope in self.scopes if scope.grants(action, resource)), None)


def _spellings(action: str) -> tuple[str, ...]:
    """The actions to ask for, one after the other: a check that fails is made again with the alias."""
    return (action, "write") if action in COVERED_BY_WRITE else (action,)


def scopes_to_mint(wanted: Permissions | Iterable[str | Scope] | str | None) -> tuple[Scope, ...]:
    """
    The scopes for a new token, from their texts or from permissions as the official SDK takes them.

    Reading a token is lenient, minting one is not: what could never grant anything is refused here, where
    whoever wrote it can see it.

    Raises:
        BadScope: When a part of a scope is blank, or something is not a scope at all.

    See the Trigger.dev realtime protocol, section 2.3.
    """
    if wanted is None:
        return ()
    if isinstance(wanted, str):
        # Text is a sequence of one-letter texts; nobody means that.
        wanted = [wanted]
    scopes = _flatten(wanted) if isinstance(wanted, Mapping) else map(_one_scope, wanted)
    return tuple(map(_checked, scopes))


def _flatten(permissions: Permissions) -> Iterable[Scope]:
    for action, of_type in permissions.items():
        if isinstance(of_type, Mapping):
            for type_, ids in of_type.items():
                yield from (Scope(action, type_, one) for one in _ids(f"{action}:{type_}", ids))
        elif of_type is True:
            yield Scope(action)
        elif of_type is not False:
            raise BadScope(scope=action, reason=f"{action!r} must be true or name types of resources")


def _ids(scope: str, ids: object) -> Iterable[str | None]:
    """The ids that a permission names; None stands for the whole type."""
    if isinstance(ids, bool):
        return [None] if ids else []
    if isinstance(ids, str):
        return [ids]
    if not isinstance(ids, Iterable) or isinstance(ids, bytes | Mapping):
        raise BadScope(scope=scope, reason="it must be true, an id, or a list of ids")
    listed = list(ids)
    if not all(isinstance(one, str) for one in listed):
        raise BadScope(scope=scope, reason="each id must be text")
    return listed


def _one_scope(scope: object) -> Scope:
    if isinstance(scope, Scope):
        return scope
    if isinstance(scope, str):
        return Scope.parse(scope)
    raise BadScope(scope=str(scope), reason="a scope is text, such as 'read:runs:run_1'")


def _checked(scope: Scope) -> Scope:
    parts = [part for part in (scope.action, scope.type, scope.id) if part is not None]
    if not all(part.strip() for part in parts):
        raise BadScope(scope=str(scope), reason="it has a blank part; is a variable unset?")
    try:
        str(scope).encode()
    except UnicodeEncodeError:
        raise BadScope(scope=str(scope), reason="it is not valid Unicode") from None
    return scope
