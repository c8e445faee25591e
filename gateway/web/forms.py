"""The forms of `/v1/events` that are HTML (transports/sse.py: Form)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.web.fragment_framings import FORMS as NAMES
from gateway.web.fragment_framings import FRAMINGS
from gateway.web.fragment_view import FragmentView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.transports.requests import Wish
    from gateway.web.fragment_framings import FragmentFraming


#: Datastar tells the server with each `@get` what the page knows.
_BESIDES: Final[Mapping[str, frozenset[str]]] = {"datastar": frozenset({"datastar"})}


class HtmlForm:
    """Runs as HTML, in events as one of those who put them into pages reads them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.besides = _BESIDES.get(name, frozenset())

    def view(self, wish: Wish, hidden: frozenset[str] | None) -> FragmentView:
        return FragmentView(wish.feed, wish.hidden if hidden is None else hidden, wish.since, wish.limit)

    def framing(self, *, several_feeds: bool, chunked: bool) -> FragmentFraming:
        return FRAMINGS[self._name, several_feeds, chunked]


FORMS: Final[Mapping[str, HtmlForm]] = {name: HtmlForm(name) for name in NAMES}
