"""A program that submits jobs of acme, each under a key and some twice, until its input ends.

It prints a line for each job: its number and its id.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from forebay.producers.client import Client
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings

stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
with Client(tenant="acme", settings=Settings(fleets=Path(sys.argv[1])), patience=60) as client:
    number = 0
    while not stopped.wait(0.02):
        for again in (number, max(0, number - 7)):
            job = client.submit(Summarize(text=f"t{again}"), idempotency_key=f"k{again}")
            sys.stdout.write(f"{again} {job}\n")
            sys.stdout.flush()
        number += 1
