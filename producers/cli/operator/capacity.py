# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The command `forebay capacity`: how many workers a load needs, and what one more buys."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.operator.readers import open_reader
from forebay.producers.cli.operator.spans import Since, moment
from forebay.routing.overview.percentage import percentage
from forebay.routing.terminal.options import Json, option, ungrouped

if TYPE_CHECKING:
    from forebay.routing.capacity.sizing import Load, Size, Target
    from forebay.routing.ledger.reader import LedgerReader

#: From this rate on, a rate is shown without decimals.
WHOLE_FROM = 1_000

HELP = """Say how many local workers a load needs.

\b
  forebay capacity --wait 2              # the load of this fleet, as measured
  forebay capacity --wait 2 --rate 12    # its service times, another rate
  forebay capacity --wait 2 --rate 12 --service 1.8 --spread 0.9 --slots 8

What is not given is measured: the rate of the busiest hour, the service times of the newest 2,000
answers, and the slots of the workers that are there.
"""

Wait = Annotated[float, option("--wait", "SECONDS", "How long a job may wait for a slot.")]
Share = Annotated[float, option("--share", "SHARE", "The share of jobs that wait no longer.")]
Rate = Annotated[float | None, option("--rate", "N", "Jobs in a second that come.")]
Service = Annotated[float | None, option("--service", "SECONDS", "Mean time of a job in a slot.")]
Spread = Annotated[
    float,
    option(
        "--spread",
        "CV",
        "With --service: standard deviation over mean. 0: all equal; 1: exponential.",
    ),
]
ServiceTimes = Annotated[
    Path | None, option("--service-times", "FILE", "Seconds of jobs, a number a line.")
]
Burstiness = Annotated[
    float,
    option(
        "--burstiness",
        "CV",
        "Standard deviation over mean of the time between jobs. 1: they come independently.",
    ),
]
Slots = Annotated[int | None, option("--slots", "N", "Slots of one worker.", min=1)]
Queue = Annotated[str, option("--queue", "NAME", "The queue whose jobs are measured.")]

app = ungrouped()


@app.command(help=HELP)
def capacity(  # noqa: D103 - its help says it
    *,
    wait: Wait,
    share: Share = 0.95,
    rate: Rate = None,
    service: Service = None,
    spread: Spread = 1.0,
    service_times: ServiceTimes = None,
    burstiness: Burstiness = 1.0,
    slots: Slots = None,
    queue: Queue = "local.default",
    since: Since = "7d",
    as_json: Json = False,
) -> None:
    from forebay.routing.capacity.sizing import Load, Target, sizes

    _check(wait=wait, rate=rate, service=service)
    if not 0 < share < 1:
        raise typer.BadParameter("must lie between 0 and 1", param_hint="--share")
    fleet = Measured(queue)
    times = [service] if service else _times(service_times) or fleet.times()
    rate, came = (rate, "given") if rate else fleet.rate(moment(since))
    slots = slots or fleet.slots()
    load = Load.of(rate, times, burstiness**2)
    if service:
        load = replace(load, service_cv2=spread**2)
    target = Target(wait, share)
    found = list(sizes(load, slots, target))
    if as_json:
        display.document(_document(load, slots, target, found))
    else:
        _print(load, came, "" if service else f", of {len(times):,} jobs", target, found)


class Measured:
    """What is measured of a fleet. Its methods end the command if there is nothing to measure."""

    def __init__(self, queue: str) -> None:
        self._queue = queue

    @cached_property
    def _reader(self) -> LedgerReader:
        return open_reader()

    def rate(self, since_s: float) -> tuple[float, str]:
        """Return the jobs in a second of the busiest hour, and which hour that was."""
        from forebay.routing.books.job_book import JobBook
        from forebay.routing.capacity.measured import busiest_hour

        busiest = busiest_hour(JobBook(self._reader.redis), self._queue, since_s)
        if busiest is None:
            message = f"is needed: no job of {self._queue} was counted yet"
            raise typer.BadParameter(message, param_hint="--rate")
        hour = datetime.fromtimestamp(busiest.start_s, UTC)
        return busiest.rate, f"in the hour from {hour:%Y-%m-%d %H:%M} UTC, the busiest"

    def times(self) -> list[float]:
        """Return the service times of the newest answers."""
        from forebay.routing.capacity.measured import service_times

        found = service_times(self._reader, self._queue)
        if not found:
            message = f"is needed: {self._queue} has no answered job whose time could be read"
            raise typer.BadParameter(message, param_hint="--service")
        return found

    def slots(self) -> int:
        """Return the slots of one worker; of several, of the smallest."""
        from forebay.routing.overview.workers import Workers

        serving = [
            seen.status.slots
            for seen in Workers(self._reader.redis).all()
            if self._queue in seen.status.queues and seen.status.slots
        ]
        if not serving:
            raise typer.BadParameter(
                f"is needed: no worker of {self._queue} was seen in the last hour",
                param_hint="--slots",
            )
        return min(serving)


def _check(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not (0 < number < math.inf):
            raise typer.BadParameter("must be above 0", param_hint=f"--{name}")


def _times(path: Path | None) -> list[float]:
    """Return the numbers of a file, a line each."""
    if path is None:
        return []
    times = []
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise typer.BadParameter(message, param_hint="--service-times") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            times.append(_time(line, f"line {number} of {path}"))
    if not times:
        raise typer.BadParameter(f"{path} holds no number", param_hint="--service-times")
    return times


def _time(line: str, where: str) -> float:
    try:
        seconds = float(line)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"{where} must be a number of seconds above 0"
        raise typer.BadParameter(message, param_hint="--service-times")
    return seconds


def _document(load: Load, slots: int, target: Target, found: list[Size]) -> dict[str, Any]:
    return {
        "rate": load.rate, "service_s": load.service_s, "service_cv": load.service_cv2**0.5,
        "slots_per_worker": slots, "wait_s": target.wait_s, "share": target.share,
        "workers": next((size.workers for size in found if size.meets), None),
        "sizes": [
            {
                "workers": size.workers, "slots": size.queue.slots, "busy": size.queue.busy,
                "wait_at_all": size.queue.waits, "mean_wait_s": _finite(size.queue.mean_wait_s),
                "median_wait_s": _finite(size.queue.wait_s(0.5)),
                "share_wait_s": _finite(size.queue.wait_s(target.share)),
                "meets": size.meets, "most_rate": size.most_rate,
            }
            for size in found
        ],
    }  # fmt: skip


def _print(load: Load, came: str, of_jobs: str, target: Target, found: list[Size]) -> None:
    spread = load.service_cv2**0.5
    display.text(f"jobs come      {_rate(load.rate)} a second ({came})")
    display.text(f"service time   {load.service_s:.3g} s, spread (CV) {spread:.2f}{of_jobs}")
    display.text(f"wanted         {target.share:.0%} of the jobs wait at most {target.wait_s:g} s")
    header = (
        "WORKERS", "SLOTS", "BUSY", "MUST WAIT", "MEDIAN", f"{target.share:.0%} WITHIN",
        "MEETS IT", "UP TO JOBS/S",
    )  # fmt: skip
    display.table(header, [_row(size, target.share) for size in found])
    enough = next((size.workers for size in found if size.meets), None)
    if enough is None:
        from forebay.routing.capacity.sizing import MAX_WORKERS

        display.note(f"up to {MAX_WORKERS:,} workers, none meets that")
    else:
        which = "1 is enough while it runs" if enough == 1 else f"{enough} are enough while all run"
        display.note(which)


def _row(size: Size, share: float) -> tuple[str, ...]:
    queue = size.queue
    return (
        f"{size.workers}", f"{queue.slots}", percentage(queue.busy), percentage(queue.waits),
        _seconds(queue.wait_s(0.5)), _seconds(queue.wait_s(share)), "yes" if size.meets else "no",
        _rate(size.most_rate),
    )  # fmt: skip


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.3g}"


def _seconds(value: float) -> str:
    return "grows" if math.isinf(value) else f"{value:.2f} s"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
