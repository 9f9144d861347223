"""Celery events that wait to be sent: in batches, from a thread, and never at a job's expense."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

from celery import Celery

from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)

#: Events wait so long, except those that must come first. Workers flush at different times, so an
#: event must not overtake what another worker put first about the same job a moment earlier.
HOLD_S = 0.5
GATHER_S = 0.02  # for more events to send along with one that must come first
MAX_UNSENT = 20_000  # events that wait for Redis; the oldest are dropped
MAX_PER_MESSAGE = 200
CLOSE_S = 2.0


class Outbox:
    """Sends events over a connection of its own; drops what Redis does not take."""

    def __init__(self) -> None:
        self._unsent: deque[tuple[float, dict[str, Any]]] = deque(maxlen=MAX_UNSENT)
        self._first: set[str] = set()  # uuids whose events go at once
        self._wake, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None

    def put(self, kind: str, task: dict[str, Any], **fields: Any) -> None:
        """Have an event sent soon."""
        self._unsent.append((
            time.monotonic(), {"type": kind, "timestamp": time.time(), **task, **fields},
        ))  # fmt: skip

    def put_first(self, kind: str, task: dict[str, Any], **fields: Any) -> None:
        """Have an event, and what was put before about its task, sent before all others."""
        self.put(kind, task, **fields)
        self._first.add(task["uuid"])
        self._wake.set()

    def start(self, app: Celery, hostname: str) -> None:
        """Begin to send, under Celery's name of this worker."""
        args = (Sender(app, hostname),)
        self._thread = threading.Thread(target=self._run, args=args, daemon=True, name="events")
        self._thread.start()

    def close(self) -> None:
        """Send what is left, unless that takes long."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=CLOSE_S)

    def _run(self, sender: Sender) -> None:
        while not self._closed:
            if self._wake.wait(HOLD_S / 2) and not self._closed:
                time.sleep(GATHER_S)
            self._wake.clear()
            self._send(sender, self._due())
        self._send(sender, [fields for _, fields in self._unsent])
        sender.close()

    def _due(self) -> list[dict[str, Any]]:
        """Take the events that are sent now, in the order in which they were put."""
        first = {self._first.pop() for _ in range(len(self._first))}
        until = time.monotonic() - HOLD_S
        due, held = [], []
        for _ in range(len(self._unsent)):
            put_at, fields = self._unsent.popleft()
            if put_at <= until or fields["uuid"] in first:
                due.append(fields)
            else:
                held.append((put_at, fields))
        self._unsent.extendleft(reversed(held))
        return due

    def _send(self, sender: Sender, events: list[dict[str, Any]]) -> None:
        for start in range(0, len(events), MAX_PER_MESSAGE):
            sender.send(events[start : start + MAX_PER_MESSAGE])


class Sender:
    """Publishes batches of events; drops a batch that Redis does not take."""

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app, self._hostname = app, hostname
        self._dispatcher: Any = None
        self._silent = False

    def send(self, batch: list[dict[str, Any]]) -> None:
        """Publish a batch as one message."""
        try:
            dispatcher = self._connected()
            for fields in batch:
                dispatcher.send(fields.pop("type"), **fields)
            dispatcher.flush()
        except Exception as error:  # noqa: BLE001 - a monitor must never break a worker
            self.close()
            if not self._silent:  # once for each time that Redis is away
                log.warning(
                    "%d events or more were dropped (%s)", len(batch), type(error).__name__,
                    extra=event(Event.EVENTS_LOST),
                )  # fmt: skip
            self._silent = True
        else:
            self._silent = False

    def close(self) -> None:
        """Close the connection; the next batch opens a new one."""
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()
            dispatcher.connection.release()

    def _connected(self) -> Any:
        if self._dispatcher is None:
            self._dispatcher = self._app.events.Dispatcher(
                self._app.connection_for_write(),
                hostname=self._hostname,
                buffer_while_offline=False,
                buffer_group=frozenset({"task"}),
                buffer_limit=2 * MAX_PER_MESSAGE,
            )
        return self._dispatcher
