"""Runs as HTML: what is shown of them, and that nothing that a user wrote is taken for more than text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.api.elsewhere import FORMS as DESCRIBED
from gateway.codec import encode_message
from gateway.web.forms import FORMS
from gateway.web.fragment_framings import FRAMINGS
from gateway.web.fragment_view import BETWEEN
from gateway.web.fragments import beside_fragment, list_fragment, run_fragment

MOMENT = 1_769_853_600_000
VALUES = {
    "taskIdentifier": "export",
    "status": "EXECUTING",
    "attempt": 2,
    "createdAt": MOMENT,
    "startedAt": MOMENT + 1_000,
    "runTags": ["customer:7"],
    "transitions": [[1, "PENDING", MOMENT, 1], [2, "EXECUTING", MOMENT + 1_000, 2]],
}
#: What an element may be that we made.
KNOWN = {"li", "ul", "ol", "span", "time", "progress"}


class Reader(HTMLParser):
    """What a browser makes of it: elements with their attributes, and texts."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._inside: list[str] = []
        self.feed(html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        self._inside.append(found.get("class") or tag)

    def handle_endtag(self, tag: str) -> None:
        self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside[-1]] = self.texts.get(self._inside[-1], "") + data


def test_a_run_is_an_item_with_what_people_look_for() -> None:
    """Under names that stay."""
    read = Reader(run_fragment("run_1", VALUES, {"percent": 30, "text": "resizing"}))

    assert read.elements[0] == (
        "li",
        {
            "class": "runcast-run",
            "id": "run-run_1",
            "data-run": "run_1",
            "data-status": "EXECUTING",
            "data-state": "running",
            "data-attempt": "2",
            "data-created": "2026-01-31T10:00:00.000Z",
        },
    )
    assert read.texts["runcast-task"] == "export"
    assert read.texts["runcast-status"] == "running"
    assert read.texts["runcast-progress"] == "30%"
    assert read.texts["runcast-text"] == "resizing"
    assert read.texts["runcast-started"] == "2026-01-31 10:00:01 UTC"
    bar = dict(read.elements)["progress"]
    assert (bar["max"], bar["value"], bar["aria-label"]) == ("100", "30", "export")
    transitions = [found["data-status"] for tag, found in read.elements if tag == "li" and "data-status" in found]
    assert transitions == ["EXECUTING", "QUEUED", "EXECUTING"]


@pytest.mark.parametrize("progress", [None, {}, {"current": 3}, {"percent": "30"}, {"percent": None, "text": ""}])
def test_there_is_no_bar_when_nobody_knows_how_far_it_is(progress: Any) -> None:
    """And none that stands still when the run is over."""
    assert b"<progress" not in run_fragment("run_1", VALUES, progress)
    assert b"<progress" not in run_fragment("run_1", {**VALUES, "status": "CANCELED"}, {"percent": 30})


@given(st.text())
@example("</li><script>alert(1)</script>\n\ndata: <b>&amp;\"'\x00\x85\u2028\ud800")
def test_whatever_is_written_is_text(text: str) -> None:
    """On one line, in elements that are ours alone."""
    values = {
        **VALUES,
        "taskIdentifier": text,
        "runTags": [text],
        "error": {"type": "BUILT_IN_ERROR", "name": text, "message": text},
    }
    html = run_fragment("run_1", values, {"percent": 1, "text": text})
    html += beside_fragment("error", {"code": "token_expired", "message": text, "retry": False})

    assert len(html.decode().splitlines()) == 1
    assert {tag for tag, _ in Reader(html).elements} <= KNOWN | {"p"}
    attributes = {name for _, found in Reader(html).elements for name in found}
    assert attributes <= {
        *("class", "id", "data-run", "data-status", "data-state", "data-attempt", "data-created", "datetime"),
        *("max", "value", "aria-label", "role", "data-code", "data-retry"),
    }


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no"}, "ValueError: no"),
        ({"type": "STRING_ERROR", "raw": "no space left"}, "no space left"),
        ({"type": "INTERNAL_ERROR", "code": "TASK_RUN_CRASHED"}, "TASK_RUN_CRASHED"),
    ],
)
def test_an_error_is_said_in_a_line(error: dict[str, str], shown: str) -> None:
    """Of whatever kind it is."""
    read = Reader(run_fragment("run_1", {**VALUES, "status": "CRASHED", "error": error}, None))

    assert read.texts["runcast-error"] == shown


def test_a_list_says_whether_it_is_all() -> None:
    """A page that shows some must be able to say so."""
    read = Reader(list_fragment("tag:a,b", b"", complete=True, truncated=True))

    assert read.elements == [
        (
            "ul",
            {"class": "runcast-runs", "id": "runs-tag:a,b", "data-complete": "true", "data-truncated": "true"},
        )
    ]


def test_what_is_stale_says_since_when() -> None:
    """In words, and for style sheets."""
    read = Reader(beside_fragment("heartbeat", {"state": "stale", "asOf": "2026-01-31T10:00:00.000Z"}))

    assert read.elements[0][1]["data-state"] == "stale"
    assert read.elements[0][1]["data-as-of"] == "2026-01-31T10:00:00.000Z"
    assert read.texts == {"runcast-connection": "stale as of ", "time": "10:00:00 UTC"}


def spelled(form: str, kind: str, head: dict[str, Any], html: bytes) -> list[str]:
    """An event's lines, with the head of ours before its HTML."""
    body = encode_message(head) + BETWEEN + html
    return FRAMINGS[form, False, False].frame(kind, body, "1-2").decode().split("\n")


ITEM = b'<li class="runcast-run" id="run-r">x</li>'
INSTEAD, ON_TOP = '[id="runs-run:r"] > [id="run-r"]', '[id="runs-run:r"]:not(:has(> [id="run-r"]))'
QUOTED = {name: text.replace('"', "&quot;").replace(">", "&gt;") for name, text in (("in", INSTEAD), ("on", ON_TOP))}


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        (
            "html",
            [
                "id: 1-2",
                "event: update",
                f'data: <li hx-swap-oob="outerHTML:{QUOTED["in"]}" class="runcast-run" id="run-r">x</li>'
                f'<ul hx-swap-oob="afterbegin:{QUOTED["on"]}"><li class="runcast-run" id="run-r">x</li></ul>',
            ],
        ),
        (
            "htmx",
            [
                "id: 1-2",
                f'data: <hx-partial hx-target="{QUOTED["in"]}" hx-swap="outerHTML">{ITEM.decode()}</hx-partial>'
                f'<hx-partial hx-target="{QUOTED["on"]}" hx-swap="afterbegin">{ITEM.decode()}</hx-partial>',
            ],
        ),
        (
            "turbo",
            [
                "id: 1-2",
                f'data: <turbo-stream action="replace" targets="{QUOTED["in"]}"><template>{ITEM.decode()}</template>'
                f'</turbo-stream><turbo-stream action="prepend" targets="{QUOTED["on"]}"><template>{ITEM.decode()}'
                "</template></turbo-stream>",
            ],
        ),
        (
            "datastar",
            [
                *("event: datastar-patch-elements", f"data: selector {INSTEAD}", "data: mode outer"),
                *(f"data: elements {ITEM.decode()}", "", "id: 1-2"),
                *("event: datastar-patch-elements", f"data: selector {ON_TOP}", "data: mode prepend"),
                f"data: elements {ITEM.decode()}",
            ],
        ),
    ],
)
def test_a_run_finds_its_place_in_each_form(form: str, lines: list[str]) -> None:
    """Instead of the one that is there, or on top: one of the two selectors finds something."""
    assert spelled(form, "update", {"feed": "run:r", "run": "r"}, ITEM) == [*lines, "", ""]


def test_with_several_feeds_only_heartbeats_have_a_number() -> None:
    """As in JSON: one change may be told for each of them."""
    for form in FORMS:
        framing = FRAMINGS[form, True, False]
        body = encode_message({"feed": "run:r", "run": "r"}) + BETWEEN + ITEM
        heartbeat = encode_message({"type": "heartbeat", "state": "live"})
        assert b"id: " not in framing.frame("update", body, "1-2")
        assert b"id: 1-2" in framing.frame("heartbeat", heartbeat, "1-2")


def test_the_document_names_every_form() -> None:
    """And no other."""
    assert set(DESCRIBED) == {"json", *FORMS}
