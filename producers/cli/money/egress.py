# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands `forebay egress …`: what left the building, by whose leave, and proof of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money.options import Tenant
from forebay.producers.cli.operator.readers import open_reader
from forebay.producers.cli.operator.spans import Since, Until, between
from forebay.producers.cli.options import Json

if TYPE_CHECKING:
    from forebay.routing.books.egress_entry import Entry
    from forebay.routing.books.egress_log import EgressLog, Head
    from forebay.routing.books.verification import Fault

Invocations = Annotated[
    Path | None,
    typer.Option(
        "--invocations", metavar="FILE", help="Also compare with Bedrock's invocation log (JSON)."
    ),
]
Exported = Annotated[
    list[Path] | None,
    typer.Option(
        "--file", metavar="FILE",
        help="Also check entries of this export, which Redis may have removed. Repeat it.",
    ),
]  # fmt: skip
Kept = Annotated[
    list[str] | None,
    typer.Option(
        "--head", metavar="NUMBER:HASH",
        help="An entry that you have kept elsewhere (see `forebay egress heads`). Repeat it.",
    ),
]  # fmt: skip
Out = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="The file (.jsonl) to which entries are added."),
]

app = typer.Typer(
    help="Report, verify or export what left the building.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None,
)  # fmt: skip


@app.command()
def report(
    *, since: Since = "30d", until: Until = None, tenant: Tenant = None, as_json: Json = False
) -> None:
    """Say that no job left that had to stay, and what left and why."""
    from forebay.routing.books.egress_report import egress_report
    from forebay.routing.books.job_book import JobBook
    from forebay.routing.overview.all_jobs import for_operators

    start, end = between(since, until)
    with for_operators():
        redis = open_reader().redis
        counts = JobBook(redis).read(start, end)
        entries = _log().read(int(start * 1_000))
        found = egress_report(entries, counts, until_ms=int(end * 1_000), tenant=tenant)
    if as_json:
        display.document(found.document())
    else:
        for line in found.lines():
            display.text(line)
    if found.denied_left:
        raise typer.Exit(1)


@app.command()
def verify(
    *,
    file: Exported = None,
    head: Kept = None,
    invocations: Invocations = None,
    as_json: Json = False,
) -> None:
    """Check the log against its chain, its heads, and the calls.

    The exit code is 1 if something differs.
    """
    entries, log = _entries(file or []), _log()
    faults = list(_faults(entries, log, _kept(head or []), invocations))
    first = entries[0].seq if entries else 0
    if as_json:
        display.document({
            "ok": not faults, "entries": len(entries), "first": first, "head": log.head().hash,
            "faults": [fault._asdict() for fault in faults],
        })  # fmt: skip
    else:
        _print_faults(faults, entries, log.head())
    if faults:
        raise typer.Exit(1)


@app.command()
def export(*, out: Out, as_json: Json = False) -> None:
    """Add the entries that a file lacks to it, for cron.

    Redis removes the oldest; the file keeps all.
    """
    from forebay.producers.cli.money.files.appending import append_text, last_line
    from forebay.routing.books.egress_entry import Entry
    from forebay.routing.errors import Misconfigured

    line = last_line(out)
    last = Entry.of_line(line) if line else None
    new = [entry for entry in _read() if last is None or entry.seq > last.seq]
    if last and new and (new[0].seq, new[0].before) != (last.seq + 1, last.hash):
        hint = f"entry {new[0].seq} does not follow the last entry of {out}, number {last.seq}"
        raise Misconfigured(f"{hint}: run `forebay egress verify --file {out}`", field="--out")
    append_text(out, "".join(f"{entry.line}\n" for entry in new))
    if as_json:
        display.document({"added": len(new)})
    else:
        display.note(f"{len(new):,} entries added to {out}")


@app.command()
def heads(*, as_json: Json = False) -> None:
    """Print the last entry of each day. Keep them elsewhere: they show if the log is replaced."""
    days = _log().heads()
    if as_json:
        display.document({day: f"{head.seq}:{head.hash}" for day, head in days.items()})
        return
    for day, head in days.items():
        display.text(f"{day}  {head.seq}:{head.hash}")


def _log() -> EgressLog:
    from forebay.routing.books.egress_log import EgressLog

    return EgressLog(open_reader().redis)


def _read() -> list[Entry]:
    from forebay.routing.overview.all_jobs import for_operators

    with for_operators():
        return list(_log().read())


def _entries(files: list[Path]) -> list[Entry]:
    """Return the entries of Redis and of exported files, each number once, in order."""
    from forebay.routing.books.egress_entry import Entry
    from forebay.routing.errors import InvalidJob

    found: dict[tuple[int, str, str], Entry] = {}
    for path in files:
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            raise InvalidJob(f"{path} cannot be read", field="--file") from None
        for entry in map(Entry.of_line, lines):
            found[entry.seq, entry.hash, entry.text] = entry
    for entry in _read():
        found.setdefault((entry.seq, entry.hash, entry.text), entry)
    return sorted(found.values(), key=lambda entry: entry.seq)


def _kept(heads: list[str]) -> dict[str, Head]:
    from forebay.routing.books.egress_log import Head

    kept = {}
    for text in heads:
        seq, _, last = text.rpartition("  ")[2].partition(":")
        if not seq.isdecimal() or len(last) != 64:  # noqa: PLR2004 - hexadecimal digits of SHA-256
            hint = "must be NUMBER:HASH, as `forebay egress heads` prints it"
            raise typer.BadParameter(hint, param_hint="--head")
        kept[f"--head {seq}"] = Head(int(seq), last)
    return kept


def _faults(
    entries: list[Entry], log: EgressLog, kept: dict[str, Head], invocations: Path | None
) -> list[Fault]:
    from forebay.routing.books import verification
    from forebay.routing.books.call_book import CallBook
    from forebay.routing.books.invocations import read_invocations

    faults = [
        *verification.of_chain(entries, log.heads() | kept, log.head()),
        *verification.of_denied(entries),
        *verification.of_calls(entries, CallBook(open_reader().redis).calls()),
    ]
    if invocations is not None:
        faults += verification.of_invocations(entries, read_invocations(invocations))
    return faults


def _print_faults(faults: list[Fault], entries: list[Entry], head: Head) -> None:
    for fault in faults:
        display.text(f"{fault.code:16}  {fault.about}  {fault.message}")
    codes: Any = Counter(fault.code for fault in faults)
    if entries and entries[0].seq > 1:
        display.note(f"entries 1 to {entries[0].seq - 1:,} are not here: give exports with --file")
    end = f"the last is {head.seq}:{head.hash}" if head.seq else "nothing was ever written"
    if faults:
        listed = ", ".join(f"{number} {code}" for code, number in sorted(codes.items()))
        display.note(f"{len(entries):,} entries, {len(faults):,} faults: {listed}")
    else:
        display.note(f"{len(entries):,} entries, no fault; {end}")
