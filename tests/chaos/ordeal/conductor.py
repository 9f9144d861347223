"""Carry out the schedule on the fleet, one event after the other, in the main thread."""

from __future__ import annotations

import heapq
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import redis
from redis.exceptions import RedisError

from books.diary import Diary
from books.evidence import plan_faults
from doom.doomed import SHIFT
from doom.doomedfleet import DoomedFleet, engine_of, signalled, worker_of
from doom.points import Armed
from local.process import Process
from ordeal.schedule import JUMP_S, JUMPS_S, STORM_S, STORMS, Event
from ordeal.workload import ENOUGH

TICK_S = 0.05
DOWN_S = 1.0  # seconds without Redis
GRACE_S = 10.0
POINTS_S = 120.0  # after the schedule, until another of the points that are left is met
UNSYNCED_S = 1.0  # seconds of writes that are lost when Redis' host dies under `everysec`


class Unsynced:
    """The length of Redis' append-only file a moment ago: what is left if the host dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: deque[tuple[float, Path, int]] = deque()

    def look(self) -> None:
        """Record the current length of the file."""
        files = sorted(self._folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        if files:
            self._sizes.append((time.monotonic(), files[-1], files[-1].stat().st_size))
        while len(self._sizes) > 1 and self._sizes[1][0] <= time.monotonic() - UNSYNCED_S:
            self._sizes.popleft()

    def lose(self) -> None:
        """Truncate the file to its recorded length; Redis drops a command that is cut in half."""
        if self._sizes:
            _, path, size = self._sizes[0]
            os.truncate(path, size)
        self._sizes.clear()


class Conductor:
    """Carries out events. `done` counts them by verb."""

    def __init__(
        self, fleet: DoomedFleet, diary: Diary, lease_s: float, *, host_dies: bool
    ) -> None:
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._diary = diary
        self._pause_s = lease_s + 2
        self._unsynced = Unsynced(fleet.folder / "redis" / "appendonlydir") if host_dies else None
        self._armed = Armed(fleet.folder / "armed")
        self._began = time.monotonic()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._waiting: list[str] = []
        self._number = 0

    def run(self, events: list[Event]) -> None:
        """Carry out all events and what follows from them; return when everything is repaired.

        Points that are left are met afterwards, by jobs that the producers submit until then,
        however long a busy machine takes to start that many workers.
        """
        for event in events:
            self._until(self._began + event.at)
            getattr(self, f"_{event.verb}")(event)
        while self._later:
            self._until(self._later[0][0] + TICK_S)
        left, met_at = self._left(), time.monotonic()
        while left and time.monotonic() < met_at + POINTS_S:
            self._until(time.monotonic() + 1)
            if (now_left := self._left()) < left:
                left, met_at = now_left, time.monotonic()

    def _left(self) -> int:
        """Return the number of points that are still to be met."""
        return len(self._waiting) + self._armed.count()

    def quiet(self) -> None:
        """Disarm all points, and have the producers end."""
        self._armed.disarm()
        (self._fleet.folder / ENOUGH).touch()

    def _until(self, moment: float) -> None:
        self._tick()  # on a busy machine the moment may have passed
        while time.monotonic() < moment:
            time.sleep(TICK_S)
            self._tick()

    def _tick(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        self._arm_what_waits()
        self._thaw()
        if self._unsynced:
            self._unsynced.look()

    def _after(self, seconds: float, act: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._number, act))

    def _pick(self, event: Event) -> psutil.Process | None:
        nurseries = self._fleet.of(event.target)
        return worker_of(nurseries[event.number % len(nurseries)]) if nurseries else None

    # --- the verbs ----------------------------------------------------------------------------

    def _kill(self, event: Event) -> None:
        worker = self._pick(event)
        if worker is not None:
            self._diary.note("killed", pid=worker.pid)
            self.done["kill"] += signalled(worker, signal.SIGKILL)
        elif self._fleet.of(event.target):
            self._after(0.5, lambda: self._kill(event))  # the worker is being restarted

    def _pause(self, event: Event) -> None:
        worker = self._pick(event)
        self.done["pause"] += signalled(worker, signal.SIGSTOP)
        self._after(self._pause_s, lambda: signalled(worker, signal.SIGCONT))

    def _term(self, event: Event) -> None:
        worker = self._pick(event)
        if worker is None:
            return
        self._diary.note("asked", pid=worker.pid)
        self.done["term"] += signalled(worker, signal.SIGTERM)
        self._after(GRACE_S, lambda: self._insist(worker))

    def _insist(self, worker: psutil.Process) -> None:
        if worker.is_running():
            self.done["term: not in time"] += 1
            self._diary.note("killed", pid=worker.pid)
            signalled(worker, signal.SIGKILL)

    def _arm(self, event: Event) -> None:
        self._waiting.append(event.target)

    def _arm_what_waits(self) -> None:
        """Arm one point of each kind at a time; drop points that nobody meets in time."""
        for target in dict.fromkeys(self._waiting):
            role, _, point = target.partition(".")
            if self._armed.arm(role, point):
                self._waiting.remove(target)
                self.done["arm"] += 1

    def _thaw(self) -> None:
        for pid in self._armed.frozen(self._pause_s):
            self.done["freeze"] += 1
            with suppress(psutil.NoSuchProcess):  # the worker was killed meanwhile
                psutil.Process(pid).send_signal(signal.SIGCONT)

    def _cut(self, _: Event) -> None:
        with redis.Redis.from_url(self._fleet.url) as client:
            try:
                client.client_kill_filter(_type="normal", skipme=True)
                self.done["cut"] += 1
            except RedisError:
                return  # Redis is down: the connections are cut already

    def _redis(self, event: Event) -> None:
        server = self._fleet.of("redis")[0]
        self._fleet.kill(server, signal.Signals[f"SIG{event.target}"])
        if self._unsynced and event.target == "KILL":
            self._diary.note("host")
            self.done["host died"] += 1
            self._unsynced.lose()
        self.done["redis restart"] += 1
        self._after(DOWN_S, lambda: self._redis_again(server))

    @staticmethod
    def _redis_again(server: Process) -> None:
        server.restart()
        server.wait_ready(30)

    def _crash(self, event: Event) -> None:
        nurseries = self._fleet.of("local")
        nursery = nurseries[event.number % len(nurseries)]
        worker, engine = worker_of(nursery), engine_of(nursery)
        if worker is not None and engine is not None:
            self._diary.note("engine", pid=worker.pid)
            self.done["engine crash"] += signalled(engine, signal.SIGKILL)

    def _hang(self, event: Event) -> None:
        """Stop the engine for good; the worker's watchdog has to notice and kill it."""
        nurseries = self._fleet.of("local")
        engine = engine_of(nurseries[event.number % len(nurseries)])
        self.done["engine hang"] += signalled(engine, signal.SIGSTOP)
        # Wake an engine that was stopped before it could ask the kernel to die with its worker.
        self._after(GRACE_S, lambda: signalled(engine, signal.SIGCONT))

    def _producer(self, event: Event) -> None:
        producers = self._fleet.of("producer")
        producer = producers[event.number % len(producers)]
        if producer.alive:  # the producer still has jobs to submit
            self._fleet.kill(producer)
            self.done["producer kill"] += 1
            self._after(0.2, producer.restart)

    def _clock(self, event: Event) -> None:
        """Let Redis' clock jump, and later jump back."""
        self._jump(JUMPS_S[event.number] * 1_000_000)
        self.done["clock jump"] += 1
        self._after(JUMP_S, lambda: self._jump(0))

    def _jump(self, micros: int) -> None:
        with redis.Redis.from_url(self._fleet.url) as client:
            try:
                client.set(SHIFT, micros)
            except RedisError:
                self._after(1, lambda: self._jump(micros))  # Redis is down

    def _storm(self, event: Event) -> None:
        rates = STORMS[event.number]
        plan_faults(self._fleet.mock_url, rates, event.number)
        self.done["storm"] += 1
        storms = self.done["storm"]
        self._after(STORM_S, lambda: self._end_storm(storms))

    def _end_storm(self, storms: int) -> None:
        if storms == self.done["storm"]:  # if not, the next storm has begun
            plan_faults(self._fleet.mock_url, {}, 0)
