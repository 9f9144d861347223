"""Submits jobs at a steady rate until its standard input is closed, then waits for all of them.

A program that runs under any version of Forebay. It prints a line of JSON when it has begun, and
one at its end: what became of each job.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time

from forebay import Classify, Client, ForebayError, Generate, Message, Summarize

WAIT_S = 90.0  # for the last answers


def request(number: int):
    """Return the next request; kinds take turns."""
    text = f"The parcel number {number} came late."
    kinds = (
        Classify(text=text, labels=["billing", "parcel"]),
        Summarize(text=text),
        Generate(messages=[Message(role="user", content=text)]),
    )
    return kinds[number % len(kinds)]


def options(number: int):
    """Return the options of the next job: one in ten is pinned to Bedrock."""
    return {"egress": "allow", "lane": "bedrock"} if number % 10 == 0 else {"lane": "local"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True, help="jobs per second")
    rate = parser.parse_args().rate
    told_to_stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), told_to_stop.set()), daemon=True).start()
    with Client(tenant="load") as client:
        began = time.monotonic()
        handles = []
        while not told_to_stop.wait(max(0.0, began + len(handles) / rate - time.monotonic())):
            number = len(handles)
            handles.append(client.submit(request(number), **options(number)))
            if number == 0:
                tell({"began": True})
        tell([fate(client, handle) for handle in handles])


def tell(value) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def fate(client, handle):
    """Return what became of a job: its id, lane, code of failure, and how long it waited."""
    try:
        answer = client.result(handle, timeout=WAIT_S)
    except ForebayError as error:
        return {"id": str(handle), "failed": error.code}
    except TimeoutError:
        return {"id": str(handle), "failed": "lost"}
    return {"id": str(handle), "lane": answer.lane, "waited_s": answer.queued_s}


if __name__ == "__main__":
    main()
