"""In which language the elements speak: numbers and times by the browser, words by the page."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import FloatRect

    from tests.elements.host_page import HostPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

ROOT: Final = Path(__file__).parents[2]
RUN: Final[dict[str, Any]] = {"id": "r", "taskIdentifier": "export", "createdAt": "2026-01-31T10:00:00Z"}
RUNNING: Final = RUN | {
    "status": "EXECUTING",
    "metadata": {"progress": {"current": 1200, "total": 5000, "percent": 24}},
    "transitions": [{"status": "QUEUED", "attempt": 1, "at": "2026-01-31T10:00:00Z"}],
}
PAGE: Final = (ROOT / "docs" / "elements.md").read_text(encoding="utf-8")
#: The examples of that page, in German and in Arabic.
GERMAN, ARABIC = re.findall(r"```js\n(.*?)```", PAGE[PAGE.index("## Languages") :], re.DOTALL)

#: What stands beside each other in a line, in the order in which it is read.
FROM_THE_RIGHT: Final = {
    "#one": ("svg", ".label", ".status"),
    "#badge": ("svg", ".label", ".status", ".detail"),
    "#compact": ("svg", ".label", ".status", ".bar", ".detail"),
    "#steps li": ("svg", ".text", ".time"),
    "#list .row": (".status", ".run", ".progress", ".since"),
    "#list .rows .row": ("svg", ".status .text", ".name", ".id", ".bar", ".detail", ".since .time"),
}


async def test_a_page_gives_its_words_once_for_all_its_elements(host: HostPage) -> None:
    """In German: to those that are there and those to come; what one element has of its own comes first."""
    await host.page.evaluate("() => { document.documentElement.lang = 'de'; }")
    await host.put("run-status", id="early")
    await host.put("run-list", id="list")
    await host.give("#early", RUNNING)
    await host.give("#list", [RUNNING])
    await expect(host.page.locator("#early .status")).to_have_text("Running")
    await host.page.evaluate(f"async () => {{ await {GERMAN} }}")
    await host.put("run-status", id="late")
    await host.give("#late", RUNNING)
    for name in ("#early", "#late"):
        await expect(host.page.locator(f"{name} .status")).to_have_text("Läuft")
        await expect(host.page.locator(f"{name} .detail")).to_have_text("24\xa0% · 1.200 von 5.000")
    await expect(host.page.locator("#list").get_by_role("cell").nth(0)).to_have_text("Läuft")
    await host.page.evaluate("() => { document.querySelector('#late').words = { EXECUTING: 'Unterwegs' }; }")
    await expect(host.page.locator("#late .status")).to_have_text("Unterwegs")
    await expect(host.page.locator("#late .detail")).to_have_text("24\xa0% · 1.200 von 5.000")
    await expect(host.page.locator("#early .status")).to_have_text("Läuft")


async def test_from_right_to_left_in_arabic(host: HostPage) -> None:
    """Its digits, its plurals by a function; and in each variant, and in lists, all stands and fills from the right."""
    await host.page.evaluate(f"""() => {{
        Object.assign(document.documentElement, {{ lang: "ar-EG", dir: "rtl" }});
        const RunStatus = customElements.get("run-status");
        {ARABIC}
    }}""")
    await host.put("run-status", variant="bar", id="one")
    await host.give("#one", RUNNING)
    await expect(host.page.locator("#one .status")).to_have_text("قيد التنفيذ")
    await expect(host.page.locator("#one .detail")).to_contain_text(
        "\u0661\u066c\u0662\u0660\u0660 من \u0665\u066c\u0660\u0660\u0660"
    )
    for variant in ("badge", "compact", "steps"):
        await host.put("run-status", variant=variant, id=variant)
        await host.give(f"#{variant}", RUNNING)
    await host.put("run-list", id="list")
    await host.give("#list", [RUNNING])
    for element, parts in FROM_THE_RIGHT.items():
        boxes = [await box(host, f"{element} {part}") for part in parts]
        for first, second in itertools.pairwise(boxes):
            assert second["x"] + second["width"] <= first["x"] + 1, (element, boxes)
    for element in ("#one", "#compact", "#steps", "#list .row"):
        bar, fill = [await box(host, f"{element} {part}") for part in (".bar", ".fill")]
        assert fill["x"] + fill["width"] == pytest.approx(bar["x"] + bar["width"], abs=1), element
        assert fill["width"] == pytest.approx(bar["width"] * 0.24, abs=1), element
    await host.put("run-status", id="two")
    await host.give("#two", [RUN | {"status": "QUEUED", "id": str(number)} for number in range(2)])
    await expect(host.page.locator("#two .detail")).to_have_text("اثنان ينتظران")
    await host.give("#two", [RUN | {"status": "QUEUED", "id": str(number)} for number in range(3)])
    await expect(host.page.locator("#two .detail")).to_have_text("\u0663 تنتظر")
    assert await host.axe_in_looks("arabic", "light", "dark", "narrow") == []


async def box(host: HostPage, part: str) -> FloatRect:
    found = await host.page.locator(part).filter(visible=True).first.bounding_box()
    assert found is not None, part
    return found


async def test_it_speaks_the_language_of_its_place(host: HostPage) -> None:
    """Of the nearest `lang`, also after it was moved to another place; one that no browser knows does no harm."""
    await host.put("run-status", lang="de")
    await host.give("run-status", RUNNING)
    detail = host.page.locator("run-status .detail")
    await expect(detail).to_have_text("24\xa0% · 1.200 of 5.000")
    await host.page.evaluate("""() => {
        const section = Object.assign(document.createElement("section"), { lang: "fr" });
        const element = document.querySelector("run-status");
        element.removeAttribute("lang");
        document.querySelector("main").append(section);
        section.append(element);
    }""")
    await expect(detail).to_contain_text("1\u202f200 of 5\u202f000")
    await host.page.evaluate("() => { document.querySelector('run-status').lang = 'not a language'; }")
    await expect(detail).to_have_text("24% · 1,200 of 5,000")


async def test_the_words_are_written_down() -> None:
    """Who translates them finds each in docs/elements.md, with what it is in English."""
    source = (ROOT / "client" / "src" / "elements" / "words.ts").read_text(encoding="utf-8")
    (table,) = re.findall(r"const ENGLISH.*?= {\n(.*?)\n};", source, re.DOTALL)
    words = re.findall(r'^ +(\w+): "(.*)",$', table, re.MULTILINE)
    assert len(words) > 15
    missing = [f"`{name}` | {text}" for name, text in words if f"`{name}` | {text}" not in PAGE]
    assert missing == []
