"""The checks of `forebay doctor` about jobs: the dead, the oldest waiting, leases that ran out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import groupby
from statistics import median

from forebay.producers.cli import display
from forebay.producers.cli.operator.fleet_checks import in_each_fleet
from forebay.producers.cli.operator.readers import fleet_option, open_reader
from forebay.routing.books.targets.refusals import refused_lately
from forebay.routing.diagnostics import Finding, Probe, Severity
from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from forebay.routing.overview.all_jobs import AllJobs, ranked
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.overview.recovered import leases_recovered
from forebay.routing.overview.waiting import WaitingJobs
from forebay.routing.overview.workers import SeenWorker, Workers, emptied_at, other_policies
from forebay.routing.policy.policy_file import Policy
from forebay.routing.store.connection import clock_of, reaching_redis

OLD_S = 600.0  # an interactive job that waits for longer deserves a look
MAX_LISTED = 10  # codes, tenants of a code, and workers
SLOW = 3.0  # times the seconds that others take for a job
FEW_JOBS = 5  # in a minute; their mean says little


def probes() -> list[Probe]:
    """Return the checks about jobs."""
    checks = (emptied, fleet_policy, budgets, workers, dead_jobs, oldest_waiting, leases, pauses)
    return in_each_fleet(_if_reached(probe) for probe in checks)


def _if_reached(probe: Probe) -> Probe:
    """Return the probe, silent if Redis cannot be reached: the check `redis` reports that."""

    @wraps(probe)
    def quiet() -> Iterator[Finding]:
        try:
            yield from probe()
        except Unavailable:
            return
        except Misconfigured as error:
            if error.field != "FOREBAY_REDIS_URL":
                raise

    return quiet


def emptied() -> Iterator[Finding]:
    """Report a Redis that came back without its data while workers ran."""
    with _reader() as reader:
        since = emptied_at(Workers(reader.redis).all())
    if since:
        mend = (
            "put its append-only file back from a backup; or submit the jobs again, and make API "
            "keys anew. Then restart the workers, which ends this report"
        )
        when = display.moment(since)
        seen = f"Redis lost its data at {when}: jobs, answers, API keys and books are gone"
        yield Finding("data", "fail", seen, mend)


def fleet_policy() -> Iterator[Finding]:
    """Report workers whose policy is not that of this shell."""
    with _reader() as reader:
        seen = Workers(reader.redis).all()
    try:
        others = other_policies(Policy.load(reader.settings.policy_file).version, seen)
    except Misconfigured:  # the check of the policy file says it
        return
    if others:
        mend = (
            "set FOREBAY_POLICY_FILE as the workers have it; until then `forebay status` knows no "
            "budgets"
        )
        yield Finding("policy", "warn", f"another one than that of {_listed(others)}", mend)


def budgets() -> Iterator[Finding]:
    """Report budgets that refused calls in the last hour."""
    with _reader() as reader:
        with reaching_redis():
            now = clock_of(reader.redis)
        try:
            policy = Policy.load(reader.settings.policy_file)
        except Misconfigured:  # the check of the policy file says it
            return
        tenants = Budget(reader.redis).tenants() | {*policy.tenants}
        found = refused_lately(reader.redis, policy, sorted(tenants), now)
    for refused in found:
        yield Finding("budget", "warn", refused.named_text, refused.remedy)


def workers() -> Iterator[Finding]:
    """Report workers that are gone, stuck, drained, slow, or give their jobs back."""
    with _reader() as reader:
        seen = Workers(reader.redis).all()
    wrong = [finding for worker in seen if (finding := _fault_of(worker, seen))]
    yield from wrong
    if seen and not wrong:
        yield Finding("workers", "ok", f"all {len(seen)} are well")


def _fault_of(worker: SeenWorker, seen: Sequence[SeenWorker]) -> Finding | None:
    """Return what is wrong with a worker, if anything is."""
    status, name = worker.status, f"worker {worker.status.name}"
    if worker.state == "gone":
        silent = f"gone: no heartbeat for {display.duration(worker.seen_s)}"
        held = f"; others get the {status.busy} jobs that it held" if status.busy else ""
        return Finding(name, "warn", silent + held, "see its log; start it again")
    if worker.state == "stuck":
        return Finding(name, "warn", "stuck: it takes no jobs", "it ends itself; see its log")
    if worker.state == "drained":
        return Finding(
            name, "warn", "drained", f"forebay workers resume {status.name}{fleet_option()}"
        )
    if status.retries_minute > max(status.jobs_minute, FEW_JOBS):
        what = f"jobs went back to their queue {status.retries_minute:,} times in the last minute"
        calls = BEDROCK in status.queues
        events = "bedrock.shut, bedrock.rests" if calls else "engine.ended, engine.broke"
        return Finding(name, "warn", what, f"its log says why: job.retried, {events}")
    usual = _usual_s(worker, seen)
    if usual and status.mean_s > SLOW * usual:
        what = f"slow: {status.mean_s:.3g} s a job; others of its queue take {usual:.3g} s"
        return Finding(name, "warn", what, "see what else runs there; drain it until it is mended")
    return None


def _usual_s(worker: SeenWorker, seen: Sequence[SeenWorker]) -> float | None:
    """Return the seconds that others of the same queue take for a job; `None` if few are known."""
    means = [
        other.status.mean_s
        for other in seen
        if other is not worker
        and other.state != "gone"
        and set(other.status.queues) & set(worker.status.queues)
        and min(other.status.jobs_minute, worker.status.jobs_minute) > FEW_JOBS
    ]
    return median(means) if means else None


def dead_jobs() -> Iterator[Finding]:
    """Report dead jobs by code and tenant."""
    with _reader() as reader:
        found = AllJobs(reader).find_dead(JobFilter(), limit=1)
    codes = Counter[str]()
    for (_, _, code), count in found.counts.items():
        codes[code] += count
    if not codes:
        yield Finding("dead jobs", "ok", "none")
    for code, count in ranked(codes)[:MAX_LISTED]:
        tenants = _by_tenant((key[0], n) for key, n in found.counts.items() if key[2] == code)
        mend = f"forebay dead list --code {code}; once mended, forebay dead replay --all"
        yield Finding("dead jobs", "warn", f"{code}: {count:,} ({tenants})", mend)


def oldest_waiting() -> Iterator[Finding]:
    """Report the age of the oldest waiting job of each queue that has any."""
    with _reader() as reader:
        lines = [line for line in WaitingJobs(reader.redis).lines() if line.depth]
    for queue, classes in groupby(lines, key=lambda line: line.queue):
        ages = {line.priority: line.oldest_s for line in classes}
        seen = ", ".join(f"{name} {display.duration(age)}" for name, age in ages.items())
        late = ages.get("interactive", 0.0) > OLD_S
        state: Severity = "warn" if late else "ok"
        mend = "start more workers for this queue, or see what holds them up" if late else ""
        yield Finding("oldest waiting", state, f"{queue}: {seen}", mend)


def leases() -> Iterator[Finding]:
    """Report how many leases ran out in the last hour: workers died or stalled."""
    with _reader() as reader:
        count = leases_recovered(reader.redis)
    if not count:
        yield Finding("leases", "ok", "none ran out in the last hour")
        return
    mend = "the workers' logs say why: lease.recovered, engine.ended, worker.wedged"
    yield Finding("leases", "warn", f"{count:,} ran out in the last hour", mend)


def pauses() -> Iterator[Finding]:
    """Report what an operator has paused."""
    with _reader() as reader:
        paused = Pauses(reader.redis).all()
    for pause in paused:
        why = f": {pause.reason}" if pause.reason else ""
        mend = f"forebay resume {pause.scope}{fleet_option()}"
        seen = f"{pause.scope} since {display.moment(pause.since)}{why}"
        yield Finding("paused", "warn", seen, mend)


@contextmanager
def _reader() -> Iterator[LedgerReader]:
    """Yield a reader for all tenants; a missing right is told as such."""
    reader = open_reader()
    try:
        yield reader
    except Misconfigured as error:
        if error.field == "FOREBAY_REDIS_URL":  # the check `redis` reports that
            raise
        raise Misconfigured(f"{error.message} (only the operator's user sees this)") from None
    finally:
        reader.redis.close()


def _by_tenant(counts: Iterable[tuple[str, int]]) -> str:
    """Return tenants with their counts, the largest first."""
    tenants = Counter[str]()
    for tenant, count in counts:
        tenants[tenant] += count
    listed = [f"{tenant} {count:,}" for tenant, count in ranked(tenants)[:MAX_LISTED]]
    return ", ".join([*listed, "…"] if len(tenants) > MAX_LISTED else listed)


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:MAX_LISTED], *(["…"] if len(names) > MAX_LISTED else [])])
