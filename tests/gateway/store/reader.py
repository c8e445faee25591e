"""Reads one environment, as most tests of that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId

if TYPE_CHECKING:
    from gateway.store.pages import Page
    from gateway.store.redis_store import RedisStore

COLUMNS = ("status", "number", "output")


class Reading:
    """Reads one environment with the arguments that a test does not care about filled in."""

    def __init__(self, store: RedisStore, environment: EnvironmentId) -> None:
        self.store, self.environment = store, environment

    async def epoch(self) -> str:
        return (await self.store.place(self.environment, ALL_RUNS, limit=1, since=0)).history.epoch

    async def page(self, feed: FeedId = ALL_RUNS, after: int = 0, **words: Any) -> Page:
        epoch = words.pop("epoch", None) or await self.epoch()
        standard = {"since": 0, "columns": COLUMNS, "metadata": True}
        return await self.store.read_page(self.environment, feed, epoch, after=after, **{**standard, **words})

    async def pages(self, feed: FeedId = ALL_RUNS, after: int = 0, **words: Any) -> list[Page]:
        pages = [await self.page(feed, after, **words)]
        while not pages[-1].complete:
            pages.append(await self.page(feed, pages[-1].end, **words))
        return pages

    async def runs(self, feed: FeedId = ALL_RUNS, after: int = 0, **words: Any) -> list[str]:
        return [row.run for page in await self.pages(feed, after, **words) for row in page.rows]
