"""Which pages may talk to the gateway: what the allow-list means, and that nothing else slips through."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BadInput
from gateway.transports.admission import foreign_origin
from gateway.transports.origins import Origins

LIST = "https://app.example.com, http://localhost:3000, https://*.example.org, https://*.wild.net:8443, http://[::1]:80"
ORIGINS = Origins.parse(LIST)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "HTTPS://App.Example.COM",
        "http://localhost:3000",
        "https://a.example.org",
        "https://a.b-c.d1.example.org",
        "https://xn--bcher-kva.example.org",
        "https://a.wild.net:8443",
        "http://[::1]:80",
    ],
)
def test_what_is_listed_is_allowed(origin: str) -> None:
    """An origin as it stands, whatever its letters' case, and any sub-domain where a star says so."""
    assert ORIGINS.allow(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "https://b.app.example.com",
        "https://app.example.com.evil.com",
        "https://evil-app.example.com",
        "https://app-example.com",
        "https://appxexample.com",
        "http://app.example.com",
        "https://app.example.com:443",
        "https://app.example.com.",
        "https://app.example.com/",
        " https://app.example.com",
        "https://app.example.com\n",
        "https://app.example.com@evil.com",
        "https://user:password@app.example.com",
        "http://localhost",
        "http://localhost:30000",
        "https://example.org",
        "https://.example.org",
        "https://..example.org",
        "https://a..example.org",
        "https://evil-example.org",
        "https://evilexample.org",
        "https://aexample.org",
        "https://a.example.org.evil.com",
        "https://a.exampleXorg",
        "https://a.example.org:8443",
        "https://a.example.org.",
        "https://a.example.org\n",
        "https://evil.com/.example.org",
        "https://evil.com?.example.org",
        "https://evil.com#.example.org",
        "https://evil.com\\.example.org",
        "https://evil.com:1.example.org",
        "https://evil.com@a.example.org",
        "https://a b.example.org",
        "https://*.example.org",
        "http://a.example.org",
        "https://a.wild.net",
        "https://a.wild.net:84430",
        "file://",
        "null",
        "*",
        "",
    ],
)
def test_what_is_not_listed_is_refused(origin: str) -> None:
    """However it resembles something that is."""
    assert not ORIGINS.allow(origin)


def test_nothing_is_allowed_by_default() -> None:
    """An empty list is a list: pages of other origins are refused."""
    for origins in (Origins(), Origins.parse(""), Origins.parse(" , ,")):
        assert not origins.allow("https://app.example.com")
        assert not origins.allow("null")


def test_a_star_allows_everything() -> None:
    """Alone or among others."""
    for text in ("*", "https://app.example.com, *"):
        assert Origins.parse(text).allow("https://anything.example")


@pytest.mark.parametrize(
    "entry",
    [
        "app.example.com",
        "ftp://app.example.com",
        "https://",
        "https://*",
        "https://*.",
        "https://a.*.example.com",
        "https://*example.com",
        "https://**.example.com",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://user@app.example.com",
        "https://app.example.com:",
        "https://app.example.com:123456",
        "https://app.example.com:*",
        "https://app example.com",
        "https://app.example.com https://b.example.com",
        "https://büro.example.com",
        "http\u017f://app.example.com",
        "https://app.example.com:\u0661\u0662",
        "null",
        ".*",
    ],
)
def test_an_entry_that_is_no_origin_is_refused_by_name(entry: str) -> None:
    """Whoever writes the list learns which entry is wrong, and what would be right."""
    with pytest.raises(BadInput) as refused:
        Origins.parse(f"https://good.example.com, {entry}")

    assert repr(entry) in str(refused.value)
    assert "https://*.example.com" in str(refused.value)


@given(st.text())
@example("https://*." + "a." * 500)
def test_any_text_is_a_list_or_a_clear_error(text: str) -> None:
    """And what is not a star allows no page that it does not name."""
    try:
        origins = Origins.parse(text)
    except BadInput:
        return

    assert origins.any == ("*" in [entry.strip() for entry in text.split(",")])
    assert origins.any or not origins.allow("https://evil.invalid")


@given(st.text(), st.sampled_from(["https://{}.example.org", "https://{}", "{}"]))
def test_a_sub_domain_is_nothing_but_labels(text: str, shape: str) -> None:
    """Whatever stands where a sub-domain should: it is allowed only if letters, digits, hyphens and single dots."""
    origin = shape.format(text)

    if ORIGINS.allow(origin) and origin.lower() not in ORIGINS.exact:
        host = origin.lower().removeprefix("https://").removesuffix(":8443")
        assert host.endswith((".example.org", ".wild.net"))
        assert all(label and set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for label in host.split("."))


def test_a_long_origin_is_judged_at_once() -> None:
    """No pattern takes longer than its text: 64 KiB of labels are nothing."""
    assert not ORIGINS.allow("https://" + "a." * 32_768 + "evil")
    assert not ORIGINS.allow("https://" + "a-" * 32_768)


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"host": "a.example"}, None),
        ({"host": "a.example", "origin": "https://a.example"}, None),
        ({"host": "A.Example:8443", "origin": "https://a.example:8443"}, None),
        ({"host": "[::1]:80", "origin": "http://[::1]:80"}, None),
        ({"host": "a.example", "origin": "https://a.example:8443"}, "https://a.example:8443"),
        ({"host": "a.example", "origin": "https://b.example"}, "https://b.example"),
        ({"host": "a.example", "origin": "a.example"}, "a.example"),
        (
            {"host": "a.example", "origin": "https://b.example, https://a.example"},
            "https://b.example, https://a.example",
        ),
        ({"host": "", "origin": "https://"}, "https://"),
        ({"host": "null", "origin": "null"}, "null"),
        ({"origin": "https://a.example"}, "https://a.example"),
    ],
)
def test_our_own_pages_come_from_nowhere_else(headers: dict[str, str], foreign: str | None) -> None:
    """A page of ours is at the host that it asks; of any other the origin is judged, as it stands."""
    assert foreign_origin(headers) == foreign


def test_pages_without_an_origin_are_allowed_only_where_that_was_said() -> None:
    """No list names them, but one that allows everybody."""
    assert not ORIGINS.allow("null")
    assert Origins.parse("*").allow("null")
    assert Origins(opaque=True).allow("null")
    assert not Origins(opaque=True).allow("https://null")
