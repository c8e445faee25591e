"""What a publisher promises across fork, at the end of a process, and about what it imports."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.gateway.publisher.waiting import BlackHole

if TYPE_CHECKING:
    from gateway.publisher import Publisher
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


def run_script(script: str, *arguments: str) -> str:
    """Run Python of its own; whatever it warns about fails the test."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_each_process_after_a_fork_speaks_for_itself(redis_server: RedisServer, stored: Changing) -> None:
    """Children use their own connection and thread, and what the parent had not sent is sent once, by the parent."""
    run_script(
        """
        import os, sys
        from gateway import Publisher

        publisher = Publisher(sys.argv[1], environment=sys.argv[2])
        run = publisher.create("t", id="parent")
        run.increment("n")
        run.increment("n")  # waits to be sent
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                assert publisher.statistics.unsent == publisher.statistics.sent == 0
                run.increment("from_children")
                with publisher.running("t", id=f"child_{number}") as mine:
                    for tick in range(100):
                        mine.progress(tick)
                mine.append("log", "after")
                mine.append("log", "the end")
                sys.exit(0)  # with the flush at exit
            children.append(child)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        """,
        redis_server.url,
        stored.environment,
    )
    assert stored.metadata("parent") == {"n": 2, "from_children": 4}
    for number in range(4):
        assert stored.metadata(f"child_{number}") == {"progress": {"current": 99}, "log": ["after", "the end"]}
        assert stored.row(f"child_{number}")["status"] == "COMPLETED_SUCCESSFULLY"


def test_a_fork_while_other_threads_publish_does_not_hang(redis_server: RedisServer, stored: Changing) -> None:
    """Whatever locks the parent's threads held at that moment, the child's are fresh."""
    run_script(
        """
        import os, sys, threading, warnings
        from gateway import Publisher

        publisher = Publisher(sys.argv[1], environment=sys.argv[2])
        over = threading.Event()

        def busy(number):
            run = publisher.create("t", id=f"busy_{number}")
            tick = 0
            while not over.is_set():
                tick += 1
                run.progress(tick)
                run.status("EXECUTING")

        threads = [threading.Thread(target=busy, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for number in range(20):
            child = os.fork()
            if child == 0:
                publisher.create("t", id=f"child_{number}").complete()
                os._exit(0 if publisher.flush(20) and not publisher.statistics.dropped else 1)
            assert os.waitpid(child, 0)[1] == 0
        over.set()
        for thread in threads:
            thread.join()
        """,
        redis_server.url,
        stored.environment,
    )
    assert all(stored.row(f"child_{number}")["status"] == "COMPLETED_SUCCESSFULLY" for number in range(20))


def test_what_waits_is_sent_when_the_process_ends(redis_server: RedisServer, stored: Changing) -> None:
    """Also of an asynchronous publisher that nobody closed."""
    run_script(
        """
        import asyncio, sys, warnings
        from gateway import AsyncPublisher, Publisher

        run = Publisher(sys.argv[1], environment=sys.argv[2]).create("t", id="r")
        for tick in range(5):
            run.progress(tick)
            run.increment("n")

        async def main():
            run = await AsyncPublisher(sys.argv[1], environment=sys.argv[2]).create("t", id="a")
            for tick in range(5):
                await run.progress(tick)
                await run.increment("n")

        warnings.simplefilter("ignore", ResourceWarning)  # nobody closed it
        asyncio.run(main())
        """,
        redis_server.url,
        stored.environment,
    )
    assert stored.metadata("r") == stored.metadata("a") == {"progress": {"current": 4}, "n": 5}


def test_a_process_ends_soon_though_redis_never_answers() -> None:
    with BlackHole() as hole:
        run_script(
            """
            import atexit, sys, time

            def measure():
                assert time.monotonic() - over < 15, "it took too long to end"

            atexit.register(measure)
            import logging
            logging.disable()
            from gateway import Publisher
            run = Publisher(sys.argv[1]).create("t")
            for _ in range(100):
                run.complete()
            over = time.monotonic()
            """,
            hole.url,
        )


def test_children_of_multiprocessing_send_what_waits(redis_server: RedisServer, stored: Changing) -> None:
    """They end without running exit handlers of their own accord."""
    run_script(
        """
        import multiprocessing, sys
        from gateway import Publisher

        publisher = Publisher(sys.argv[1], environment=sys.argv[2])

        def job(number):
            run = publisher.create("t", id=f"r{number}")
            for tick in range(5):
                run.progress(tick)

        publisher.create("t", id="parent")
        processes = [multiprocessing.get_context("fork").Process(target=job, args=(n,)) for n in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        """,
        redis_server.url,
        stored.environment,
    )
    for number in range(3):
        assert stored.metadata(f"r{number}") == {"progress": {"current": 4}}


@pytest.mark.parametrize("name", ["Publisher", "AsyncPublisher", "current_run"])
def test_a_worker_loads_no_server(name: str) -> None:
    """Whoever publishes has no need of a web framework, and does not wait for it to load."""
    loaded = run_script(f"import sys; from gateway import {name}; print(*sys.modules)").split()
    assert not {"starlette", "uvicorn", "websockets", "jwt", "typer", "rich"} & set(loaded)


def test_every_public_name_is_there() -> None:
    run_script("import gateway; [getattr(gateway, name) for name in gateway.__all__]")
    run_script("import gateway.publisher as p; [getattr(p, name) for name in p.__all__]")


def test_an_unknown_name_is_an_attribute_error() -> None:
    import gateway

    with pytest.raises(AttributeError, match="nonsense"):
        _ = gateway.nonsense


def test_a_signal_handler_may_report(publisher: Publisher, stored: Changing) -> None:
    """It runs in the middle of whatever its thread is at, the publisher's own code included."""
    import signal

    run = publisher.create("t")
    ticks = 0

    def tick(*_: object) -> None:
        nonlocal ticks
        ticks += 1
        run.increment("ticks")

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        for number in range(300):
            run.status("EXECUTING")
            run.progress(number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    run.complete()
    publisher.flush()
    assert stored.metadata(run.id)["ticks"] == ticks > 0
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"
