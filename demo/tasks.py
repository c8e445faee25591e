"""
A Celery application such as one finds it, and one line that makes it visible: `install(app)`.

Every task does real work on real files. `hash_library` knows nothing of Runcast and reports as Celery applications
always did; the others say more, through `current_run()`.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import tempfile
import warnings
import zlib
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from demo import library
from gateway import current_run
from gateway.integrations.celery import install

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator

    from gateway import Run

BROKER = os.environ.get("RUNCAST_DEMO_BROKER", "redis://127.0.0.1:6379/1")

QUEUE = "runcast-demo"

app = Celery("demo", broker=BROKER, backend=BROKER)
app.conf.update(
    task_default_queue=QUEUE,
    result_expires=600,
    worker_prefetch_multiplier=1,  # what waits is seen as waiting
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
install(app)

#: How many runs the worker does at a time; a shared archive and many readers show what waiting looks like.
CONCURRENCY = 3
#: Held while the archive is written. A file's lock ends with its process, however that ends.
ARCHIVE_LOCK = Path(os.environ.get("RUNCAST_DEMO_DIRECTORY", tempfile.gettempdir())) / "runcast-demo-archive.lock"


class ArchiveBusy(Exception):
    """Somebody else is writing the archive."""


def this_run() -> Run:
    """The run that the task at hand belongs to. Outside of a worker there is none, and nothing to show."""
    run = current_run()
    if run is None:
        raise RuntimeError("this is meant for a worker")
    return run


@app.task(bind=True)
def hash_library(self: Any, package: str = "") -> dict[str, Any]:
    """Three digests of every file. Reports in the format of celery-progress, as it would without Runcast."""
    files = library.files(package)
    digests = [hashlib.new(name) for name in ("sha256", "sha3_512", "blake2b")]
    size = 0
    for number, path in enumerate(files, 1):
        content = path.read_bytes()
        size += len(content)
        for digest in digests:
            digest.update(content)
        meta = {"current": number, "total": len(files), "description": library.name_of(path)}
        self.update_state(state="PROGRESS", meta=meta)
    return {"files": len(files), "bytes": size, **{digest.name: digest.hexdigest()[:32] for digest in digests}}


STAGES = ("collect", "parse", "index", "report")


@app.task
def index_library(package: str = "") -> dict[str, Any]:
    """A pipeline: each stage says what it found, beside the progress of the whole."""
    run = this_run()
    run.set("stages", list(STAGES))

    _enter("collect")
    files = library.files(package, suffix=".py")
    run.set("collect", {"files": len(files), "bytes": sum(path.stat().st_size for path in files)})

    _enter("parse")
    trees = _parsed(files)
    run.set("parse", {"parsed": len(trees), "broken on purpose": len(files) - len(trees)})

    _enter("index")
    names = _indexed(trees)
    run.set("index", {"definitions": names.total(), "different names": len(names)})

    _enter("report")
    return {"files": len(files), "most common": library.most_common(names)}


def _enter(stage: str) -> None:
    run = this_run()
    run.set("stage", stage)
    run.progress(0, None, stage)


def _parsed(files: list[Path]) -> dict[Path, ast.Module]:
    trees = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old spellings in the library's own tests
        for number, path in enumerate(files, 1):
            if (tree := library.parse(path)) is not None:
                trees[path] = tree
            this_run().progress(number, len(files), library.name_of(path))
    return trees


def _indexed(trees: dict[Path, ast.Module]) -> Counter[str]:
    names: Counter[str] = Counter()
    for number, (path, tree) in enumerate(trees.items(), 1):
        names.update(library.definitions(tree))
        this_run().progress(number, len(trees), library.name_of(path))
    return names


@app.task(autoretry_for=(ArchiveBusy,), max_retries=3, default_retry_delay=4)
def archive_library() -> dict[str, Any]:
    """
    Compress the whole library. Only one at a time may: when another one does, this one fails and tries again.

    Whether it succeeds in the end depends on how many want to. Nobody pretends.
    """
    with _only_archiver():
        compressor = zlib.compressobj(level=9)
        files = library.files()
        before = after = 0
        for number, path in enumerate(files, 1):
            content = path.read_bytes()
            before += len(content)
            after += len(compressor.compress(content))
            this_run().progress(number, len(files), library.name_of(path))
        after += len(compressor.flush())
    return {"files": len(files), "bytes": before, "compressed": after, "ratio": round(after / before, 3)}


@contextmanager
def _only_archiver() -> Iterator[None]:
    with ARCHIVE_LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ArchiveBusy("another run is writing the archive") from error
        yield


@app.task(soft_time_limit=8, time_limit=12)
def factorize(number: int) -> list[int]:
    """Divide by everything. Small numbers are done at once, the product of two large primes never in its time."""
    factors, divisor, rest = [], 2, number
    limit = math.isqrt(rest)
    try:
        while divisor <= limit:
            if rest % divisor == 0:
                factors.append(divisor)
                rest //= divisor
                limit = math.isqrt(rest)
                continue
            divisor += 1 if divisor == 2 else 2
            if divisor % 65536 == 1:
                this_run().progress(divisor, limit, f"{divisor:,} of {limit:,}")
    except SoftTimeLimitExceeded:
        this_run().set("reached", divisor)
        raise
    return [*factors, rest] if rest > 1 or not factors else factors
