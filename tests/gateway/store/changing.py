"""Applies changes to a real server as every way in does, and hears what is published."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from gateway.changes import Limits, Operation, change
from gateway.codec import BETWEEN_EVENTS, Event, decode_event, decode_json
from gateway.metadata import native
from gateway.store.joining import joined, spread
from gateway.store.redis_keys import Retention, history_key, metadata_key, prefix, run_key
from gateway.store.writing import Applied, ChangeWriter, read_answer, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from gateway.feeds import EnvironmentId
    from gateway.store.writing import Command, Triple


class Changing:
    """One environment of a server, with its run rows and its channels."""

    def __init__(
        self,
        client: redis.Redis,
        environment: EnvironmentId,
        *,
        retention: Retention | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.client, self.environment = client, environment
        self.writer = ChangeWriter(
            environment=environment, retention=retention or Retention(), limits=limits or Limits()
        )

    def apply(self, run: str = "run_1", **said: Any) -> Applied:
        """
        Apply a change whose words are those of `gateway.changes.change`.

        And `triples`, `version`, `once`, `age`, `overdue` and `lease_ms`.
        """
        return read_answer(self._ask(self.command(run, **said)))

    def apply_together(self, changes: Sequence[Mapping[str, Any]]) -> list[Applied | Exception]:
        """As `apply`, for what goes out in the same moment; an error for each that has one alone."""
        sent = joined(self.command(**said) for said in changes)
        replies = spread(sent, [self._ask(command) for command, _ in sent])
        return [reply if isinstance(reply, Exception) else read_answer(reply) for reply in replies]

    def command(self, run: str = "run_1", **said: Any) -> Command:
        """The command for what `apply` is told."""
        triples: Sequence[Triple] | None = said.pop("triples", None)
        version, once, age = said.pop("version", None), said.pop("once", ""), said.pop("age", 0)
        operations: Sequence[Operation] = said.pop("operations", ())
        fields = {name: said.pop(name) for name in ("overdue", "lease_ms") if name in said}
        made = replace(change(run, **said), age_ms=age, **fields)
        if triples is None:
            triples = native(operations)
            assert triples is not None
        return self.writer.by_digest(made, triples, version=version, once=once)

    def _ask(self, command: Any) -> Any:
        client: Any = self.client
        try:
            return client.execute_command(*command)
        except NoScriptError:
            return client.execute_command(*whole(command))

    def create(self, run: str = "run_1", task: str = "resize", *, status: str = "QUEUED", **said: Any) -> Applied:
        initial = {"taskIdentifier": task, **said.pop("initial", {})}
        return self.apply(run, create=True, status=status, initial=initial, **said)

    def stored(self, run: str = "run_1") -> dict[str, str]:
        """The row as Redis has it."""
        return dict(self.client.hgetall(run_key(self.environment, run)))  # type: ignore[arg-type]

    def row(self, run: str = "run_1") -> dict[str, Any]:
        """The decoded columns of a run."""
        return {name: decode_json(text) for name, text in self.stored(run).items() if not name.startswith("_")}

    def metadata(self, run: str = "run_1") -> dict[str, Any]:
        return {key: decode_json(text) for key, text in self.raw_metadata(run).items()}

    def raw_metadata(self, run: str = "run_1") -> dict[str, str]:
        return dict(self.client.hgetall(metadata_key(self.environment, run)))  # type: ignore[arg-type]

    def history(self) -> dict[str, str]:
        return dict(self.client.hgetall(history_key(self.environment)))  # type: ignore[arg-type]

    def all_keys(self) -> set[str]:
        """What the environment has in Redis now."""
        return set(self.client.scan_iter(match=prefix(self.environment) + "*"))

    def listen(self) -> Listening:
        return Listening(self)


class Listening:
    """Hears every channel of an environment."""

    def __init__(self, changing: Changing) -> None:
        self._changing = changing
        self._subscription = changing.client.pubsub()  # type: ignore[no-untyped-call]
        self._start = prefix(changing.environment) + "changes:"
        self._subscription.psubscribe(self._start + "*")
        confirmed = self._subscription.get_message(timeout=5)
        assert confirmed is not None
        assert confirmed["type"] == "psubscribe"

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.close()

    def heard(self) -> list[tuple[str, Event]]:
        """Everything published since the last call: (feed, event), in order."""
        return [(feed, event) for feed, events in self.messages() for event in events]

    def messages(self) -> list[tuple[str, list[Event]]]:
        """The same, with the events of one message together."""
        end = f"end-{time.monotonic_ns()}"
        self._changing.client.publish(self._start + "end", end)
        messages: list[tuple[str, list[Event]]] = []
        while True:
            message = self._subscription.get_message(timeout=5)
            assert message is not None, "nothing more was published, not even the end"
            if message["data"] == end:
                return messages
            events: list[Event] = []
            for text in message["data"].encode().split(BETWEEN_EVENTS):
                event = decode_event(text)
                assert isinstance(event, Event)
                events.append(event)
            messages.append((message["channel"][len(self._start) :], events))
