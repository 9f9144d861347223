"""How the progress of a bulk is shown: a live line on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from forebay.producers.bulk.running.forecast import Forecast
from forebay.producers.bulk.running.progress import Progress
from forebay.producers.bulk.sample import Estimate
from forebay.routing.bulk.bulks import ENDED
from forebay.routing.errors import counted
from forebay.routing.overview.percentage import percentage

LINE_EVERY_S = 5.0  # in a pipe
MAX_EXAMPLE_CHARS = 120  # of an answer that fails a check
BAR_WIDTH = 24
WHOLE_FROM = 10.0  # rows a second that are shown without a fraction
NO_MONEY = " by the mock: no money"
DETACHED = "detached"  # a running bulk that no process feeds
HEADER = (
    "BULK", "STATE", "ROWS", "LOCAL", "BEDROCK", "DEGRADED", "FAILED", "BAD", "SPENT", "OUTPUT",
)  # fmt: skip

_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@contextmanager
def live(note: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress: a live bar on a terminal, else a line every 5 s."""
    from rich.console import Console  # noqa: PLC0415 - 80 ms, and few commands wait
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _now_and_then(note)
        return
    text = TextColumn("{task.description}", markup=False)
    with Bar(BarColumn(BAR_WIDTH), text, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(progress: Progress) -> None:
            total = None if progress.share is None else 1.0
            bar.update(task, completed=progress.share, total=total, description=line(progress))

        yield show


def line(progress: Progress) -> str:
    """Return progress in one line of about 100 characters."""
    total = "" if progress.total is None else f" of {progress.total:,}"
    share = "" if progress.share is None else f" ({percentage(progress.share)})"
    rate = f" · {_rate(progress.rows_per_s)} rows/s" if progress.rows_per_s else ""
    left = f" · {span(progress.left_s)} left" if progress.left_s else ""
    state = "" if progress.state == "running" else f"{progress.state}: "
    rows = f"{state}{progress.over:,}{total} rows{share}"
    again = "" if progress.rereading is None else f" · {percentage(progress.rereading)} read again"
    return f"{rows}{again}{rate}{left}{_ahead(progress)}{_ends(progress)}{_money(progress)}"


def _rate(rows_per_s: float) -> str:
    """Return a rate with the digits that say something."""
    return f"{rows_per_s:,.0f}" if rows_per_s >= WHOLE_FROM else f"{rows_per_s:.2g}"


def report_lines(progress: Progress) -> Iterator[str]:
    """Yield the lines of a report for people."""
    yield f"bulk {progress.id}: {_state(progress)}"
    if _state(progress) == DETACHED:
        yield f"no process feeds it: `forebay bulk resume {progress.id}` goes on"
    yield line(replace(progress, state="running"))
    yield (
        f"answered locally {progress.local:,}, on Bedrock {progress.bedrock:,}; "
        f"${progress.spent_usd:.6f} spent{NO_MONEY if progress.mock else ''}"
    )
    if progress.checks:
        yield f"failed checks: {_counted(progress.checks)}"
    if progress.errors:
        yield f"failed rows: {_counted(progress.errors)}"
    if progress.written and progress.out:
        yield f"results: {progress.out}"


def estimate_lines(found: Estimate) -> Iterator[str]:
    """Yield the lines of an estimate for people."""
    valid, bad = counted(found.rows, "valid row"), counted(found.bad, "bad row")
    yield f"{valid}, {bad}; {found.sampled:,} answered"
    if found.bad:
        yield "--dry-run prints the bad rows"
    if not found.sampled:
        return
    yield (
        f"the whole: at most {span(found.whole_s)}, at the {found.rows_per_s:,.1f} rows/s of the "
        f"sample (full batches are faster); ${found.whole_usd:.6f} on Bedrock"
        f"{NO_MONEY if found.mocked else ''}"
    )
    shares = {
        "local": found.local, "Bedrock": found.bedrock, "degraded": found.degraded,
        "failed": found.failed,
    }  # fmt: skip
    yield "shares: " + ", ".join(f"{name} {percentage(share, 1)}" for name, share in shares.items())
    for name, number in found.checks.items():
        yield f"fails the check {name}: {number:,}"
        for row in found.examples[name]:
            note = next((check["note"] for check in row["checks"] if check["name"] == name), "")
            yield f"  row {row['row']}: {_shortened(row['answer'])}{note and f' ({note})'}"
    for code, number in found.errors.items():
        yield f"has no answer, {code}: {number:,}"
        for row in found.examples[code]:
            yield f"  row {row['row']}: {row['error_note'] or code}"


def forecast_line(found: Forecast | None) -> str:
    """Say whether a bulk with a deadline will make it, by the rate at which rows went lately."""
    if found is None:
        return "no such rows were answered lately: whether this is in time shows once it runs"
    rows = f"about {found.rows:,} rows at {found.rows_per_s:,.1f} rows/s"
    seen = f"the rate of {found.model} in the pool {found.pool} lately"
    done = found.done_at.astimezone().strftime("%H:%M")
    end = "in time" if found.in_time else "TOO LATE: rows that are not answered by then expire"
    return f"{rows}, {seen}: {span(found.seconds)}, done at {done}, {end}"


def cells(progress: Progress) -> list[str]:
    """Return the cells of a table's row."""
    total = "?" if progress.total is None else f"{progress.total:,}"
    return [
        progress.id, _state(progress), f"{progress.over:,}/{total}", f"{progress.local:,}",
        f"{progress.bedrock:,}", f"{progress.degraded:,}", f"{progress.failed:,}",
        f"{progress.bad:,}", f"${progress.spent_usd:.6f}{' mock' if progress.mock else ''}",
        progress.out,
    ]  # fmt: skip


def span(seconds: float) -> str:
    """Return a span of time in its two largest units: `45 s`, `3 min 20 s`, `5 h 12 min`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def next_time_of_day(text: str) -> datetime | None:
    """Return the next time that a clock here shows `HH:MM`; `None` if the text is none."""
    match = _TIME_OF_DAY.fullmatch(text.strip())
    if match is None:
        return None
    now = datetime.now().astimezone()
    then = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return then if then > now else then + timedelta(days=1)


def _state(progress: Progress) -> str:
    return DETACHED if progress.state == "running" and not progress.fed else progress.state


def _ahead(progress: Progress) -> str:
    """Say what goes before the bulk, and whether it will be done by its deadline."""
    jobs = f" · {progress.jobs_ahead:,} jobs go first" if progress.jobs_ahead else ""
    if progress.deadline is None or progress.in_time is None:
        return jobs
    by = datetime.fromtimestamp(progress.deadline).astimezone().strftime("%H:%M")
    return f"{jobs} · {'in time for' if progress.in_time else 'too late for'} {by}"


def _shortened(answer: object) -> str:
    text = json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= MAX_EXAMPLE_CHARS else f"{text[: MAX_EXAMPLE_CHARS - 1]}…"


def _ends(progress: Progress) -> str:
    named = {
        "local": progress.local, "on Bedrock": progress.bedrock, "going up": progress.up,
        "degraded": progress.degraded, "failed": progress.failed, "expired": progress.expired,
        "cancelled": progress.cancelled, "bad": progress.bad,
    }  # fmt: skip
    return "".join(f" · {number:,} {name}" for name, number in named.items() if number)


def _money(progress: Progress) -> str:
    if not (progress.spent_usd or progress.reserved_usd):
        return ""
    limit = "" if progress.max_usd is None else f" of ${progress.max_usd:.2f}"
    whole = "" if progress.projected_usd is None else f", ${progress.projected_usd:.6f} projected"
    spent = f" · ${progress.spent_usd:.6f}{limit} spent{NO_MONEY if progress.mock else ''}{whole}"
    if progress.state not in ENDED or not progress.reserved_usd:
        return spent
    return f"{spent}, ${progress.reserved_usd:.6f} reserved: some calls had no whole answer"


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _now_and_then(note: Callable[[str], None]) -> Callable[[Progress], None]:
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            note(line(progress))

    return report
