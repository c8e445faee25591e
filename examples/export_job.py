"""A job in your own code: it says what happens to it."""

import time

from gateway import Publisher

publisher = Publisher()


def export(customer: str) -> None:
    with publisher.running("export", tags=[f"customer:{customer}"]) as run:
        print(run.id)
        for row in range(1, 1001):
            time.sleep(0.003)  # the work
            run.progress(row, 1000, "writing rows")
        run.complete({"rows": 1000})


if __name__ == "__main__":
    export("7")
