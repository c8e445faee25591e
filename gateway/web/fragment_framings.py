"""
How events that are HTML are spelled, for each of those who put them into a page: htmx, Turbo and Datastar. What is said
is the same; they differ in how an event names the place where its HTML goes.

A run that changed replaces the one of its id in the list of its feed, and is put on top when it is not there: which of
the two it is, only the page knows. So both are said, each with a selector that finds its place or nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.codec import decode_json
from gateway.transports.framings import EventFraming
from gateway.web.fragment_view import BETWEEN
from gateway.web.fragments import beside_fragment, list_fragment, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ITEM: Final = b"<li"


def list_selector(feed: str) -> str:
    """The list of a feed. The names of feeds and runs have no quote and no backslash (gateway/feeds.py)."""
    return f'[id="runs-{feed}"]'


def place_selector(feed: str) -> str:
    """Where a page wants the list of a feed, or what is said beside it when there is no feed."""
    return f'[data-runcast-feed="{feed}"]' if feed else "[data-runcast-connection]"


class FragmentFraming(EventFraming):
    """
    For htmx 2, and for whoever reads the events with a script: named as those of the protocol, and HTML as it stands.

    A run comes as two elements that say where they go by `hx-swap-oob`, which means nothing to others.
    """

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        if kind not in ("snapshot", "update"):
            return self.beside(kind, beside_fragment(kind, decode_json(body)), cursor)
        text, _, html = body.partition(BETWEEN)
        head = decode_json(text)
        if kind == "update":
            return self.run(head["feed"], head["run"], html, cursor)
        whole = list_fragment(head["feed"], html, complete=head["complete"], truncated=head["truncated"])
        return self.all_runs(head["feed"], whole, cursor)

    def beside(self, kind: str, html: bytes, cursor: str) -> bytes:
        """A message that is about no run."""
        return super().frame(kind, html, cursor) if html else b""

    def all_runs(self, feed: str, html: bytes, cursor: str) -> bytes:
        """The list of a feed, anew."""
        return super().frame("snapshot", html, cursor)

    def run(self, feed: str, run: str, html: bytes, cursor: str) -> bytes:
        """A run as it is now."""
        instead, on_top = _places(feed, run)
        item = _ITEM + _attribute("hx-swap-oob", f"outerHTML:{instead}") + html.removeprefix(_ITEM)
        more = b"<ul%s>%s</ul>" % (_attribute("hx-swap-oob", f"afterbegin:{on_top}"), html)
        return super().frame("update", item + more, cursor)


class _Placed(NamedTuple):
    """Some HTML and where it goes."""

    #: In place of what a selector finds, as the whole content of it, or before all other content.
    how: Literal["instead", "within", "on top"]
    selector: str
    html: bytes


class PlacedFraming(FragmentFraming, ABC):
    """For those who want to be told for each piece of HTML where it goes. Where a selector finds nothing, nowhere."""

    @abstractmethod
    def spell(self, placed: Sequence[_Placed], id_line: bytes) -> bytes:
        """As events, the last of which has *id_line*."""

    def beside(self, kind: str, html: bytes, cursor: str) -> bytes:
        return self._told(kind, cursor, _Placed("within", place_selector(""), html)) if html else b""

    def all_runs(self, feed: str, html: bytes, cursor: str) -> bytes:
        return self._told("snapshot", cursor, _Placed("within", place_selector(feed), html))

    def run(self, feed: str, run: str, html: bytes, cursor: str) -> bytes:
        instead, on_top = _places(feed, run)
        return self._told("update", cursor, _Placed("instead", instead, html), _Placed("on top", on_top, html))

    def _told(self, kind: str, cursor: str, *placed: _Placed) -> bytes:
        return self.spell(placed, self.id_line(kind, cursor))


class HtmxFraming(PlacedFraming):
    """For htmx 4: events without a name, of partials (htmx.org, "hx-partial")."""

    _HOW: Final = {"instead": b"outerHTML", "within": b"innerHTML", "on top": b"afterbegin"}

    def spell(self, placed: Sequence[_Placed], id_line: bytes) -> bytes:
        elements = [
            b'<hx-partial%s hx-swap="%s">%s</hx-partial>' % (_attribute("hx-target", selector), self._HOW[how], html)
            for how, selector, html in placed
        ]
        return b"%sdata: %s\n\n" % (id_line, b"".join(elements))


class TurboFraming(PlacedFraming):
    """For Turbo: events without a name, of stream elements (turbo.hotwired.dev, "Turbo Streams")."""

    _HOW: Final = {"instead": b"replace", "within": b"update", "on top": b"prepend"}

    def spell(self, placed: Sequence[_Placed], id_line: bytes) -> bytes:
        elements = [
            b'<turbo-stream action="%s"%s><template>%s</template></turbo-stream>'
            % (self._HOW[how], _attribute("targets", selector), html)
            for how, selector, html in placed
        ]
        return b"%sdata: %s\n\n" % (id_line, b"".join(elements))


class DatastarFraming(PlacedFraming):
    """For Datastar: its own events, of lines with a name each (data-star.dev, "SSE Events")."""

    _HOW: Final = {"instead": b"outer", "within": b"inner", "on top": b"prepend"}

    def spell(self, placed: Sequence[_Placed], id_line: bytes) -> bytes:
        events = [
            b"event: datastar-patch-elements\ndata: selector %s\ndata: mode %s\ndata: elements %s\n\n"
            % (selector.encode(), self._HOW[how], html)
            for how, selector, html in placed
        ]
        events[-1] = id_line + events[-1]
        return b"".join(events)


def _places(feed: str, run: str) -> tuple[str, str]:
    """Where a run is if it is in its list, and where it goes if it is not."""
    within, itself = list_selector(feed), f'[id="run-{run}"]'
    return f"{within} > {itself}", f"{within}:not(:has(> {itself}))"


def _attribute(name: str, value: str) -> bytes:
    return f' {name}="{text_of(value, most=None)}"'.encode()


_KINDS: Final[Mapping[str, type[FragmentFraming]]] = {
    "html": FragmentFraming,
    "htmx": HtmxFraming,
    "turbo": TurboFraming,
    "datastar": DatastarFraming,
}
#: By (form, several feeds, chunked): one object for all who are told the same.
FRAMINGS: Final[Mapping[tuple[str, bool, bool], FragmentFraming]] = {
    (name, several, chunked): kind(several_feeds=several, chunked=chunked)
    for name, kind in _KINDS.items()
    for several in (False, True)
    for chunked in (False, True)
}
FORMS: Final = tuple(_KINDS)
