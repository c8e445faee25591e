"""How long a server took to answer, and how often it did not, by what it was asked."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from gateway.metrics.histogram import ROUND_TRIP_SECONDS, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator


class RoundTrips:
    """Kept by whoever asks; the questions are words of ours: canary, read, write."""

    __slots__ = ("failures", "seconds")

    def __init__(self, *questions: str) -> None:
        self.seconds = {question: Histogram(ROUND_TRIP_SECONDS) for question in questions}
        self.failures = Counter(dict.fromkeys(questions, 0))

    @contextlib.contextmanager
    def timing(self, question: str) -> Iterator[None]:
        """Time what happens in the block; what it raises is no answer. Being cancelled is neither."""
        began = time.monotonic()
        try:
            yield
        except Exception:
            self.failures[question] += 1
            raise
        self.seconds[question].observe(time.monotonic() - began)
