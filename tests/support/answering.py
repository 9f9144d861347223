"""A fleet in this process that answers shards.

A test module that names this plugin and `waterfall` in `pytest_plugins` has its fixture.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from forebay.routing.errors import Lost
from shards import work_shards


class Answering:
    """Works shards and rows that went up, on a thread, as long as it is not stopped."""

    def __init__(self, lanes) -> None:
        self._lanes = lanes
        self._stopped = threading.Event()
        self._goes = threading.Event()
        self._goes.set()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def stop(self) -> None:
        self._stopped.set()
        self.thread.join(10)

    def rest(self) -> None:
        """Work nothing until `go`."""
        self._goes.clear()

    def go(self) -> None:
        self._goes.set()

    def _run(self) -> None:
        while not self._stopped.wait(0.01):
            if self._goes.is_set():
                with suppress(Lost):  # it was cancelled while it was worked
                    self._lanes.ledger.sweep()
                    work_shards(self._lanes)
                    self._lanes.work("bedrock")


@pytest.fixture
def answering(lanes):
    worker = Answering(lanes)
    worker.thread.start()
    yield worker
    worker.stop()
