"""The Lua scripts of the ledger, run on one Redis, in round trips that threads share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import redis

from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import digest, run_all, with_scripts

MAX_COMMANDS = 64  # of one round trip


class Transitions:
    """Runs the scripts of the ledger. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._execute: Callable[..., Any] = client.execute_command
        self._pipeline: SharedPipeline | None = None

    def share_round_trips(self) -> None:
        """Have the threads of this process share round trips; not for an event loop."""
        self._pipeline = SharedPipeline(self._redis)
        self._execute = self._pipeline.execute

    @property
    def repeated(self) -> int:
        """How many round trips of threads were made twice, because the first reply was lost."""
        return self._pipeline.repeated if self._pipeline else 0

    def run(self, name: str, *args: Any) -> Any:
        """Run a script once, and return its reply.

        Raises:
            Unavailable: Redis cannot be reached or lacks the script, or the script failed.
            Misconfigured: Redis refuses this user.
        """
        with reaching_redis():
            sha = digest(name)
            return with_scripts(self._redis, lambda: self._execute("EVALSHA", sha, 0, *args))

    def run_all(self, name: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script for each row of arguments, in one round trip, and return the replies.

        The reply of a run that failed is its exception. If Redis has forgotten the script, all rows
        run a second time, so the script must be safe to repeat.

        Raises:
            Unavailable: Redis cannot be reached, or lacks the script.
            Misconfigured: Redis refuses this user.
        """
        with reaching_redis():
            return run_all(self._redis, name, rows)


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


class Line:
    """One connection that is kept, for one thread at a time.

    A client takes a connection from its pool for each round trip, tests and returns it, which costs
    as much as the round trip itself. This connection is none of the pool's, which may be exhausted.
    The first error closes it.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None

    def replies(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands and return their replies; the reply of a command that failed is its error.

        Raises:
            ConnectionError: The connection was lost. Redis may have run the commands.
            TimeoutError: Redis did not answer in time.
            ReadOnlyError: Redis is not the primary any more.
        """
        try:
            if self._connection is None:
                self._connection = self._pool.connection_class(**self._pool.connection_kwargs)
                self._connection.connect()
            connection = self._connection
            connection.send_packed_command(connection.pack_commands(commands))
            return [_reply(connection) for _ in commands]
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


def _reply(connection: Any) -> Any:
    """Return the next reply; an error in its place, unless it ends the connection."""
    try:
        return connection.read_response()
    except redis.ReadOnlyError:
        raise
    except redis.ResponseError as error:
        return error


class SharedPipeline:
    """Runs commands of many threads over one client, one round trip at a time.

    A command by itself costs Redis an event, a write to its append-only file and an answer, and the
    process a connection and two system calls. So threads that run commands at the same time share
    round trips.

    A command that comes while no round trip is under way makes one at once. What comes meanwhile
    waits, and goes together in the next, which the thread that waited longest makes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._line = Line(client)
        self._changing = threading.Lock()
        self._waiting: list[_Call] = []
        self._under_way = False
        self.repeated = 0  # round trips, because their connection was lost

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
        try:
            return self._line.replies([call.command for call in batch])
        except (redis.ConnectionError, redis.ReadOnlyError):
            self.repeated += 1
            return self._patient_replies(batch)

    def _patient_replies(self, batch: Sequence[_Call]) -> list[Any]:
        """Return the replies of a client that connects again, and finds a new primary."""
        if len(batch) == 1:
            return [self._redis.execute_command(*batch[0].command)]  # type: ignore[no-untyped-call]  # redis-py's
        with self._redis.pipeline(transaction=False) as pipe:
            for call in batch:
                pipe.execute_command(*call.command)  # type: ignore[no-untyped-call]  # as above
            return pipe.execute(raise_on_error=False)
