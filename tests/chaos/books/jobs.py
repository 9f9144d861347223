"""Every accepted job ended, once, and left nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import redis

from books.diary import Entry
from books.finding import Finding, Told, finding
from books.journal import Journal
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED


def of_jobs(client: redis.Redis, ledger: Ledger, told: Told) -> Iterator[Finding]:
    """Check that every accepted job ended in one answer or one failure and left nothing behind."""
    there = set(_ids(client, "fb:job:", told))
    states = {job_id: ledger.record(job_id).state for job_id in sorted(there)}
    lost = told.accepted - there
    yield finding("accepted, and not there", lost - told.risked)
    yield finding("not ended", (job for job, state in states.items() if state not in ENDED))
    yield finding("there, and never submitted", there - told.accepted - told.doubtful)
    done = {job for job, state in states.items() if state == "done"}
    answers = set(_ids(client, "fb:answer:", told))
    yield finding("done without an answer, or not done with one", done ^ answers)
    ended = {job for job, state in states.items() if state in ENDED}
    yield finding("keys of ended jobs without an end", _endless(client, ended))
    yield finding("ended jobs still in a set", _listed(client, ended))


def _ids(client: redis.Redis, family: str, told: Told) -> Iterator[str]:
    """Yield the ids in the names of a family of keys."""
    for key in client.scan_iter(f"{family}*", 1000):
        job_id = key.decode(errors="replace").removeprefix(family)
        if not told.forged(job_id):
            yield job_id


def _endless(client: redis.Redis, ended: set[str]) -> Iterator[str]:
    keys = [key.decode(errors="replace") for key in client.scan_iter("fb:*", 1000)]
    owned = [key for key in keys if key.split(":")[2:3] and key.split(":")[2] in ended]
    tenants = {job_id.partition(".")[0] for job_id in ended}
    owned += [
        key for key in keys
        if key.startswith("fb:idempotency:") and key.split(":")[2] in tenants
    ]  # fmt: skip
    with client.pipeline(transaction=False) as pipe:
        for key in owned:
            pipe.ttl(key)
        lives = pipe.execute()
    return (key for key, ttl in zip(owned, lives, strict=True) if ttl == -1)


def _listed(client: redis.Redis, ended: set[str]) -> Iterator[str]:
    sets = [b"fb:leases", b"fb:later", *client.scan_iter("fb:deadlines*", 1000),
            *client.scan_iter("fb:waiting:*", 1000)]  # fmt: skip
    for name in sets:
        for member in client.zrange(name, 0, -1):
            if member.decode(errors="replace") in ended:
                yield f"{name.decode(errors='replace')} {member.decode()}"


def of_ends(
    entries: Sequence[Entry], journal: Journal, risked: AbstractSet[str] = frozenset()
) -> Iterator[Finding]:
    """Check that a job ends once and stays ended, in Redis' file and in the workers' diary."""
    lives = {job: [change.ended for change in life] for job, life in journal.lives.items()}
    yield finding("ended twice, by Redis' file", (job for job in lives if sum(lives[job]) > 1))
    yield finding("went on after its end", (job for job in lives if any(lives[job][:-1])))
    settled = Counter(entry.about for entry in entries if entry.what == "settle")
    twice = {job for job, times in settled.items() if times > 1}
    yield finding("settled twice, by the workers", twice - risked)
