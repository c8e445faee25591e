"""
What a client says on its WebSocket: frames in any pieces in, whole messages out (RFC 6455, section 5). Does no I/O.

Ten thousand viewers who say nothing have one of these each, so it is three fields, and holds no bytes while nothing is
on its way. Of frames that go out none is made here but those of control: what viewers are told is spelled once for all
of them (transports/framings.py).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

try:
    from websockets.speedups import apply_mask  # in C
except ImportError:  # a platform without it
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from collections.abc import Iterator


class Opcode(IntEnum):
    """Kinds of frames (section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_OPCODES: Final = frozenset(Opcode)
#: The most that a control frame may carry (section 5.5).
_CONTROL_BYTES: Final = 125

# Close codes that we answer mistakes with (section 7.4.1).
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
INVALID_DATA: Final = 1007
MESSAGE_TOO_BIG: Final = 1009
#: Those that a peer may send: of the protocol itself, registered, and private ones.
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_OTHERS: Final = range(3000, 5000)


class Violation(Exception):
    """A client said what it may not. The socket is to be closed with *code*; nothing that follows is looked at."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Incoming:
    """
    The frames of one client.

    Args:
        limit: Bytes of the longest message, however many frames it has.
    """

    __slots__ = ("_limit", "_message", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: The beginning of a frame.
        self._rest = b""
        #: The text of a message whose last frame has not come. One buffer, because frames may be empty and without
        #: end: a list of them would grow for ever.
        self._message: bytearray | None = None

    def receive(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """
        The whole messages in what has come, each by the kind of its first frame, and control frames between them.

        Of a binary message, which nobody wants here, only the first frame. To be taken to its end before the next call.

        Raises:
            Violation: After all that came before it.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        place, size = 0, len(data)
        while size - place >= 2:
            opcode = self._opcode(data[place], data[place + 1])
            final = bool(data[place] & _FIN)
            begin, length = place + 2, data[place + 1] & ~_MASKED
            if length > _CONTROL_BYTES:  # it follows, in two or eight bytes
                begin += 2 if length == 126 else 8
                if begin > size:
                    break
                length = int.from_bytes(data[place + 2 : begin], "big")
            self._check_size(opcode, length)
            end = begin + 4 + length
            if end > size:
                break
            payload = apply_mask(data[begin + 4 : end], data[begin : begin + 4])
            place = end
            if opcode not in (Opcode.TEXT, Opcode.CONTINUATION):
                yield opcode, payload
            elif final and self._message is None:
                yield Opcode.TEXT, payload
            else:
                self._message = self._message or bytearray()
                self._message += payload
                if final:
                    payload, self._message = bytes(self._message), None
                    yield Opcode.TEXT, payload
        self._rest = data[place:]

    def _opcode(self, first: int, second: int) -> Opcode:
        """What may be said at all, and now; the rest of the frame need not have come."""
        number = first & 0x0F
        if first & _RESERVED:
            raise Violation(PROTOCOL_ERROR, "reserved bits")  # an extension that nobody agreed on
        if number not in _OPCODES:
            raise Violation(PROTOCOL_ERROR, "unknown opcode")
        if not second & _MASKED:
            raise Violation(PROTOCOL_ERROR, "a frame that is not masked")  # section 5.1
        if number & 0x8:
            if second & ~_MASKED > _CONTROL_BYTES or not first & _FIN:
                raise Violation(PROTOCOL_ERROR, "a control frame that is long or fragmented")
        elif (number == Opcode.CONTINUATION) is (self._message is None):
            raise Violation(PROTOCOL_ERROR, "a fragment out of order")  # section 5.4
        return Opcode(number)

    def _check_size(self, opcode: Opcode, length: int) -> None:
        """A message that will be too long is refused before it comes."""
        if opcode < Opcode.CLOSE and length + len(self._message or b"") > self._limit:
            raise Violation(MESSAGE_TOO_BIG, "message too big")


def check_close(payload: bytes) -> None:
    """
    Whether a close frame is one that may be sent (sections 5.5.1 and 7.4).

    Raises:
        Violation: When it isn't.
    """
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _SENDABLE or code in _OTHERS):
        raise Violation(PROTOCOL_ERROR, "not a close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(INVALID_DATA, "not UTF-8") from None


def control_frame(opcode: Opcode, payload: bytes) -> bytes:
    """A frame to a client. *payload* has at most 125 bytes."""
    return bytes((_FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """The frame by which a server says goodbye. A long *reason* is cut."""
    text = reason.encode()[: _CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return control_frame(Opcode.CLOSE, struct.pack("!H", code) + text)
