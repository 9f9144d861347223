"""Round trips that the threads of a process share.

A command by itself costs Redis an event, a write to its append-only file and an answer, and the
process a connection and two system calls. Threads that want something at the same time share them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import redis

MAX_COMMANDS = 64  # of one round trip


class _Call:
    """A command of one thread, and its reply.

    Attributes:
        latch: released when the reply is there, or when the thread has to make the round trip.
        leads: the thread has to make the round trip.
        reply: what Redis replied; an exception stands for an error.
    """

    __slots__ = ("command", "latch", "leads", "reply")

    def __init__(self, command: Sequence[Any]) -> None:
        self.command = command
        self.latch = threading.Lock()
        self.latch.acquire()
        self.leads = False
        self.reply: Any = None


class SharedPipeline:
    """Runs commands of many threads over one client, one round trip at a time.

    A command that comes while no round trip is under way makes one at once. What comes meanwhile
    waits, and goes together in the next, which the thread that waited longest makes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._changing = threading.Lock()
        self._waiting: list[_Call] = []
        self._under_way = False

    def execute(self, *command: Any) -> Any:
        """Run a command and return its reply, or raise its error."""
        call = _Call(command)
        with self._changing:
            self._waiting.append(call)
            call.leads, self._under_way = not self._under_way, True
        if not call.leads:
            call.latch.acquire()
        if call.leads:
            self._make_round_trip()
        if isinstance(call.reply, BaseException):
            raise call.reply
        return call.reply

    def _make_round_trip(self) -> None:
        """Run what waits, this thread's command first, and let the others go on."""
        with self._changing:
            batch, self._waiting = self._waiting[:MAX_COMMANDS], self._waiting[MAX_COMMANDS:]
        try:
            replies = self._replies(batch)
        except BaseException as error:  # noqa: BLE001 - each thread raises it, this one too
            replies = [error] * len(batch)
        for call, reply in zip(batch, replies, strict=True):
            call.reply, call.leads = reply, False
        with self._changing:
            following = self._waiting[0] if self._waiting else None
            self._under_way = following is not None
            if following is not None:
                following.leads = True
        for call in (*batch[1:], *([following] if following else [])):
            call.latch.release()

    def _replies(self, batch: Sequence[_Call]) -> list[Any]:
        if len(batch) == 1:
            return [self._redis.execute_command(*batch[0].command)]  # type: ignore[no-untyped-call]  # redis-py's
        with self._redis.pipeline(transaction=False) as pipe:
            for call in batch:
                pipe.execute_command(*call.command)  # type: ignore[no-untyped-call]  # as above
            return pipe.execute(raise_on_error=False)
