"""Workers played by a test, through the ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

from forebay.routing.jobs import Answer, Receipt, Summarize, Summary
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.execute import Executor


def ask(text="hello") -> Summarize:
    return Summarize(text=text)


def settle(ledger, claim) -> None:
    """Settle a job as a worker would: the answer is the text in capitals, "bad" is a failure."""
    text = claim.job().request.text
    base = {"id": claim.id, "kind": "summarize", "egress": claim.record.egress}
    if text == "bad":
        ledger.settle(claim, Receipt(**base, status="failed", error="bad_answer"))
    else:
        content = Summary(text=text.upper())
        ledger.settle(claim, Answer(**base, status="done", lane="local", content=content))


@contextmanager
def working(ledger, unless=lambda text: False):
    """Settle every job that waits for the router, on a thread, as long as the block runs.

    Jobs whose text is one of `unless` are claimed and not settled; the block gets their claims.
    """
    stopped, held = threading.Event(), []

    def run():
        while not stopped.is_set():
            claim = ledger.claim("route")
            if claim is None:
                time.sleep(0.005)
            elif unless(claim.job().request.text):
                held.append(claim)
            else:
                settle(ledger, claim)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield held
    finally:
        stopped.set()
        thread.join()


def work_next(ledger, queue, work, *hooks, in_flight=None):
    """Claim the best job of a queue, work it and record its outcome; return how it stands."""
    in_flight, claim = in_flight or InFlight(1), ledger.claim(queue)
    with in_flight.holding(claim):
        return Executor(ledger, work, in_flight, hooks).work_claim(claim)


async def until_waiting(ledger, jobs):
    """Wait until so many jobs wait for the router."""
    for _ in range(3000):
        if ledger.depths().get("route", 0) >= jobs:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the jobs never came")
