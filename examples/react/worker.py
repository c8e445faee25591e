"""The jobs behind the page: each report is a run with progress, a text that grows, and a question at its end."""

import time
from concurrent.futures import ThreadPoolExecutor

from gateway import Publisher

publisher = Publisher()
#: Stands in for your job queue.
workers = ThreadPoolExecutor(max_workers=3)

STEPS = ("reading orders", "adding up", "comparing with last year", "writing")


def order(customer: str, batch: str, topics: list[str]) -> list[str]:
    """Have a report written on each topic, and return the ids of their runs at once."""
    runs = []
    for topic in topics:
        run = publisher.create("report", payload={"topic": topic}, tags=[f"customer:{customer}"], batch=batch)
        workers.submit(write, run.id, topic)
        runs.append(run.id)
    return runs


def write(run_id: str, topic: str) -> None:
    with publisher.running("report", id=run_id) as run:
        for step, text in enumerate(STEPS):
            run.log(text)
            for part in range(25):
                run.progress(step * 25 + part, 100, text)
                time.sleep(0.02)  # the work
        text = run.stream("text")
        words = f"{topic} grew in every month but one. What was left over in May was sold in June.".split()
        for word in words:
            text.write(word + " ")
            time.sleep(0.05)
        run.progress(100, 100, "written")

        run.set("question", "May this be sent?")
        answer = run.input("approval").wait(timeout=600)
        run.delete("question")
        run.complete({"words": len(words), "approved": answer["approved"]})
