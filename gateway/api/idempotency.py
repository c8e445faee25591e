"""
`Idempotency-Key`: a write that is sent again is done once, and answered as the first time.

What a write derives from its key (ids, the names of operations) is the same each time. So nothing is done twice even
when a gateway dies between writing and remembering, or Redis is away in that moment; only the answer may then say
`unchanged` instead of `applied`.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from gateway.api.calls import Answer, Call
from gateway.api.forms import wrong
from gateway.codec import decode_json, encode_message
from gateway.errors import InProgress, KeyReused, Unavailable
from gateway.store.redis_keys import answer_key
from gateway.store.writing import ONCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("runcast.api")

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = ("idempotency-replayed", "true")
MAX_KEY_LENGTH: Final = 255
_KEY: Final = re.compile("[!-~]+")
#: How long an answer is remembered.
KEPT_MILLISECONDS: Final = 24 * 3600 * 1000
#: How long a request keeps the same one out while it is answered. Should its gateway die, that is how long the client
#: has to ask; should it take longer, both are carried out, which does no harm.
WORKING_MILLISECONDS: Final = 5_000
#: A larger answer is not kept: the request is carried out again, which changes nothing, and tells how it is by then.
_MAX_KEPT_BYTES: Final = 64 * 1024


def key_of(headers: Mapping[str, str], header: str) -> str | None:
    """
    The key of a request, from the header with this name.

    Raises:
        BadMessage: When it can't be one.
    """
    key = headers.get(header.lower())
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise wrong(header, f"must have 1 to {MAX_KEY_LENGTH} ASCII characters without spaces, such as a UUID")
    return key


def once_name(call: Call, what: str = "") -> str:
    """
    The name by which a run knows this call's operations when they come again (store/writing.py).

    Random without a key: then only what we ourselves send again is known.
    """
    if call.key is None:
        return secrets.token_hex(ONCE_LENGTH // 2)
    return _letters(call, "once", what)[:ONCE_LENGTH]


def derived_id(call: Call, what: str) -> str:
    """24 letters and digits that follow from the environment, the call's key and *what*; random without a key."""
    if call.key is None:
        return _shortened(secrets.token_bytes(32))
    return letters_of(call.environment, "key", call.key, what)


def letters_of(*parts: str) -> str:
    """24 small letters and digits that follow from *parts*; who does not know them can't guess it."""
    return _shortened(_digest(*parts))


async def once(call: Call, raw: bytes) -> Answer | None:
    """
    The answer of the call's operation: a new one, or the one that the same request had before.

    Raises:
        KeyReused: When the key was used for another request.
        InProgress: When the same request is being answered.
    """
    use, handle = call.services.admission.use, call.operation.handle
    if call.key is None:
        await use(call.admitted)
        return await handle(call)
    asked = hashlib.sha256(b"\0".join([call.scope["method"].encode(), call.url.encode(), call.scope["query_string"]]))
    asked.update(raw)
    key = answer_key(call.environment, _digest(call.key, *_eyes(call)).hex())
    known = await _begin(call, key, asked.hexdigest())
    if known is not None:
        return known
    try:
        await use(call.admitted)
        answer = await handle(call)
    except BaseException:
        # Nothing to remember: what was refused may be asked again, and what is not known to be done, too.
        await _quietly(call, "DEL", key)
        raise
    if answer is not None:
        await _remember(call, key, asked.hexdigest(), answer)
    return answer


def _eyes(call: Call) -> tuple[str, ...]:
    """What the caller may do and see: nobody is told again what was meant for one who may see more."""
    scopes = sorted(map(str, call.admitted.grant.scopes))
    return (*scopes, "without", *sorted(call.admitted.hidden or ()))


async def _begin(call: Call, key: str, asked: str) -> Answer | None:
    mark = encode_message({"asked": asked, "by": secrets.token_hex(8)})
    marked = await call.services.writer.ask(("SET", key, mark, "NX", "PX", WORKING_MILLISECONDS))
    if marked is not None:
        return None
    stored = await call.services.writer.ask(("GET", key))
    if stored is None:
        raise InProgress  # it ended in between, in an error
    if stored == mark:
        return None  # ours: the connection broke after it, and it was sent again
    known = decode_json(stored)
    if known["asked"] != asked:
        raise KeyReused
    if "status" not in known:
        if known.get("again"):
            return None
        raise InProgress
    headers = tuple((name, value) for name, value in known["headers"])
    return Answer(known["status"], known["body"].encode(), (*headers, REPLAYED), known["mediaType"])


async def _remember(call: Call, key: str, asked: str, answer: Answer) -> None:
    kept: dict[str, Any] = {"asked": asked, "again": True}
    if call.operation.remembered and len(answer.body) <= _MAX_KEPT_BYTES:
        kept = {
            "asked": asked,
            "status": answer.status,
            "headers": answer.headers,
            "mediaType": answer.media_type,
            "body": answer.body.decode(),
        }
    await _quietly(call, "SET", key, encode_message(kept), "PX", KEPT_MILLISECONDS)


async def _quietly(call: Call, *command: str | bytes | int) -> None:
    """The answer goes out all the same; a repeated request is then carried out again, which does no harm."""
    try:
        await call.services.writer.ask(command)
    except Unavailable:
        log.warning("%s: an answer could not be remembered", call.operation.id)


def _letters(call: Call, *parts: str) -> str:
    return base64.urlsafe_b64encode(_digest(call.environment, call.key or "", *parts)).decode()


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _shortened(digest: bytes) -> str:
    return base64.b32encode(digest).decode().lower()[:24]
