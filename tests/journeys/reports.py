"""What the page of examples/react is about, as its worker has it, and as a person finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.async_api import expect

from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from gateway import Publisher, Run
    from tests.journeys.react_page import PageServer


class Order:
    """A customer of this test alone, with a batch, and somebody who looks at its page."""

    def __init__(self, publisher: Publisher, number: int) -> None:
        self.tag, self.batch = f"customer:{number}", f"batch_{number}"
        self._publisher = publisher

    def create(self, topic: str, **options: Any) -> Run:
        return self._publisher.create("report", payload={"topic": topic}, tags=[self.tag], batch=self.batch, **options)

    def token(self, *runs: Run, **options: Any) -> str:
        """What the customer may see, and answer."""
        answers = [f"write:inputStreams:{run.id}" for run in runs]
        return token(f"read:tags:{self.tag}", f"read:batch:{self.batch}", *answers, **options)

    async def show(self, page: Page, site: PageServer, run: Run, view: str = "live") -> Shown:
        await page.goto(f"{site.url}/?run={run.id}&batch={self.batch}&tag={self.tag}&view={view}")
        return Shown(page)


class Shown:
    """What is where in the page, as a person finds it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.report = page.get_by_role("region", name="Report", exact=True)
        self.list = page.get_by_role("region", name="All reports")
        self.batch = page.get_by_role("region", name="This order")
        self.text = page.get_by_role("region", name="Text")
        self.log = page.get_by_role("region", name="Log")
        self.output = page.get_by_role("region", name="Output")
        self.progress = self.report.get_by_role("progressbar")
        self.ended = page.get_by_role("log").get_by_role("listitem")

    def line(self, topic: str) -> Locator:
        return self.list.get_by_role("button", name=topic)

    async def has_progress(self, percent: int, text: str) -> None:
        await expect(self.progress).to_have_js_property("value", percent)
        await expect(self.report).to_contain_text(text)
