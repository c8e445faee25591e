"""A badge as a picture: two words beside each other, as wide as they need, without any font but the reader's own."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from xml.sax.saxutils import escape, quoteattr

#: How wide the characters from space to tilde are in DejaVu Sans, which Verdana is nearly like: hundredths of an em.
_WIDTHS: Final = (
    *(32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34),  # space to slash
    *(64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84, 53),  # 0 to question mark
    *(100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79),  # @ to O
    *(60, 79, 69, 63, 61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50),  # P to underscore
    *(50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61),  # ` to o
    *(63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84),  # p to tilde
)
_FIRST: Final = 32
#: Of all other characters: the usual one, one of scripts whose characters fill a square, and those that are written
#: from right to left (by Unicode's bidirectional classes), which are narrower.
_OTHER, _WIDE = 65, 100
_LEFTWARDS: Final = MappingProxyType({"R": 53, "AL": 48})
_FONT_PIXELS: Final = 11
_HEIGHT: Final = 20
#: Between a text and the edge of its field.
_MARGIN: Final = 6
#: More is cut off: a badge stands in a line of text.
MOST_LETTERS: Final = 100

_LABEL_COLOUR: Final = "#3d444d"


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says."""

    label: str
    message: str
    #: As in `#1a7f37`; white text on it can be read.
    colour: str
    #: How far it is, 0 to 100; None when that is not known.
    percent: float | None = None
    #: Whether it says how things are, and not that this can't be said.
    known: bool = True

    @property
    def text(self) -> str:
        """For whoever does not see it."""
        return f"{self.label}: {self.message}"


def width_of(text: str) -> int:
    """How many pixels *text* takes, about: the picture tells the browser to make it exactly that."""
    return round(sum(_width(letter) for letter in text) * _FONT_PIXELS / 100)


def _width(letter: str) -> int:
    place = ord(letter) - _FIRST
    if 0 <= place < len(_WIDTHS):
        return _WIDTHS[place]
    if unicodedata.combining(letter):
        return 0
    if unicodedata.east_asian_width(letter) in "WF":
        return _WIDE
    return _LEFTWARDS.get(unicodedata.bidirectional(letter), _OTHER)


def shortened(text: str) -> str:
    """*text* on one line that XML can hold (XML 1.0, section 2.2), and not too long."""
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 1]}…"


def draw(badge: Badge) -> bytes:
    """The picture, as SVG."""
    label, message = shortened(badge.label), shortened(badge.message)
    left, right = (width_of(text) + 2 * _MARGIN for text in (label, message))
    title = f"{label}: {message}"
    bar = ""
    if badge.percent is not None:
        done = round(right * min(max(badge.percent, 0), 100) / 100, 1)
        bar = f'<rect x="{left}" y="{_HEIGHT - 3}" width="{done:g}" height="3" fill="#fff" fill-opacity=".7"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img" '
        f"aria-label={quoteattr(title)}><title>{escape(title)}</title>"
        f'<clipPath id="edge"><rect width="{left + right}" height="{_HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#edge)"><rect width="{left}" height="{_HEIGHT}" fill="{_LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{badge.colour}"/>{bar}</g>'
        f'<g fill="#fff" font-family="DejaVu Sans,Verdana,Geneva,sans-serif" font-size="{_FONT_PIXELS}">'
        f"{_drawn_text(label, _MARGIN)}{_drawn_text(message, left + _MARGIN)}</g></svg>\n"
    ).encode()


def _drawn_text(text: str, x: int) -> str:
    width = width_of(text)
    # Where the width is a guess, letters are stretched: those that join would be torn apart by space between them.
    stretched = "" if text.isascii() else ' lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x}" y="14" textLength="{width}"{stretched}>{escape(text)}</text>' if width else ""
