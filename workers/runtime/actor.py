"""The base of all workers: a Celery worker that answers doorbells from the ledger.

Celery stays at the rim: a task takes no arguments and returns nothing; it works the best job of its
queue. Settings are read here, once, when the worker's module is loaded.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Protocol

import celery.apps.worker
from celery import Celery, signals

from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import template
from forebay.routing.broker.full_redis import FullRedis, is_full
from forebay.routing.broker.remote_control import remove_changing_commands
from forebay.routing.errors import ForebayError
from forebay.routing.lanes import task_name
from forebay.routing.ledger.claim import Claim, Selection
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.log_lines.line_formats import LogSettings
from forebay.routing.log_lines.line_handler import to_stderr
from forebay.routing.logs import Event, event, place
from forebay.routing.settings import Settings, read
from forebay.routing.store.connection import connect, reaching_redis
from forebay.workers.runtime.claims.claim_gate import ClaimGate
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.claims.reserve import Reserve, ReserveTerms
from forebay.workers.runtime.drain import WEDGED, Drain, end_at_next_signal, end_at_once
from forebay.workers.runtime.execute import Executor, Worked, at_once, pass_on
from forebay.workers.runtime.heartbeat import Heartbeat, step_calling
from forebay.workers.runtime.hooks import JobHook
from forebay.workers.runtime.liveness import Liveness
from forebay.workers.runtime.outcomes import Outcome
from forebay.workers.runtime.settings import ActorSettings
from forebay.workers.runtime.start_up import (
    give_up,
    load_scripts,
    reachable,
    settings_of,
    tune_python,
    wait_for_redis,
)

log = logging.getLogger(__name__)

UNNAMED = "celery"  # what Celery calls a worker that was started without `-n`


class Worker(Protocol):
    """Works the jobs of an actor's queues; made when the Celery worker starts."""

    def work(self, claim: Claim, /) -> Outcome:
        """Work one job. Called from as many threads as the actor has."""

    def close(self) -> None:
        """Release what the worker holds, after the Celery worker has stopped."""


class Actor:
    """One kind of worker process.

    1. Makes the Celery application that consumes its queues.
    2. Makes its worker when Celery starts; ends with one line if that fails.
    3. Answers each doorbell with `Executor.answer_doorbell`.
    4. Writes a heartbeat every other second as long as it takes jobs.
    5. Drains when it is told to, or when it notices that it takes no jobs any more.

    Args:
        queues: the Celery queues that it consumes.
        make: makes the worker.
        pool: Celery's pool, `solo` or `threads`.
        concurrency: jobs at once.
        shards_at_once: of these, the most shards of bulks.
        jobs_at_once: jobs that one thread claims in one round trip, and records in one, if they
            take only moments.
        work_all: works such jobs together; see `Executor`.
        shares: tenants for which this process works the fewest jobs go first.
        reserves: returns what threads a worker needs besides, for jobs that must not wait.
        hooks: observe every job; see `JobHook`.
        steps: returns a counter of a worker that rises while its jobs make progress.
        quiet_s: how long a job may take without a step, by the limits of its work.
        on_beat: called with the worker at each heartbeat.
    """

    def __init__(
        self,
        queues: Sequence[str],
        make: Callable[[Ledger], Worker],
        *,
        pool: str,
        concurrency: int,
        shards_at_once: int = 1,
        jobs_at_once: int = 1,
        work_all: Callable[[Any, Sequence[Claim]], Iterable[Worked]] | None = None,
        shares: bool = False,
        reserves: Callable[[Any], Sequence[ReserveTerms]] = lambda _worker: (),
        hooks: Sequence[JobHook] = (),
        steps: Callable[[Any], int] = lambda _worker: 0,
        quiet_s: float = 0.0,
        on_beat: Callable[[Any], object] = lambda _worker: None,
    ) -> None:
        self.settings = settings_of(Settings)
        settings_of(LogSettings)  # a wrong one ends the worker here, with one line
        self.queues = queues
        self.hooks = tuple(hooks)
        try:
            client, impatient = connect(self.settings, "work"), connect(self.settings, "look")
            self.app: Celery = celery_app(self.settings, queues)
            bell = template(self.app)
            self.ledger = Ledger(client, self.settings, bell)
            self.ledger.share_round_trips()
            # Over a client that does not wait long for Redis: for all but the jobs themselves.
            self._impatient_ledger = Ledger(impatient, self.settings, bell)
        except ForebayError as error:
            give_up(error)
        self.app.conf.update(worker_pool=pool, worker_concurrency=concurrency)
        self._make, self._hostname = make, ""  # Celery's name of this worker
        self._worker: Worker | None = None
        self._executor: Executor | None = None
        self._steps, self._quiet_s, self._reserves = steps, quiet_s, reserves
        self._work_all, self._on_beat = work_all, on_beat
        self._in_flight = InFlight(concurrency, shards_at_once)
        self._select = self._in_flight.fewest_first if shares else Selection
        self._turn = at_once(jobs_at_once)
        if pool != "solo" and jobs_at_once > 1:
            self._turn = ClaimGate(self._in_flight, jobs_at_once).turn
        self._watch(settings_of(ActorSettings))
        self._register()

    def _watch(self, settings: ActorSettings) -> None:
        """Make what watches over this process, ready to be started."""
        liveness = Liveness(
            settings, self._in_flight, self._doorbells, self._wedged,
            lambda: self._steps(self._worker), self._quiet_s,
        )  # fmt: skip
        self._liveness = liveness
        self._heartbeat = Heartbeat(
            self._impatient_ledger, self._consumed, self._in_flight,
            lambda: liveness.well or self._full_redis.taking, lambda: self._on_beat(self._worker),
        )  # fmt: skip
        takes = [partial(self._answer, queue, unrung=True) for queue in self.queues]
        begin, client = lambda: self._heartbeat.start(self._hostname), self._impatient_ledger.redis
        self._full_redis = FullRedis(client, self._in_flight, takes, begin)
        self._drain = Drain(
            self._impatient_ledger, self._in_flight, settings.grace_s, self._heartbeat.stop,
            self._consumed,
        )  # fmt: skip

    def _register(self) -> None:
        """Register the tasks and the signal handlers with Celery."""
        remove_changing_commands()
        for queue in self.queues:
            # Doorbells send no events: the hooks tell Flower of jobs (`workers/telemetry`).
            self.app.task(self._task(queue), name=task_name(queue), typing=False, send_events=False)
        self.app.steps["consumer"].add(step_calling(self._come_round))
        signals.celeryd_init.connect(self._name, weak=False)
        signals.setup_logging.connect(_log_to_stderr, weak=False)
        signals.worker_init.connect(self._start, weak=False)
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_shutting_down.connect(self._shutting_down, weak=False)
        signals.worker_shutdown.connect(self._stop, weak=False)

    def _name(self, instance: Any, **_: Any) -> None:
        """Log under Celery's name of this worker; name it if it was started without `-n`.

        Celery would call every worker of a machine alike, and others could not tell them apart.
        """
        name, _, host = instance.hostname.partition("@")
        if name == UNNAMED:
            queue = self.queues[0].partition(".")[0]
            instance.hostname = f"{queue}-{os.getpid()}@{host}"
        to_stderr(logging.INFO, worker=instance.hostname)
        if read(LogSettings).log == "json":
            _print_nothing(instance)

    def _task(self, queue: str) -> Callable[[], None]:
        """Return the function that Celery calls for each doorbell of a queue."""

        def doorbell() -> None:
            self._answer(queue)

        return doorbell

    def _answer(self, queue: str, *, unrung: bool = False) -> None:
        """Work the best job of a queue; `unrung` if no doorbell called."""
        assert self._executor is not None, "Celery starts the worker before its tasks"
        if self._in_flight.admit():
            self._executor.answer_doorbell(queue, unrung=unrung)
        elif not unrung:
            pass_on(self._impatient_ledger, queue, self._in_flight)

    def _start(self, sender: Any, **_: Any) -> None:
        self._hostname = sender.hostname
        self._drain.start()
        while self._worker is None:
            wait_for_redis(self._impatient_ledger)
            load_scripts(self._impatient_ledger)
            self._worker = self._made_worker()
        tune_python()
        self._executor = self._executor_of(self._worker)
        self._full_redis.start()
        for terms in self._reserves(self._worker):
            self._in_flight.reserve += terms.threads
            ledger = self._impatient_ledger  # its claims wait for no round trip of jobs in work
            work = self._executor.work_claim
            Reserve(terms, self._in_flight, ledger, self._consumed, work).start()

    def _executor_of(self, worker: Worker) -> Executor:
        return Executor(
            self.ledger, worker.work, self._in_flight, self.hooks,
            turn=self._turn, select=self._select,
            work_all=partial(self._work_all, worker) if self._work_all else None,
        )  # fmt: skip

    def _made_worker(self) -> Worker | None:
        """Make the worker; return `None` if Redis went away meanwhile."""
        try:
            return self._make(self.ledger)
        except ForebayError as error:
            if reachable(self._impatient_ledger):
                give_up(error)
        except Exception as error:  # noqa: BLE001 - Celery would log it, and run without a worker
            give_up(ForebayError(f"{type(error).__name__} at {place(error)}"))
        return None

    def _ready(self, sender: Any, **_: Any) -> None:
        signal.signal(signal.SIGQUIT, end_at_once)  # Celery's would wait for what hangs
        self._in_flight.slots = sender.controller.concurrency
        self._liveness.start()
        self._heartbeat.start(sender.hostname)

    def _shutting_down(self, **_: Any) -> None:
        """Drain; called in Celery's signal handler."""
        end_at_next_signal()
        self._drain.begin()

    def _stop(self, **_: Any) -> None:
        self._drain.wait()  # Celery has waited for its own threads, not for those of the reserve
        self._heartbeat.stop()
        self._full_redis.stop()
        if self._worker is not None:
            self._worker.close()
        self._drain.ring_for_others()

    def _come_round(self, consumer: Any) -> None:
        """Note that the consumer's loop came round, and have it do as an operator ordered."""
        self._liveness.beat()
        self._heartbeat.obey(consumer)

    def _consumed(self) -> list[str]:
        """Return the queues that Celery consumes; `-Q` chooses among ours."""
        return [queue for queue in self.queues if queue in self.app.amqp.queues.consume_from]

    def _doorbells(self) -> int:
        """Return how many doorbells wait in those queues; 0 if Celery can take none of them."""
        if self._in_flight.drained or is_full(self._impatient_ledger.redis):
            return 0
        with reaching_redis(), self._impatient_ledger.redis.pipeline(transaction=False) as pipe:
            for queue in self._consumed():
                pipe.llen(queue)
            return sum(pipe.execute())

    def _wedged(self, reason: str) -> None:
        log.error(
            "wedged: %s; leaving with exit code %d", reason, WEDGED,
            extra=event(Event.WORKER_WEDGED),
        )  # fmt: skip
        self._drain.begin(WEDGED)


def app_on_demand(make: Callable[[], Actor]) -> Callable[[str], Celery]:
    """Return the `__getattr__` of a worker's module, which makes `app` when Celery asks for it.

    So importing the module starts nothing.
    """
    actor = cache(make)

    def attribute(name: str) -> Celery:
        if name != "app":
            raise AttributeError(name)
        return actor().app

    return attribute


def _print_nothing(instance: Any) -> None:
    """Have Celery write no banner and no word at its end, which would stand between the lines."""
    instance.quiet = True
    celery.apps.worker.safe_say = lambda *_words: None


def _log_to_stderr(loglevel: int = logging.WARNING, **_: Any) -> None:
    to_stderr(loglevel or logging.INFO)
