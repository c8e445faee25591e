"""Reads `/metrics` as Prometheus does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: dict[str, Metric] = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, sample: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels; 0 when there are none."""
        return sum(
            found.value
            for family in self.families.values()
            for found in family.samples
            if found.name == sample and labels.items() <= found.labels.items()
        )

    def counters(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Everything that may only rise, by name and labels."""
        rising = {
            (found.name, tuple(sorted(found.labels.items()))): found.value
            for family in self.families.values()
            if family.type in ("counter", "histogram")
            for found in family.samples
        }
        assert rising
        return rising


async def scrape(url: str, secret: str | None = None) -> Scrape:
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/metrics", headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)
