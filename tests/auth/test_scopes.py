"""What scopes grant, and how they are written."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import BadScope, Grant, NotAllowed, Resource, Scope, scopes_to_mint

ACTIONS = ["read", "write", "trigger", "batchTrigger", "update", "admin", "*"]
TYPES = ["runs", "tasks", "tags", "batch", "all", "*"]
IDS = ["run_1", "a:b", "all", "*", "x"]

# A small vocabulary, so that scopes and requirements often meet; empty parts among them.
scope_texts = st.one_of(
    st.sampled_from([*ACTIONS, ""]),
    st.builds("{}:{}".format, st.sampled_from([*ACTIONS, ""]), st.sampled_from([*TYPES, ""])),
    st.builds(
        "{}:{}:{}".format,
        st.sampled_from([*ACTIONS, ""]),
        st.sampled_from([*TYPES, ""]),
        st.sampled_from([*IDS, ""]),
    ),
)
resources = st.builds(Resource, st.sampled_from(TYPES), st.none() | st.sampled_from(IDS))
actions = st.sampled_from(ACTIONS)


def table_2_4(scope: str, action: str, resource: Resource) -> bool:
    """The table of the protocol's section 2.4, step by step, with its advice on empty parts first."""
    parts = scope.split(":", 2)
    if "" in parts:
        return False
    if scope == "admin":  # step 1
        return True
    if parts[0] not in (action, "*"):  # step 2
        return False
    if len(parts) > 1 and parts[1] == "all":  # step 3
        return True
    if len(parts) == 1 or parts[1] != resource.type:  # step 4
        return False
    if len(parts) == 2:  # step 5
        return True
    return parts[2] == resource.id  # step 6


def table_with_alias(scopes: list[str], action: str, asked: Iterable[Resource], *, every: bool = False) -> bool:
    asked = list(asked)

    def check(spelling: str) -> bool:
        answers = [any(table_2_4(scope, spelling, one) for scope in scopes) for one in asked]
        return bool(answers) and (all(answers) if every else any(answers))

    return check(action) or (action in ("trigger", "batchTrigger", "update") and check("write"))


class TestScope:
    @given(st.text())
    def test_any_text_parses_and_prints_as_it_was(self, text: str) -> None:
        """Parsing loses nothing and never fails."""
        assert str(Scope.parse(text)) == text

    def test_only_the_id_keeps_its_colons(self) -> None:
        """Text is split at its first two colons."""
        assert Scope.parse("read:tags:user:42") == Scope("read", "tags", "user:42")

    @pytest.mark.parametrize("parts", [("a:b",), ("read", "a:b"), ("read", None, "run_1")])
    def test_a_scope_that_would_read_back_differently_cannot_be_built(self, parts: tuple[Any, ...]) -> None:
        """No colon outside the id, and no id without a type."""
        with pytest.raises(BadScope):
            Scope(*parts)

    @given(scope_texts, actions, resources)
    def test_a_scope_grants_what_the_table_says(self, text: str, action: str, resource: Resource) -> None:
        """Matching is the protocol's table, for any combination."""
        assert Scope.parse(text).grants(action, resource) is table_2_4(text, action, resource)

    @pytest.mark.parametrize("text", ["", ":", "::", "read:", "read::", "read:runs:", "read::run_1", "admin:"])
    def test_a_scope_with_an_empty_part_grants_nothing(self, text: str) -> None:
        """A variable that was not set must not open anything, let alone everything."""
        grant = Grant.parse([text])

        for action in [*ACTIONS, ""]:
            for resource in [Resource("runs"), Resource("runs", "run_1"), Resource("runs", ""), Resource("")]:
                assert not grant.allows(action, [resource])

    @pytest.mark.parametrize(
        ("scope", "action", "resource", "granted"),
        [
            ("read:tags:user:42", "read", Resource("tags", "user:42"), True),
            ("read:tags:user", "read", Resource("tags", "user:42"), False),
            ("read:runs:run_1", "read", Resource("runs"), False),
            ("read:runs", "read", Resource("runs", "run_1"), True),
            ("read:runs", "read", Resource("runs"), True),
            ("read", "read", Resource("runs"), False),
            ("*", "read", Resource("runs"), False),
            ("*:runs", "cancel", Resource("runs", "run_1"), True),
            ("read:all", "read", Resource("tasks", "t"), True),
            ("admin", "anything", Resource("whatever"), True),
            ("admin:runs", "read", Resource("runs"), False),
            ("admin:runs", "admin", Resource("runs"), True),
            ("write:runs", "read", Resource("runs"), False),
            ("Read:runs", "read", Resource("runs"), False),
        ],
    )
    def test_the_rules_by_example(self, scope: str, action: str, resource: Resource, granted: bool) -> None:
        """Each rule of the table, with the answer written down by hand."""
        assert Scope.parse(scope).grants(action, resource) is granted


class TestGrant:
    @given(st.lists(scope_texts, max_size=4), actions, st.lists(resources, max_size=3))
    def test_one_granted_resource_suffices(self, texts: list[str], action: str, asked: list[Resource]) -> None:
        """`allows` is any-of, and asks again with `write` where that covers the action."""
        assert Grant.parse(texts).allows(action, iter(asked)) is table_with_alias(texts, action, asked)

    @given(st.lists(scope_texts, max_size=4), actions, st.lists(resources, max_size=3), resources)
    def test_every_resource_or_one_broad_alternative(
        self, texts: list[str], action: str, asked: list[Resource], broad: Resource
    ) -> None:
        """`allows_every` needs all of them, or one of the broad ones; of none it never allows."""
        expected = table_with_alias(texts, action, asked, every=True) or (
            bool(asked) and table_with_alias(texts, action, [broad])
        )

        assert Grant.parse(texts).allows_every(action, iter(asked), broad=iter([broad])) is expected

    @pytest.mark.parametrize("action", ["trigger", "batchTrigger", "update"])
    def test_write_covers_triggering_and_updating(self, action: str) -> None:
        """`write:tasks:x` may trigger x, and nothing else."""
        grant = Grant.parse(["write:tasks:x"])

        assert grant.allows(action, [Resource("tasks", "x")])
        assert not grant.allows(action, [Resource("tasks", "y")])
        assert not grant.allows("read", [Resource("tasks", "x")])

    def test_a_secret_key_allows_everything_but_nothing_at_all(self) -> None:
        """The root grant passes every check that asks for something."""
        everything = Grant.everything()

        assert everything.allows("replay", [Resource("runs", "run_1")])
        assert everything.allows_every("read", [Resource("tasks", "a"), Resource("tasks", "b")])
        assert not everything.allows("read", [])
        assert not everything.allows_every("read", [], broad=[Resource("runs")])

    def test_without_scopes_nothing_is_allowed(self) -> None:
        """Deny by default."""
        assert not Grant().allows("read", [Resource("runs", "run_1")])

    def test_a_refusal_knows_what_was_asked_and_held(self) -> None:
        """NotAllowed carries the facts; coming back with the same kind of token is no use."""
        with pytest.raises(NotAllowed, match="read on any of") as refused:
            Grant.parse(["read:tags:a"]).require("read", [Resource("runs", "run_1")])

        assert refused.value.resources == ("runs:run_1",)
        assert refused.value.scopes == ("read:tags:a",)
        assert not refused.value.retry

    def test_what_is_allowed_can_be_required_and_explained(self) -> None:
        """The explanation names the scope that decided, or those that did not suffice."""
        grant = Grant.parse(["read:tags:a", "write:tasks:x"])

        grant.require("trigger", [Resource("tasks", "x")])
        assert "'write:tasks:x'" in grant.explain("trigger", [Resource("tasks", "x")])
        assert "'read:tags:a'" in grant.explain("read", [Resource("runs", "run_1")])


class TestScopesToMint:
    def test_permissions_become_scopes_as_in_the_sdk(self) -> None:
        """The documented example gives the documented scopes, in order."""
        permissions = {
            "read": {"runs": ["run_1"], "tags": "a:b", "tasks": True, "batch": False},
            "write": {"inputStreams": "run_1"},
            "admin": True,
            "trigger": False,
        }

        assert list(map(str, scopes_to_mint(permissions))) == [
            "read:runs:run_1",
            "read:tags:a:b",
            "read:tasks",
            "write:inputStreams:run_1",
            "admin",
        ]

    def test_texts_and_scopes_are_taken_as_they_are(self) -> None:
        """A single text is one scope, not a sequence of letters."""
        assert scopes_to_mint("read:runs") == (Scope("read", "runs"),)
        assert scopes_to_mint(["read:runs", Scope("admin")]) == (Scope("read", "runs"), Scope("admin"))
        assert scopes_to_mint(None) == scopes_to_mint([]) == scopes_to_mint({}) == ()

    @pytest.mark.parametrize(
        "blank",
        [
            "",
            "read:",
            "read:runs:",
            "read:runs: ",
            ["read:runs:run_1", " :runs"],
            {"read": {"runs": ""}},
            {"read": {"runs": ["run_1", " \t"]}},
            {"read": {"": True}},
        ],
    )
    def test_a_blank_part_is_refused(self, blank: Any) -> None:
        """Whoever mints with an unset variable hears of it."""
        with pytest.raises(BadScope, match="blank"):
            scopes_to_mint(blank)

    @pytest.mark.parametrize(
        "wrong",
        [
            [5],
            {"read": None},
            {"read": "runs"},
            {"read": {"runs": None}},
            {"read": {"runs": 5}},
            {"read": {"runs": [5]}},
            {"read": {"runs": {"run_1": True}}},
            {"read": {"a:b": True}},
            ["read:runs:\ud800"],
        ],
    )
    def test_what_is_no_scope_is_refused(self, wrong: Any) -> None:
        """The error is ours, and its text can be printed."""
        with pytest.raises(BadScope) as refused:
            scopes_to_mint(wrong)

        assert str(refused.value).isascii()
