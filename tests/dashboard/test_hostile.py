"""Whatever a run is called and says: it is shown as it is, runs nothing, and breaks no page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import PHONE
from tests.journeys.gateway_process import SECRET

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.dashboard.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="package")

MARKUP: Final = "<img/src=x/onerror=window.hacked_=1><script>window.hacked_=1</script>"
LONG: Final = "W" * 120
#: What turns the direction of everything after it.
TURNED: Final = "\u202eabc"
LEVELS: Final = 15
#: Id → task, which is each tag, metadata key, text and chunk as well.
NAMES: Final = {MARKUP: MARKUP, LONG: LONG, "تشغيل_أ": "مهمة", "실행-🎉": "작업 👩‍👩‍👧", f"id{TURNED}": TURNED}


def publish(publisher: Publisher) -> None:
    for id, name in NAMES.items():
        run = publisher.create(name, id=id, tags=["hostile", name], batch=id, payload={name: [name]}, parent=id)
        run.start(context={"queue": {"name": name}})
        run.set(name, {name: name})
        run.progress(1, 3, name)
        run.log(name, field=name)
        run.stream(name).write(name)
        run.stream("objects").write({name: name})
        publisher.flush()
        run.fail(ValueError(name))


async def test_every_field_may_be_anything(visitor: Visitor, publisher: Publisher) -> None:
    """In the list, on the pages of the run and of its batch, on a phone; and axe finds nothing wrong with it."""
    publish(publisher)
    page = visitor.page
    await page.set_viewport_size(PHONE)
    await visitor.sign_in(SECRET, "/?tag=hostile")
    await expect(page.locator(".row")).to_have_count(len(NAMES))
    assert not await visitor.overflows()
    for id, name in NAMES.items():
        await visitor.go(f"/runs/{quote(id, safe='')}")
        await expect(page.locator("[data-stream=objects] .line")).to_have_count(1)
        await expect(page.locator(".run-id code")).to_have_text(id)
        for shown in (".run-head .tags", ".error .what", "[data-column=metadata]", "[data-column=payload]", ".streams"):
            await expect(page.locator(shown)).to_contain_text(name)
        assert not await visitor.overflows(), id
        await visitor.go(f"/batches/{quote(id, safe='')}")
        await expect(page.locator(".row")).to_have_count(1)
        assert not await visitor.overflows(), id
    assert await visitor.violations() == []
    assert not await page.evaluate("'hacked_' in window")
    assert not await page.locator("main img, main script").count()


async def test_what_is_turned_turns_nothing_around_it(visitor: Visitor, publisher: Publisher) -> None:
    """A sign that reverses the text after it ends where the text does: the status stays legible, and where it is."""
    for id, name in (("turned_1", TURNED), ("turned_2", "abc")):
        publisher.create(name, id=id, tags=["turned"]).start()
    page = visitor.page
    await visitor.sign_in(SECRET, "/runs/turned_1")
    status = page.get_by_role("heading", level=1).locator(".status")
    await expect(status).to_have_text("running")
    turned = await status.bounding_box()
    await visitor.go("/runs/turned_2")
    await expect(status).to_have_text("running")
    assert await status.bounding_box() == turned


async def test_a_large_document_is_folded_and_the_page_stays_quick(visitor: Visitor, publisher: Publisher) -> None:
    """Of 200 KB of metadata, deeply nested, the page has what is looked at; a long text has a place to scroll in."""
    deep: object = "the end"
    for level in range(LEVELS):
        deep = {f"level_{level}": deep, "list": [level, {"of": level}]}
    wide = {f"key_{number:04}": {"value": number, "text": "x" * 60} for number in range(1_500)}
    publisher.create("train", id="large_1", metadata={"deep": deep, "wide": wide, "text": "lorem " * 3_000})
    page = visitor.page
    await visitor.sign_in(SECRET, "/runs/large_1")
    card = visitor.card("Metadata")
    await expect(card).to_contain_text("1,500 keys")
    assert await card.locator("*").count() < 200
    await card.locator("summary", has_text="wide").click()
    await expect(card.get_by_role("button", name="1,400 more")).to_be_visible()
    text = card.locator("[data-long]")
    box = await text.bounding_box()
    assert box is not None
    assert box["height"] < 300
    assert await visitor.violations() == []
    await page.set_viewport_size(PHONE)
    for level in reversed(range(1, LEVELS)):
        await card.locator("summary", has=page.get_by_text(f"level_{level}", exact=True)).click()
    await expect(card.get_by_text("the end")).to_be_attached()
    assert not await visitor.overflows()


async def test_json_is_shown_as_what_it_is(visitor: Visitor, publisher: Publisher) -> None:
    """A text that looks like a number has quotes, and a number that JavaScript can't hold says that it is rounded."""
    output = [7, "7", None, "null", 12345678901234567890, -9007199254740993, 1.5, 1e300, "", [], {}]
    publisher.create("export", id="exact_1").complete(output)
    await visitor.sign_in(SECRET, "/runs/exact_1")
    values = visitor.card("Output").locator(".inside > .branch .value")
    await expect(values).to_have_text(
        ["7", "7", "null", "null", "≈ 12345678901234567000", "≈ -9007199254740992", "1.5", "1e+300", "", "[]", "{}"]
    )
    quotes = "(all) => all.map((each) => getComputedStyle(each, '::before').content)"
    quoted = [content == '"\\""' for content in await values.evaluate_all(quotes)]
    assert quoted == [isinstance(value, str) for value in output]
