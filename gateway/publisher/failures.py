"""What went wrong in a job, in the form of the row's `error` column (Trigger.dev realtime protocol, section 3.5)."""

from __future__ import annotations

import traceback
from typing import Any, Final

#: Enough to understand a failure. What libraries put into messages and deep recursions into stacks has no end.
MAX_MESSAGE: Final = 10_000
MAX_STACK: Final = 32_000
MAX_CAUSES: Final = 8


def error_column(error: BaseException | str) -> dict[str, Any]:
    """An exception with its name, message, stack and causes; or a text."""
    if not isinstance(error, BaseException):
        return {"type": "STRING_ERROR", "raw": _clean(str(error))[:MAX_MESSAGE]}
    column: dict[str, Any] = {"type": "BUILT_IN_ERROR", **_described(error)}
    causes = _causes(error)
    if causes:
        column["causes"] = [_described(cause) for cause in causes]
    return column


def _described(error: BaseException) -> dict[str, str]:
    return {"name": type(error).__name__, "message": _message(error), "stackTrace": _stack(error)}


def _message(error: BaseException) -> str:
    try:
        return _clean(str(error))[:MAX_MESSAGE]
    except Exception:  # a __str__ of the user's, and no reason to lose the failure itself
        return f"<no text: str() of this {type(error).__name__} failed>"


def _stack(error: BaseException) -> str:
    try:
        text = _clean("".join(traceback.format_exception(error, chain=False)).rstrip())
    except Exception:
        return ""
    # The end of a stack says where it happened and what.
    return text if len(text) <= MAX_STACK else "…" + text[-MAX_STACK:]


def _causes(error: BaseException) -> list[BaseException]:
    """What led to it, nearest first, as a traceback would show it."""
    found: list[BaseException] = []
    seen = {id(error)}
    while len(found) < MAX_CAUSES:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        found.append(cause)
        error = cause
    return found


def _clean(text: str) -> str:
    """Text with a UTF-8 form: names of files that are not UTF-8 come with lone surrogates."""
    return text.encode(errors="replace").decode()
