"""Badges as pictures: what is drawn, and that nothing can be written into them that would be more than text."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.runs import Status
from gateway.web.badge_svg import MOST_LETTERS, Badge, draw, shortened, width_of
from gateway.web.badges import _COLOURS, _GREY
from gateway.web.states import State, percent_of, percent_text, state_of, words_of
from tests.elements.progress_forms import FORMS

SVG = "{http://www.w3.org/2000/svg}"
#: WCAG 2.2, criterion 1.4.3.
LEAST_CONTRAST = 4.5


@given(label=st.text(), message=st.text())
@example(label='<script>alert("1")</script>', message="a & b ' ]]> \x00\x0b\ud800")
@example(label="", message="")
def test_whatever_it_says_is_text(label: str, message: str) -> None:
    """The picture is XML that anybody can read, with the same words for whoever does not see it."""
    picture = ET.fromstring(draw(Badge(label, message, "#1a7f37")))

    said = f"{shortened(label)}: {shortened(message)}"
    assert picture.attrib["role"] == "img"
    assert picture.attrib["aria-label"] == said
    assert picture.findtext(f"{SVG}title") == said
    shown = [text.text for text in picture.iter(f"{SVG}text")]
    assert shown == [text for text in (shortened(label), shortened(message)) if width_of(text)]
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        *("svg", "title", "clipPath", "g", "rect", "text"),
    }


def test_a_badge_is_as_wide_as_its_words() -> None:
    """Each text has its field, and the fields are the picture."""
    picture = ET.fromstring(draw(Badge("build", "completed", "#1a7f37")))
    clip, left, right = picture.iter(f"{SVG}rect")

    assert int(left.attrib["width"]) == width_of("build") + 12
    assert int(right.attrib["x"]) == int(left.attrib["width"])
    assert int(picture.attrib["width"]) == int(left.attrib["width"]) + int(right.attrib["width"])
    assert clip.attrib["width"] == picture.attrib["width"]


def test_letters_are_not_all_alike() -> None:
    """A narrow one, a wide one, one that fills a square, and one that stands on another."""
    assert width_of("iiii") < width_of("nnnn") < width_of("WWWW")
    assert width_of("中") == 11
    assert width_of("e\u0301") == width_of("e")


def test_a_text_that_is_too_long_is_cut_off() -> None:
    """A badge stands in a line of text."""
    assert shortened("a" * MOST_LETTERS) == "a" * MOST_LETTERS
    assert shortened("a" * 500) == "a" * (MOST_LETTERS - 1) + "…"


@pytest.mark.parametrize(("percent", "width"), [(0.0, 0.0), (50.0, 0.5), (100.0, 1.0), (250.0, 1.0)])
def test_progress_is_drawn_as_far_as_it_is(percent: float, width: float) -> None:
    """Below the message, over its whole width when it is done."""
    picture = ET.fromstring(draw(Badge("build", "running", "#0969da", percent)))
    _, _, field, bar = picture.iter(f"{SVG}rect")

    assert float(bar.attrib["width"]) == pytest.approx(int(field.attrib["width"]) * width, abs=0.1)


@pytest.mark.parametrize("colour", [*_COLOURS.values(), _GREY])
def test_white_can_be_read_on_every_colour(colour: str) -> None:
    """By whoever sees little contrast, too."""
    assert 1.05 / (_luminance(colour) + 0.05) >= LEAST_CONTRAST


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_state_and_words(status: Status) -> None:
    """One that is added can't be forgotten."""
    assert state_of(status) in State
    assert words_of(status) == words_of(status).lower()
    assert "_" not in words_of(status)


@pytest.mark.parametrize(("progress", "percent"), FORMS)
def test_progress_is_known_when_it_is_said(progress: object, percent: float | None) -> None:
    """In whatever form, as in pages; nothing is guessed."""
    assert percent_of(progress) == percent


def test_a_hundred_is_said_when_it_is_reached() -> None:
    """Not a moment before."""
    assert (percent_text(99.99), percent_text(100.0)) == ("99%", "100%")


def test_letters_that_join_are_not_torn_apart() -> None:
    """How wide they are is a guess, and space between them would make another word of one. Stretched they stay one."""
    label, message = re.findall(r"<text [^>]*>", draw(Badge("تصدير", "running", "#0969da")).decode())
    assert 'lengthAdjust="spacingAndGlyphs"' in label
    assert "lengthAdjust" not in message
