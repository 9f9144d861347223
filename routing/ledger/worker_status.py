"""What a worker says of itself with each heartbeat: which jobs it works, on what, and how fast."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class WorkerStatus(BaseModel):
    """The state of one worker process. It holds names and counts, and never content.

    Attributes:
        name: Celery's name of the worker.
        queues: the queues that it consumes when it is not drained.
        engine, model: of its language model; empty if it has none.
        slots: the jobs that it can really work at once: the size of its engine's batch, or its
            threads.
        threads: the most jobs that it may hold; `hands` cannot be more.
        hands: the jobs that it holds at most now (`forebay workers scale`).
        reserve: the jobs that it holds at most besides, if they must not wait for the others.
        busy: the jobs that it holds.
        jobs_minute: the jobs that it has worked in the last minute.
        mean_s: the mean seconds of one of them.
        retries_minute: the jobs of the last minute that went back to their queue.
        policy: the version of its policy; empty if the policy file cannot be read.
        started: Unix time at which it started.
        drained: an operator has drained it: it takes no jobs until it is resumed.
        well: it takes jobs, as far as it knows.
        emptied: Unix time since when Redis has had its data, if it lost those that it had when the
            worker started; else 0.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str
    queues: tuple[str, ...]
    engine: str = ""
    model: str = ""
    slots: int = 0
    threads: int = 0
    hands: int = 0
    reserve: int = 0
    busy: int = 0
    jobs_minute: int = 0
    mean_s: float = 0.0
    retries_minute: int = 0
    policy: str = ""
    version: str = ""
    host: str = ""
    pid: int = 0
    started: float = 0.0
    drained: bool = False
    well: bool = True
    emptied: float = 0.0
