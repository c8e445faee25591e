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
SOURCES = ROOT / "client" / "src"
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


KINDS = ("attributes", "cssParts", "cssProperties", "cssStates", "events", "members", "slots")


def declared(tag: str) -> dict[str, set[str]]:
    """The names of each kind that the manifest has of an element."""
    manifest: dict[str, Any] = json.loads((ROOT / "client" / "custom-elements.json").read_text(encoding="utf-8"))
    (found,) = [each for each in manifest["modules"][0]["declarations"] if each["tagName"] == tag]
    return {kind: {each["name"] for each in found[kind]} for kind in KINDS}


def source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("tag", ["run-status", "run-list"])
async def test_it_says_what_there_is(host: HostPage, tag: str) -> None:
    has, names = await host.page.evaluate(_HAS, tag), declared(tag)
    assert names["attributes"] == set(has["attributes"]) - OTHERS[tag]
    assert names["cssParts"] - OF_A_STREAM == set(has["parts"]) - UNSEEN
    assert names["members"] == set(has["members"])
    assert names["slots"] == {name for name in has["slots"] if name != "-"} | {"done", "failed"}
    styles = source("elements/element.css") + source(f"elements/{tag}.css")
    assert names["cssProperties"] == set(re.findall(r"--run-status-[\w-]+", styles))
    assert names["events"] == {f"run-{what}" for what in re.findall(r'#tell\("(\w+)"', source("elements/element.ts"))}
    (kinds,) = re.findall(r"export type Kind = (.*);", source("elements/statuses.ts"))
    (states,) = re.findall(r"export interface ConnectionState {.*? state: (.*?);", source("link.ts"), re.DOTALL)
    assert names["cssStates"] == set(re.findall(r"\w+", kinds + states)) | {"empty", "given"}


def first_cells(heading: str) -> list[str]:
    """What stands in backticks in the first cells of the table with this head, or of several."""
    tables = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[ -|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert tables, heading
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def in_full(names: list[str]) -> set[str]:
    """Custom properties, of which each that begins with one dash ends otherwise than the one before."""
    full = [names[0]]
    for name in names[1:]:
        full.append(name if name.startswith("--") else full[-1].rpartition("-")[0] + name)
    return set(full)


def between(start: str, end: str) -> set[str]:
    """The words in backticks there."""
    (text,) = re.findall(re.escape(start) + "(.*?)" + re.escape(end), PAGE, re.DOTALL)
    return {word for name in re.findall(r"`([^`]+)`", text) for word in name.split()}


async def test_all_of_it_is_written_down() -> None:
    """Each name at its place in docs/elements.md, and no other there."""
    status, rows = declared("run-status"), declared("run-list")
    both = {kind: status[kind] | rows[kind] for kind in KINDS}
    assert both["attributes"] == set(first_cells("attribute"))
    assert both["events"] == set(first_cells("event"))
    methods = set(re.findall(r"`(\w+)\(\)`", PAGE[PAGE.index("## Properties") : PAGE.index("| event |")]))
    assert both["members"] == set(first_cells("property")) | methods
    assert both["cssProperties"] == in_full(first_cells("custom property"))
    assert both["cssStates"] == between("States: ", "and those of") | set(first_cells("state of the connection"))
    assert status["cssParts"] == between("Parts of `<run-status>`: ", ";")
    assert rows["cssParts"] == between("Of `<run-list>`: ", "States:")
    assert both["slots"] - {""} == set(re.findall(r'slot="(\w+)"', PAGE)) | between("the slot of your own", "Of ")
