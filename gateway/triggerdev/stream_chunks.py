"""What the official clients write to streams, as chunks: a line of an upload, a part, a value. Does no I/O."""

from __future__ import annotations

import json
import math
from typing import Any

from gateway.codec import decode_json, encode_json
from gateway.errors import BadChange


def chunk_of_line(line: bytes, what: str) -> bytes:
    """
    The chunk that a line is: JSON as it was written, or else the line as text.

    Such is what `JSON.stringify` makes of nothing. Also an empty line is a chunk: the writer counts them.
    """
    text = line.removesuffix(b"\r")
    if not _is_json(text):
        return text_chunk(text)
    # White space between its parts, where it would end a line of an event, is all that such a byte can be.
    return text.replace(b"\r", b" ") if b"\r" in text else text


def text_chunk(text: bytes) -> bytes:
    """Text as a JSON string, whatever it looks like; what is no UTF-8 in it as replacement characters."""
    return encode_json(text.decode(errors="replace"), what="a chunk")


def value_chunk(value: Any) -> bytes:
    """A value as JSON, with halves of surrogate pairs, which JavaScript has, escaped."""
    try:
        return encode_json(value, what="a value")
    except BadChange:
        return json.dumps(value, separators=(",", ":")).encode()


def json_value(raw: bytes) -> Any:
    """
    JSON that JavaScript wrote, which may have halves of surrogate pairs in its strings.

    Raises:
        ValueError: When it is not JSON.
    """
    try:
        return decode_json(raw)
    except ValueError:
        pass
    try:
        return json.loads(raw.decode(), parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _is_json(text: bytes) -> bool:
    try:
        json_value(text)
    except ValueError:
        return False
    return True


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refused(digits)
