"""The checks of `forebay doctor` about jobs: the dead, the oldest waiting, leases that ran out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from itertools import groupby

from forebay.producers.cli import display
from forebay.producers.cli.operator.readers import open_reader
from forebay.routing.diagnostics import Finding, Probe, Severity
from forebay.routing.errors import Misconfigured, Unavailable
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.limits.pauses import Pauses
from forebay.routing.overview.all_jobs import AllJobs, ranked
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.overview.recovered import leases_recovered
from forebay.routing.overview.waiting import WaitingJobs

OLD_S = 600.0  # an interactive job that waits for longer deserves a look
MAX_LISTED = 10  # codes, and tenants of a code


def probes() -> list[Probe]:
    """Return the checks about jobs."""
    return [_if_reached(probe) for probe in (dead_jobs, oldest_waiting, leases, pauses)]


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
        since = datetime.fromtimestamp(pause.since, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        why = f": {pause.reason}" if pause.reason else ""
        mend = f"forebay resume {pause.scope}"
        yield Finding("paused", "warn", f"{pause.scope} since {since}{why}", mend)


@contextmanager
def _reader() -> Iterator[LedgerReader]:
    """Yield a reader for all tenants; a missing right is told as such."""
    reader = open_reader()
    try:
        yield reader
    except Misconfigured as error:
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
