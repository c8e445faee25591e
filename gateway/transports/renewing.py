"""
Renewal from the side: a request that gives an open connection another token, whichever process either of them is at.

A connection's id names the process that holds it and, in a way that nobody can guess, the connection. A process that is
asked for one of another verifies the token, and sends what it allows, never the token itself, over Redis to the channel
of that process; the answer comes back in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import auth
from auth import Grant
from gateway.codec import decode_json, encode_message
from gateway.errors import (
    GatewayError,
    NoSuchConnection,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    TokenUsed,
    Unavailable,
)
from gateway.feeds import EnvironmentId
from gateway.revocations import TokenMarks
from gateway.store.redis_keys import process_channel
from gateway.transports.admission import Admitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.feed.hub import Hub
    from gateway.transports.admission import Admission

_log = logging.getLogger("runcast.tokens")

#: How long whoever asks waits for the process that holds the connection.
ANSWER_SECONDS: Final = 2.0
#: While nobody hears the channel of a process it may be connecting anew; or it has ended.
_AGAIN_SECONDS: Final = 0.2
#: Renewals that one process works on for others at the same time. Each is some checks, and no memory to speak of.
_MOST_AT_ONCE: Final = 1000

_ID: Final = re.compile(r"([A-Za-z0-9_-]{12})\.([A-Za-z0-9_-]{22})")


class Renewable(Protocol):
    """An open connection that can be given another token."""

    async def renew(self, admitted: Admitted) -> None:
        """
        Let it see what *admitted* allows, instead of what its token did.

        Raises:
            GatewayError: Saying why not; then nothing has changed.
        """


class Sender(Protocol):
    """What this needs of the store: to send, and to be told how many heard. Raises Unavailable."""

    async def publish(self, channel: str, payload: bytes) -> int: ...


class Renewals:
    """The open connections of this process by their ids, and the way to those of others."""

    def __init__(self, hub: Hub, sender: Sender, admission: Admission) -> None:
        self._process = secrets.token_urlsafe(9)
        self._sender = sender
        self._admission = admission
        self._open: dict[str, Renewable] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._working: set[asyncio.Task[None]] = set()
        hub.listen(process_channel(self._process), self)

    # The connections of this process.

    def add(self, connection: Renewable) -> str:
        """Take *connection* in, and return by what `remove` and `public_id` know it."""
        name = secrets.token_urlsafe(16)
        self._open[name] = connection
        return name

    def remove(self, name: str) -> None:
        self._open.pop(name, None)

    def public_id(self, name: str) -> str:
        return f"{self._process}.{name}"

    # Renewing one of them, or one elsewhere.

    async def renew(self, connection: str, admitted: Admitted) -> None:
        """
        Give the connection with this id what *admitted* allows.

        Raises:
            NoSuchConnection: When it has ended.
            TokenInvalid, TokenExpired, TokenRevoked, TokenUsed: When it can't have this token.
            Unavailable: When that could not be done or heard of in time. It may be asked again.
        """
        found = _ID.fullmatch(connection)
        if found is None:
            raise NoSuchConnection
        process, name = found.groups()
        if process == self._process:
            await self._renew_here(name, admitted)
        else:
            await self._ask(process, name, admitted)

    async def _renew_here(self, name: str, admitted: Admitted) -> None:
        connection = self._open.get(name)
        if connection is None:
            raise NoSuchConnection
        await connection.renew(admitted)

    async def _ask(self, process: str, name: str, admitted: Admitted) -> None:
        number = next(self._numbers)
        question = {
            "number": number,
            "from": self._process,
            "connection": name,
            "admitted": _written(admitted),
            "key": _fingerprint(admitted.secret),
        }
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        asked = False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while not asked:
                    asked = await self._sender.publish(process_channel(process), encode_message(question)) > 0
                    if not asked:
                        await asyncio.sleep(_AGAIN_SECONDS)
                error = (await answer).get("error")
        except TimeoutError:
            if not asked:
                raise NoSuchConnection from None  # nobody heard its channel all the time
            raise Unavailable("the process that holds the connection did not answer in time; try again") from None
        finally:
            del self._waiting[number]
        if error is not None:
            raise _read_error(error)

    # What the hub says (feed/hub.py: ControlListener).

    def heard(self, payload: bytes) -> None:
        try:
            message = decode_json(payload)
            if "answers" in message:
                waiting = self._waiting.get(message["answers"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
                return
            admitted = _read(message["admitted"])
            admitted = replace(admitted, secret=self._secret_of(admitted, message["key"]))
            work = self._work(message["number"], message["from"], message["connection"], admitted)
        except auth.UnknownEnvironment:
            return  # whoever asked has keys that have not come to us yet, and asks again
        except (KeyError, TypeError, ValueError):
            _log.exception("somebody else publishes on our channels")
            return
        if len(self._working) >= _MOST_AT_ONCE:
            work.close()  # whoever asks is told to try again, when nothing was heard in time
            return
        task = asyncio.create_task(work, name="renewal for another process")
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _secret_of(self, admitted: Admitted, fingerprint: str) -> str:
        """The key behind what was verified elsewhere: should it be taken away, what it let in ends."""
        keys = self._admission.keyring.keys_of(admitted.environment)
        for key in (keys.current, *keys.previous):
            if _fingerprint(key.secret) == fingerprint:
                return key.secret
        raise auth.UnknownEnvironment(environment=admitted.environment)

    def joined(self) -> None:
        """From now on others can ask."""

    def lost(self) -> None:
        """Who asks meanwhile asks again."""

    async def _work(self, number: int, asker: str, name: str, admitted: Admitted) -> None:
        answer: dict[str, Any] = {"answers": number}
        try:
            await self._renew_here(name, admitted)
        except GatewayError as error:
            answer["error"] = {"code": error.code, "text": str(error)}
        except Exception:
            _log.exception("a connection could not be given another token")
            answer["error"] = {"code": Unavailable.code, "text": "something went wrong here; it was logged"}
        with contextlib.suppress(Unavailable):  # whoever asked hears nothing, and asks again
            await self._sender.publish(process_channel(asker), encode_message(answer))

    async def close(self) -> None:
        """End what is worked on for others."""
        for task in list(self._working):
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)


def _fingerprint(secret: str) -> str:
    """Tells the few keys of an environment from each other, and nothing of what they are."""
    return hashlib.sha256(b"runcast renewal " + secret.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _written(admitted: Admitted) -> dict[str, Any]:
    grant, marks = admitted.grant, admitted.marks
    return {
        "environment": admitted.environment,
        "scopes": [str(scope) for scope in grant.scopes],
        "skipped": None if grant.skip_columns is None else sorted(grant.skip_columns),
        "ends": admitted.expires_at,
        "hidden": None if admitted.hidden is None else sorted(admitted.hidden),
        "marks": None if marks is None else [marks.digest, marks.jti, marks.subject, marks.issued_at],
        "oneTime": admitted.one_time,
    }


def _read(written: dict[str, Any]) -> Admitted:
    hidden, marks = written["hidden"], written["marks"]
    return Admitted(
        EnvironmentId(written["environment"]),
        Grant.parse(written["scopes"], skip_columns=written["skipped"]),
        written["ends"],
        None if hidden is None else frozenset(hidden),
        None if marks is None else TokenMarks(*marks),
        written["oneTime"],
    )


#: What a renewal can be refused with, as it travels between processes.
_ERRORS: Final[dict[str, Callable[[str], GatewayError]]] = {
    NoSuchConnection.code: lambda text: NoSuchConnection(),
    TokenInvalid.code: TokenInvalid,
    TokenExpired.code: TokenExpired,
    TokenRevoked.code: TokenRevoked,
    TokenUsed.code: lambda text: TokenUsed(),
    Unavailable.code: Unavailable,
}


def _read_error(error: dict[str, str]) -> GatewayError:
    return _ERRORS.get(error["code"], Unavailable)(error["text"])
