"""A job that streams: viewers read every chunk once and in order, from the start, whenever they come."""

import time

from gateway import Publisher

publisher = Publisher()


def answer(question: str) -> None:
    with publisher.running("answer", payload={"question": question}, lease="30s") as run:
        print(run.id)
        run.log(f"asked: {question}")
        tokens = run.stream("tokens")
        for number in range(12):
            tokens.write(f"word {number} ")
            time.sleep(0.1)
            run.raise_if_cancelled()  # somebody may have asked the job to stop


if __name__ == "__main__":
    answer("What do viewers see?")
