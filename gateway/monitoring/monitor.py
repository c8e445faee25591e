"""Watches a process while it runs, and puts together what it and the other workers of the gateway have counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.metrics.workers import VARIABLE, Workers
from gateway.monitoring.sampling import sample
from gateway.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.metrics.snapshot import Snapshot
    from gateway.transports.viewing import Services

_log = logging.getLogger("runcast.monitoring")

#: How often a worker writes down what it has counted, for the others to show: what a killed one loses at most.
_WRITE_SECONDS: Final = 1.0


class Monitor:
    """What a gateway has counted, of all its processes. Works while a `running` block lasts."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._workers: Workers | None = None
        # Held from looking to writing: else one who looked earlier could write later, and a counter would go back.
        self._writing = asyncio.Lock()
        #: Whether the log has that it can't be done.
        self._told = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Measure the loop; and be one of several workers, if this process is."""
        await self._join()
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._services.counters.loop_lag.run(), name="loop lag")]
            if self._workers is not None:
                working.append(tasks.create_task(self._write_on(), name="writing metrics down"))
            try:
                yield
            finally:
                async with self._writing:  # not in the middle of that
                    for task in working:
                        task.cancel()
                await self._leave()
                traced = tracing()
                if traced is not None:
                    await asyncio.to_thread(traced.flush)

    async def _join(self) -> None:
        directory = os.environ.get(VARIABLE)
        if directory is None:
            return
        workers = Workers(Path(directory))
        try:
            await asyncio.to_thread(workers.join)
        except OSError:
            _log.exception("this worker can't write down what it counts, so it shows its own counts only")
        else:
            self._workers = workers

    async def take(self) -> Snapshot:
        """All that was counted until now. Whoever asks another worker later will not be told less."""
        workers = self._workers
        if workers is None:
            return await sample(self._services)
        own = await self._write(workers)
        try:
            return await asyncio.to_thread(workers.add_others, own)
        except OSError:
            return own  # that they can't be read was said when ours could not be written

    async def _write_on(self) -> None:
        while self._workers is not None:
            await self._write(self._workers)
            await asyncio.sleep(_WRITE_SECONDS)

    async def _write(self, workers: Workers) -> Snapshot:
        """Look, and write down what was seen."""
        async with self._writing:
            own = await sample(self._services)
            try:
                await asyncio.to_thread(workers.write, own)
            except OSError as error:  # a full disk is no reason to show nothing
                if not self._told:
                    _log.warning("what was counted can't be written down for the other workers: %s", error)
                self._told = True
            else:
                self._told = False
            return own

    async def _leave(self) -> None:
        workers, self._workers = self._workers, None
        if workers is not None:
            await self._write(workers)
            workers.leave()
