"""What client/custom-elements.json and docs/elements.md say of the elements is what they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.elements.host_page import HostPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "elements.md").read_text(encoding="utf-8")
#: What the element has itself, and of parts those that are there once everything has been shown.
_HAS = """async (tag) => {
    const run = { status: "EXECUTING", createdAt: "2026-01-31T10:00:00Z", metadata: { progress: 1 } };
    const element = document.createElement(tag);
    element.setAttribute("variant", "steps");
    element.data = [1, 2].map((id) => ({ id, ...run }));
    document.querySelector("main").append(element);
    await Promise.resolve();
    const parts = [...element.shadowRoot.querySelectorAll("[part]")].flatMap((part) => [...part.part]);
    return {
        attributes: element.constructor.observedAttributes,
        parts: [...new Set(parts)],
        members: ["data", "getToken", "words", "refresh", "close"].filter((name) => name in element),
        slots: [...element.shadowRoot.querySelectorAll("slot")].map(({ name }) => name),
    };
}"""
#: Attributes that only the other element heeds; the region that nobody sees; what only a stream brings.
OTHERS = {"run-status": {"href"}, "run-list": {"variant", "stream"}}
UNSEEN = {"ears"}
OF_A_STREAM = {"line", "at", "lost"}


@pytest.mark.parametrize("tag", ["run-status", "run-list"])
async def test_it_says_what_there_is(host: HostPage, tag: str) -> None:
    manifest: dict[str, Any] = json.loads((ROOT / "client" / "custom-elements.json").read_text(encoding="utf-8"))
    (declared,) = [each for each in manifest["modules"][0]["declarations"] if each["tagName"] == tag]
    has = await host.page.evaluate(_HAS, tag)
    names = {what: {each["name"] for each in declared[what]} for what in ("attributes", "cssParts", "members", "slots")}
    assert names["attributes"] == set(has["attributes"]) - OTHERS[tag]
    assert names["cssParts"] - OF_A_STREAM == set(has["parts"]) - UNSEEN
    assert names["members"] == set(has["members"])
    assert names["slots"] == {name for name in has["slots"] if name != "-"} | {"done", "failed"}
    documented = set(re.findall(r"[\w-]+", PAGE))
    for what in ("attributes", "cssParts", "members", "slots", "events", "cssStates"):
        assert {each["name"] for each in declared[what]} - {""} <= documented | {"given"}
