"""The vocabulary of log lines: every line names its event, and no line holds content.

docs/events.md explains every event. `forebay.routing.log_lines` writes the lines.
"""

from __future__ import annotations

import traceback
from enum import StrEnum
from typing import Any, Self


class Event(StrEnum):
    """What a line tells, and its meaning. The names are stable."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        """Make a member that equals its name and has a `meaning`."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    JOB_ROUTED = "job.routed", "a job moved to the queue of a lane"
    JOB_ANSWERED = "job.answered", "a job has its answer"
    JOB_ESCALATED = "job.escalated", "a job went up from the local lane to Bedrock"
    JOB_RETRIED = "job.retried", "an attempt failed or could not begin; the job waits again"
    JOB_DEFERRED = "job.deferred", "a job waits for a batch on Bedrock"
    JOB_DEAD = "job.dead", "a job failed; `forebay dead` lists it and can replay it"
    JOB_EXPIRED = "job.expired", "a job's deadline passed before it had an answer"
    JOB_CANCELLED = "job.cancelled", "a job was cancelled"
    JOB_AUDITED = "job.audited", "the audit of a kept local answer is over"
    JOB_LOST = "job.lost", "a worker lost its claim: the job ended, or another worker has it"
    JOB_BROKE = "job.broke", "a defect: work on a job raised an unexpected exception"
    JOB_DENIED = "job.denied", "a job's record forbids Bedrock since it was claimed"
    JOB_GIVEN_BACK = "job.given_back", "a worker that leaves gave a running job back"
    JOB_UNRECORDED = "job.unrecorded", "an outcome cannot be written yet; it is tried again"
    JOB_UNAUDITED = "job.unaudited", "an answer was to be audited, and could not be"
    JOB_NEWER = (
        "job.newer",
        "a job of a newer version of Forebay was left to newer workers",
    )
    JOB_UNREADABLE = "job.unreadable", "this process lacks the key of a job's content"
    JOB_UNSERVED = "job.unserved", "a job waits in a queue that no worker serves"
    CLAIM_FAILED = "claim.failed", "the ledger could not be asked for a job"
    LEASE_RECOVERED = "lease.recovered", "a worker died or stalled; its job waits again"
    LEASE_UNRENEWED = "lease.unrenewed", "leases could not be renewed; it is tried again"
    SWEEP_DONE = "sweep.done", "a sweep had something to do"
    SWEEP_FAILED = "sweep.failed", "a sweep could not be made; it is tried again"
    SWEEP_REPAIRED = "sweep.repaired", "jobs that no index led to were found again"
    WORKER_WAITING = "worker.waiting", "a worker waits for Redis before it starts"
    WORKER_UNLOADED = "worker.unloaded", "the scripts could not be loaded into Redis yet"
    WORKER_LEAVING = "worker.leaving", "a worker drains: it takes no more jobs"
    WORKER_WEDGED = "worker.wedged", "a worker that takes no jobs ends itself, to be restarted"
    WORKER_UNSEEN = "worker.unseen", "the heartbeat or its file could not be written"
    WORKER_HOOK = "worker.hook", "a defect: a metric, trace or log hook raised an exception"
    QUEUE_LEFT = "queue.left", "a worker that ends leaves doorbells to the sweeper"
    QUEUE_GARBAGE = (
        "queue.garbage",
        "a broadcast or a reply to a command was no message, and was dropped",
    )
    REDIS_FULL = "redis.full", "Redis is full: workers take jobs without doorbells, to free it"
    REDIS_EMPTIED = "redis.emptied", "Redis came back without its data: jobs and answers are lost"
    REDIS_AWAY = "redis.away", "a client waits for Redis"
    FLEETS_READ = "fleets.read", "the map of fleets had changed and was read again"
    FLEETS_WRONG = "fleets.wrong", "the map of fleets is wrong; its last good version applies"
    POLICY_READ = "policy.read", "the policy file had changed and was read again"
    POLICY_WRONG = "policy.wrong", "the policy file is wrong; its last good version applies"
    PACING_AWAY = "pacing.away", "the pace is not known; the policy's thresholds apply"
    CACHE_AWAY = "cache.away", "the answer cache cannot be read or written"
    BEDROCK_SHUT = "bedrock.shut", "a fault of the AWS account or a model shuts the way up"
    BEDROCK_RESTS = (
        "bedrock.rests",
        "a model that asked to slow down, or failed, rests for a while",
    )
    BEDROCK_OPEN = "bedrock.open", "Bedrock answers again after a fault"
    BEDROCK_UNPRICED = "bedrock.unpriced", "a call's usage has no price; its worst case is booked"
    BEDROCK_UNCOUNTED = (
        "bedrock.uncounted",
        "a prompt's tokens are not counted; its bytes bound them",
    )
    PRICES_READ = "prices.read", "the price file had changed and was read again"
    PRICES_WRONG = "prices.wrong", "the price file is wrong; its last good version applies"
    BUDGET_ALERT = "budget.alert", "a budget has reached the amount from which an alert is logged"
    BUDGET_SPENT = "budget.spent", "a budget refuses a call for the first time in its window"
    EGRESS_UNWRITTEN = "egress.unwritten", "a call was not made: its entry could not be written"
    BEDROCK_BATCH_BEGUN = "bedrock.batch_begun", "Bedrock has taken a batch of jobs"
    BEDROCK_BATCH_ENDED = "bedrock.batch_ended", "the results of a batch were read and booked"
    BEDROCK_BATCH_FAILED = (
        "bedrock.batch_failed",
        "a batch gives no answers; its jobs are called one by one",
    )
    BEDROCK_BATCH_UNKNOWN = (
        "bedrock.batch_unknown",
        "records of a batch have no result, and may have been billed; they stay reserved",
    )
    BEDROCK_BATCH_AWAY = "bedrock.batch_away", "batches cannot be moved on now; it is tried again"
    BEDROCK_NO_PRICE = "bedrock.no_price", "the policy names a model that has no price"
    ENGINE_READY = "engine.ready", "an engine has loaded its model"
    ENGINE_MEMORY = "engine.memory", "what an engine planned to use of the card, and what it uses"
    ENGINE_BROKE = "engine.broke", "a step of an engine raised; its jobs go back to their queue"
    ENGINE_KILLED = "engine.killed", "an engine made no step for too long, and was killed"
    ENGINE_ENDED = "engine.ended", "an engine's process ended; it is started again"
    ENGINE_DOWN = "engine.down", "an engine could not be started again"
    DECISIONS_DOWN = "router.decisions_down", "a router cannot open its decision model"
    MODEL_UNREADABLE = "model.unreadable", "a published model is damaged; the packaged one is used"
    BATCH_BROKE = "batch.broke", "a defect: a batch of the gateway raised an exception, and failed"
    BULK_KEYS_FULL = (
        "bulk.keys_full",
        "a bulk has more keys than are remembered; repeats of the others are not found",
    )
    WEBHOOK_BROKE = "webhook.broke", "a defect: delivering events raised an exception"
    WEBHOOK_GIVEN_UP = "webhook.given_up", "a webhook took none of the tries to deliver an event"
    REQUEST_BROKE = "request.broke", "a defect: a request to the gateway raised an exception"
    EVENTS_LOST = "events.lost", "Celery events for Flower could not be sent, and were dropped"
    METRICS_READY = "metrics.ready", "a worker serves its metrics at this address"
    METRICS_AWAY = "metrics.away", "figures of the ledger could not be read for a scrape"
    HISTORY_AWAY = "history.away", "jobs of a minute or hour could not be counted yet"
    LIBRARY = "library", "a line of a library, such as Celery; `logger` says of which"
    TESTING_STOPPED = "testing.stopped", "the fleet of `forebay.testing` stopped"


def event(name: Event, *, job: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the `extra` of a log call: what the line tells, and about what.

    Args:
        name: the event.
        job: the id of the job, which also gives the tenant.
        fields: ids, codes and counts, such as the lane. Never content.
    """
    if job:
        fields = {"job": job, "tenant": job.partition(".")[0], **fields}
    return {"event": name._value_, "fields": fields}


def exception_text(error: BaseException) -> str:
    """Return where an exception came from and its type, without its message: it may be content."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{frames}{type(error).__name__}"


def place(error: BaseException) -> str:
    """Return where an exception was raised, without its message, which may hold content."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-3:]))
