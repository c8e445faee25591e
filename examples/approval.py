"""A job that asks a person, and waits for the answer: from a page, a backend, or `runcast send RUN approval true`."""

from gateway import Publisher

publisher = Publisher()


def refund(amount: int) -> None:
    with publisher.running("refund", payload={"amount": amount}) as run:
        print(run.id, flush=True)
        run.set("question", f"Refund {amount} euros?")
        run.wait()  # viewers see WAITING
        try:
            approved = run.input("approval").wait(timeout=600)  # whatever JSON was sent
        except TimeoutError:
            approved = False
        run.resume()
        run.complete({"refunded": amount if approved else 0})


if __name__ == "__main__":
    refund(40)
