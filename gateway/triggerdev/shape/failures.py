"""
A run's error as the official clients read it: one of four kinds, each with its fields (Trigger.dev realtime protocol,
section 3.5). A single row with anything else would end a whole feed.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.codec import encode_json

#: The codes that an INTERNAL_ERROR may have.
INTERNAL_CODES: Final = frozenset(
    {
        *("COULD_NOT_FIND_EXECUTOR", "COULD_NOT_FIND_TASK", "COULD_NOT_IMPORT_TASK", "CONFIGURED_INCORRECTLY"),
        *("TASK_ALREADY_RUNNING", "TASK_EXECUTION_FAILED", "TASK_EXECUTION_ABORTED"),
        *("TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "TASK_PROCESS_SIGKILL_TIMEOUT", "TASK_PROCESS_SIGSEGV"),
        *("TASK_PROCESS_SIGTERM", "TASK_PROCESS_OOM_KILLED", "TASK_PROCESS_MAYBE_OOM_KILLED", "TASK_RUN_CANCELLED"),
        *("TASK_INPUT_ERROR", "TASK_OUTPUT_ERROR", "TASK_MIDDLEWARE_ERROR", "HANDLE_ERROR_ERROR"),
        *("GRACEFUL_EXIT_TIMEOUT", "TASK_RUN_HEARTBEAT_TIMEOUT", "TASK_RUN_CRASHED", "TASK_RUN_UNCAUGHT_EXCEPTION"),
        *("MAX_DURATION_EXCEEDED", "DISK_SPACE_EXCEEDED", "POD_EVICTED", "POD_UNKNOWN_ERROR"),
        *("TASK_HAS_N0_EXECUTION_SNAPSHOT", "TASK_DEQUEUED_INVALID_STATE", "TASK_DEQUEUED_QUEUE_NOT_FOUND"),
        *("TASK_RUN_DEQUEUED_MAX_RETRIES", "TASK_RUN_STALLED_EXECUTING", "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS"),
        *("OUTDATED_SDK_VERSION", "TASK_DID_CONCURRENT_WAIT", "RECURSIVE_WAIT_DEADLOCK"),
        *("BATCH_ITEM_COULD_NOT_TRIGGER", "PAYLOAD_TOO_LARGE", "UNSPECIFIED_ERROR"),
    }
)


def failure_text(error: Any) -> str | None:
    """The error as JSON text, whatever a publisher made of it; None when there is none."""
    return None if error is None else encode_json(_checked(error), what="an error").decode()


def _checked(error: Any) -> dict[str, Any]:
    if not isinstance(error, dict):
        return {"type": "STRING_ERROR", "raw": _text(error)}
    match error.get("type"):
        case "BUILT_IN_ERROR":
            return _built_in(error)
        case "CUSTOM_ERROR" | "STRING_ERROR" as kind:
            return {"type": kind, "raw": _text(error.get("raw", ""))}
        case "INTERNAL_ERROR" if _text(error.get("code")) in INTERNAL_CODES:
            kept = {name: _text(error[name]) for name in ("message", "stackTrace") if error.get(name) is not None}
            return {"type": "INTERNAL_ERROR", "code": error["code"], **kept}
        case "INTERNAL_ERROR":
            return _built_in({"name": _text(error.get("code", "INTERNAL_ERROR")), **error})
        case _ if isinstance(error.get("message"), str):
            return _built_in(error)
    return {"type": "STRING_ERROR", "raw": _text(error)}


def _built_in(error: dict[str, Any]) -> dict[str, Any]:
    known = {"name": "Error", "message": "", "stackTrace": ""}
    said = {name: _text(error[name]) for name in known if error.get(name) is not None}
    listed = error.get("causes")
    causes = [_cause(cause) for cause in (listed if isinstance(listed, list) else ()) if isinstance(cause, dict)]
    return {"type": "BUILT_IN_ERROR", **known, **said, **({"causes": causes} if causes else {})}


def _cause(cause: dict[str, Any]) -> dict[str, str]:
    kept = {name: _text(cause[name]) for name in ("name", "stackTrace") if cause.get(name) is not None}
    return {"message": _text(cause.get("message", "")), **kept}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode_json(value, what="an error").decode()
