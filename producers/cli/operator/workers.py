"""The commands `forebay workers …`: list the workers, drain and resume one, scale its hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.operator.readers import open_reader
from forebay.producers.cli.options import Reason
from forebay.routing.terminal.options import Json, argument, group

if TYPE_CHECKING:
    from forebay.routing.overview.orders import Orders
    from forebay.routing.overview.workers import SeenWorker

HEADER = (
    "WORKER", "QUEUES", "MODEL", "STATE", "BUSY", "SLOTS", "JOBS/MIN", "S/JOB", "RETRIES/MIN",
    "VERSION", "UP", "SEEN",
)  # fmt: skip
#: Columns that a narrow terminal does without, the first of them first; --json has them all.
DISPENSABLE = ("VERSION", "MODEL", "UP", "SLOTS", "SEEN", "QUEUES")
MODEL_CHARS = 24  # of a model's name in the table
#: How to have more hands than a worker has threads, by the first word of its queue.
MORE = {
    "route": "start another router: celery -A forebay.workers.router worker -n router2@%h",
    "sweep": "start another sweeper: celery -A forebay.workers.sweeper worker -n sweeper2@%h",
    "local": "restart it with a larger FOREBAY_SLOTS, or start another local worker",
    "bedrock": "restart it with a larger FOREBAY_BEDROCK_CONCURRENCY, or start another one",
}

Name = Annotated[str, argument("NAME", "The worker's name, as `forebay workers list` says.")]
Hands = Annotated[int, argument("N", "The jobs that the worker holds at most.", min=1)]

app = group("List the workers of the fleet; drain, resume or scale one.")


@app.command("list")
def print_list(*, as_json: Json = False) -> None:
    """List the workers: how busy, how fast and how well each is."""
    from forebay.routing.overview.workers import Workers  # noqa: PLC0415 - help answers at once

    workers = Workers(open_reader().redis).all()
    if as_json:
        display.document([document(worker) for worker in workers])
    elif workers:
        rows = [cells(worker) for worker in workers]
        display.table(HEADER, rows, DISPENSABLE)
    else:
        display.note("no worker was seen in the last hour")


@app.command()
def drain(name: Name, *, reason: Reason = "", as_json: Json = False) -> None:
    """Have a worker take no more jobs until it is resumed.

    It finishes those that it holds. Redis holds the order, for the worker's name.
    """
    worker, orders = _find(name)
    orders.drain(name, reason)
    busy = worker.status.busy
    note = f"{busy} jobs that it holds go on" if busy else "it holds no jobs"
    _print(name, "drained", note, as_json=as_json)


@app.command()
def resume(name: Name, *, as_json: Json = False) -> None:
    """Have a drained worker take jobs again."""
    from forebay.routing.overview.orders import Orders  # noqa: PLC0415 - help answers at once

    resumed = Orders(open_reader().redis).resume(name)
    _print(name, "resumed" if resumed else "was not drained", as_json=as_json)


@app.command()
def scale(name: Name, hands: Hands, *, as_json: Json = False) -> None:
    """Set how many jobs a worker holds at most.

    No more than the threads that it was started with; the error says how to have more.
    """
    worker, orders = _find(name)
    threads = worker.status.threads
    if hands > threads:
        queue = worker.status.queues[0].partition(".")[0] if worker.status.queues else ""
        how = MORE.get(queue, "restart it with a larger --concurrency")
        most = f"must be at most {threads}, the threads that {name} has{_in_reserve(worker)}"
        raise typer.BadParameter(f"{most}; for more, {how}", param_hint="'N'")
    orders.scale(name, hands if hands < threads else None)
    note = f"it holds at most {hands} of {threads} jobs{_in_reserve(worker)}"
    _print(name, "scaled", note, as_json=as_json)


def _in_reserve(worker: SeenWorker) -> str:
    """Return how many threads BUSY counts besides, which `scale` does not change."""
    reserve = worker.status.reserve
    return f", besides {reserve} in reserve for jobs that must not wait" if reserve else ""


def document(worker: SeenWorker) -> dict[str, Any]:
    """Return a worker as JSON."""
    return worker.status.model_dump(mode="json") | {
        "state": worker.state, "age_s": round(worker.age_s, 1), "seen_s": round(worker.seen_s, 1),
    }  # fmt: skip


def cells(worker: SeenWorker) -> tuple[str, ...]:
    """Return a worker under `HEADER`."""
    status = worker.status
    busy, jobs, mean = pace(worker)
    return (
        status.name, ",".join(status.queues), status.model[:MODEL_CHARS], worker.state,
        busy, str(status.slots), jobs, mean,
        f"{status.retries_minute:,}",
        status.version, display.duration(worker.age_s), display.duration(worker.seen_s),
    )  # fmt: skip


def pace(worker: SeenWorker) -> tuple[str, str, str]:
    """Return how busy and how fast a worker is: BUSY, JOBS/MIN, S/JOB. Nothing if it is gone."""
    status = worker.status
    if worker.state == "gone":
        return ("", "", "")
    mean = f"{status.mean_s:.3g}" if status.jobs_minute else ""
    return (f"{status.busy}/{status.hands + status.reserve}", f"{status.jobs_minute:,}", mean)


def _find(name: str) -> tuple[SeenWorker, Orders]:
    """Return the worker of this name and what takes orders for it.

    Raises:
        BadParameter: No worker of this name was seen in the last hour.
    """
    from forebay.routing.overview.orders import Orders  # noqa: PLC0415 - help answers at once
    from forebay.routing.overview.workers import Workers  # noqa: PLC0415 - as above

    client = open_reader().redis
    worker = Workers(client).named(name)
    if worker is None:
        message = f"no worker {name} was seen in the last hour; see forebay workers list"
        raise typer.BadParameter(message, param_hint="'NAME'")
    return worker, Orders(client)


def _print(name: str, verb: str, note: str = "", *, as_json: bool) -> None:
    display.result(
        {"worker": name, "state": verb},
        f"{name} {verb}" + (f"; {note}" if note else ""),
        as_json=as_json,
    )
