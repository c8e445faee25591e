"""Text is UTF-8 (RFC 6455, sections 5.6 and 8.1; RFC 3629): whatever else comes ends with 1007, however it is cut."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import CONTINUATION, PING, TEXT
from tests.ways import Way
from tests.websocket.cases import NOT_UTF8, Case, carry_out, echo, frame, listen, opened, words

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

VALID = {
    "Greek": "κόσμε",
    "the first of two bytes": "\u0080",
    "the last of two bytes": "\u07ff",
    "the first of three bytes": "\u0800",
    "the last before surrogates": "\ud7ff",
    "the first behind surrogates": "\ue000",
    "the replacement character": "\ufffd",
    "no characters at all": "\ufffe\uffff",
    "the first of four bytes": "\U00010000",
    "no character beyond the first plane": "\U0001fffe",
    "the last of four bytes": "\U0010ffff",
    "all lengths": "aé€😀",
    "a byte order mark": "\ufeff",
}
INVALID = {
    "a continuation": b"\x80",
    "another continuation": b"\xbf",
    "six continuations": b"\x80\xbf" * 3,
    "all continuations": bytes(range(0x80, 0xC0)),
    "beginnings of two bytes": b" ".join(bytes((byte,)) for byte in range(0xC0, 0xE0)) + b" ",
    "beginnings of three bytes": b" ".join(bytes((byte,)) for byte in range(0xE0, 0xF0)) + b" ",
    "beginnings of four bytes": b" ".join(bytes((byte,)) for byte in range(0xF0, 0xF8)) + b" ",
    "a beginning of five bytes": b"\xf8\x88\x80\x80\x80",
    "a beginning of six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "fe ff": b"\xfe\xfe\xff\xff",
    "one byte of two": b"\xc3",
    "two bytes of three": b"\xe2\x82",
    "three bytes of four": b"\xf0\x9f\x98",
    "two bytes of three, and more": b"\xe2\x82a",
    "three bytes of four, and another": b"\xf0\x9f\x98\xf0\x9f\x98\x80",
    "an overlong slash of two": b"\xc0\xaf",
    "an overlong slash of three": b"\xe0\x80\xaf",
    "an overlong slash of four": b"\xf0\x80\x80\xaf",
    "the longest overlong of two": b"\xc1\xbf",
    "the longest overlong of three": b"\xe0\x9f\xbf",
    "the longest overlong of four": b"\xf0\x8f\xbf\xbf",
    "an overlong NUL": b"\xc0\x80",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "far beyond Unicode": b"\xf7\xbf\xbf\xbf",
    "Latin-1": b"caf\xe9",
}
BEFORE, BEHIND = words("a")[:-2], words("a")[-2:]


def bad(sequence: bytes) -> bytes:
    """A text that would be echoed, were it not for *sequence*."""
    return BEFORE + sequence + BEHIND


def fragments(text: bytes, *places: int) -> tuple[bytes, ...]:
    """*text* in fragments that meet at *places*."""
    bounds = [0, *places, len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(bounds)]
    last = len(pieces) - 1
    return tuple(frame(CONTINUATION if n else TEXT, piece, fin=n == last) for n, piece in enumerate(pieces))


CASES = [
    *(Case(name, "8.1", (frame(TEXT, words(f"x{text}x")),), answers=(f"run:x{text}x",))
      for name, text in VALID.items()),
    *(Case(f"{name}, a fragment for each byte", "8.1", fragments(words(text), *range(1, len(words(text)))),
           answers=(f"run:{text}",)) for name, text in VALID.items()),
    *(Case(name, "8.1", (frame(TEXT, bad(sequence)),), closed=(NOT_UTF8,)) for name, sequence in INVALID.items()),
    *(Case(f"{name}, and nothing else", "8.1", (frame(TEXT, sequence),), closed=(NOT_UTF8,))
      for name, sequence in INVALID.items()),
    Case("a character that ends in a fragment of its own", "8.1", fragments(words("€"), words("€").index(b"\xac")),
         answers=("run:€",)),
    Case("half a character at the end of a message", "8.1", fragments(b"\xe2\x82\xac\xe2", 3), closed=(NOT_UTF8,)),
    Case("half a character, and the rest in the next message", "8.1", (frame(TEXT, b"\xe2\x82"), frame(TEXT, b"\xac")),
         closed=(NOT_UTF8,)),
    Case("half a character, an empty fragment, and the rest", "8.1",
         fragments(words("€"), words("€").index(b"\xac"), words("€").index(b"\xac")), answers=("run:€",)),
    Case("half a character, a ping, and the rest", "8.1",
         (fragments(words("€"), words("€").index(b"\xac"))[0], frame(PING, b"\xff"),
          fragments(words("€"), words("€").index(b"\xac"))[1]), answers=("run:€",), pongs=(b"\xff",)),
    Case("a good text, and one that is not UTF-8", "8.1", (echo("a"), frame(TEXT, b"\xff")), answers=("run:a",),
         closed=(NOT_UTF8,)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_text(entrance: Entrance, case: Case) -> None:
    """What is UTF-8 arrives as it was; nothing else arrives at all."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("name", INVALID)
async def test_what_is_no_text_is_none_wherever_it_is_cut(entrance: Entrance, name: str) -> None:
    """Two fragments that meet before, behind and at each place in it; in segments of their own."""
    sequence = INVALID[name]
    for place in range(len(sequence) + 1):
        peer = await opened(entrance)
        await peer.say(*fragments(bad(sequence), len(BEFORE) + place), frame(PING, b"last") + echo("last"))

        heard = await listen(peer, last_word="last")

        assert (heard.closed, heard.answers) == (NOT_UTF8, []), place


@pytest.mark.parametrize("way", [Way.PLAIN], ids=lambda way: way.value)
async def test_text_elsewhere(entrance: Entrance) -> None:
    """On any server the app is told texts as they were, and never what is none."""
    for text in VALID.values():
        peer = await opened(entrance)
        await peer.say(*fragments(words(text), 40), echo("last"), frame(PING, b"last"))
        assert (await listen(peer, last_word="last")).answers == [f"run:{text}"]
    for sequence in INVALID.values():
        peer = await opened(entrance)
        await peer.say(frame(TEXT, sequence), frame(PING, b"last"), echo("last"))
        assert (await listen(peer, last_word="last")).closed == NOT_UTF8
