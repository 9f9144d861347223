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
from forebay.routing.errors import counted
from forebay.routing.terminal.options import Json, group, option

if TYPE_CHECKING:
    from forebay.routing.books.egress_entry import Entry
    from forebay.routing.books.egress_log import EgressLog, Head
    from forebay.routing.books.signed_heads import KeptHead
    from forebay.routing.books.verification import Fault

Invocations = Annotated[
    Path | None,
    option("--invocations", "FILE", "Also compare with Bedrock's invocation log (JSON)."),
]
Exported = Annotated[
    list[Path] | None,
    option(
        "--file",
        "FILE",
        "Also read entries of this export, which Redis may have removed. Repeat it.",
    ),
]
Kept = Annotated[
    list[str] | None,
    option(
        "--head",
        "NUMBER:HASH",
        "An entry that you have kept elsewhere (see `forebay egress heads`). Repeat it.",
    ),
]
KeptFile = Annotated[
    Path | None, option("--heads", "FILE", "Heads that you have kept elsewhere, one a line.")
]
PublicKey = Annotated[
    Path | None,
    option(
        "--public-key",
        "FILE",
        "Each head of --heads must be signed by the owner of this key (Ed25519, PEM).",
    ),
]
Sign = Annotated[
    Path | None, option("--sign", "FILE", "Sign each head with this key (Ed25519, PEM).")
]
Out = Annotated[Path, option("--out", "FILE", "The file (.jsonl) to which entries are added.")]

app = group("Report, verify or export what left the building.")


@app.command()
def report(
    *,
    since: Since = "30d",
    until: Until = None,
    tenant: Tenant = None,
    file: Exported = None,
    as_json: Json = False,
) -> None:
    """Say that no job left that had to stay, and what left and why."""
    from forebay.routing.books.egress_report import egress_report
    from forebay.routing.books.job_book import JobBook
    from forebay.routing.overview.all_jobs import for_operators

    start, end = between(since, until)
    with for_operators():
        redis = open_reader().redis
        counts = JobBook(redis).read(start, end)
        since_ms, until_ms = int(start * 1_000), int(end * 1_000)
        kept = _entries(file, []) if file else _log().read(since_ms)
        oldest = next(iter(kept if isinstance(kept, list) else _log().read()), None)
        found = egress_report(
            kept, counts, oldest=oldest, since_ms=since_ms, until_ms=until_ms, tenant=tenant
        )
    if as_json:
        display.document(found.document())
    else:
        for line in found.lines():
            display.text(line)
        if tenant and not found.jobs:
            display.note(f"no job of a tenant {tenant} in this time: is the name right?")
        if found.from_s:
            display.note("older entries are not here: give exports with --file")
    if found.denied_left:
        raise typer.Exit(1)


@app.command()
def verify(
    *,
    file: Exported = None,
    head: Kept = None,
    heads: KeptFile = None,
    public_key: PublicKey = None,
    invocations: Invocations = None,
    as_json: Json = False,
) -> None:
    """Check the log against its chain, its heads, and the calls.

    The exit code is 1 if something differs.
    """
    if public_key and not heads:
        raise typer.BadParameter("needs the file of --heads", param_hint="--public-key")
    in_file = _kept([line for line in _lines(heads, "--heads") if line.strip()], "--heads")
    faults = _unsigned(in_file, public_key) if public_key else []
    entries, log = _entries(file or [], faults), _log()
    faults += _faults(entries, log, [*_kept(head or [], "--head"), *in_file], invocations)
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
        display.note(f"{_entries_counted(new)} added to {out}")


@app.command()
def heads(*, sign: Sign = None, as_json: Json = False) -> None:
    """Print the last entry of each day. Keep them elsewhere: they show if the log is replaced."""
    from forebay.routing.books.signed_heads import KeptHead, private_key

    found = [KeptHead(day, head, "") for day, head in _log().heads().items()]
    if sign is not None:
        key = private_key(sign)
        found = [head.signed(key) for head in found]
    if as_json:
        display.document({one.day: one.line.partition("  ")[2] for one in found})
        return
    for one in found:
        display.text(one.line)


def _log() -> EgressLog:
    from forebay.routing.books.egress_log import EgressLog

    return EgressLog(open_reader().redis)


def _read() -> list[Entry]:
    from forebay.routing.overview.all_jobs import for_operators

    with for_operators():
        return list(_log().read())


def _entries(files: list[Path], faults: list[Fault]) -> list[Entry]:
    """Return the entries of Redis and of exported files, each number once, in order.

    What does not stand in order in one of them is added to `faults`.
    """
    from forebay.routing.books.verification import of_order

    found: dict[tuple[int, str, str], Entry] = {}
    for entries in (*map(_exported, files), _read()):
        faults += of_order(entries)
        for entry in entries:
            found.setdefault((entry.seq, entry.hash, entry.text), entry)
    return sorted(found.values(), key=lambda entry: entry.seq)


def _exported(path: Path) -> list[Entry]:
    from forebay.routing.books.egress_entry import Entry
    from forebay.routing.errors import InvalidJob

    entries = []
    for number, line in enumerate(_lines(path, "--file"), 1):
        try:
            entries.append(Entry.of_line(line))
        except InvalidJob:
            hint = f"line {number} of {path} is no entry of the egress log"
            raise InvalidJob(hint, field="--file") from None
    return entries


def _lines(path: Path | None, option: str) -> list[str]:
    from forebay.routing.errors import InvalidJob

    try:
        return path.read_text().splitlines() if path else []
    except (OSError, UnicodeDecodeError):
        raise InvalidJob(f"{path} cannot be read", field=option) from None


def _kept(lines: list[str], option: str) -> list[KeptHead]:
    """Return the heads that were kept elsewhere."""
    from forebay.routing.books.signed_heads import read_head
    from forebay.routing.errors import InvalidJob

    try:
        return [read_head(line) for line in lines]
    except InvalidJob as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _unsigned(kept: list[KeptHead], key: Path) -> list[Fault]:
    """Return the heads that the owner of a key did not sign."""
    from forebay.routing.books.signed_heads import public_key
    from forebay.routing.books.verification import Fault

    owner = public_key(key)
    text = "is not signed by the owner of the public key"
    return [
        Fault(
            "head_not_signed", str(one.head.seq), f"the kept head of {one.day or 'no day'} {text}"
        )
        for one in kept
        if not one.is_signed_by(owner)
    ]


def _faults(
    entries: list[Entry], log: EgressLog, kept: list[KeptHead], invocations: Path | None
) -> list[Fault]:
    from forebay.routing.books import verification
    from forebay.routing.books.call_book import CallBook
    from forebay.routing.books.invocations import read_invocations

    days = {f"the last entry of {day}": head for day, head in log.heads().items()}
    named = {f"the kept head {one.head.seq}:{one.head.hash[:8]}": one.head for one in kept}
    faults = [
        *verification.of_chain(entries, days | named, log.head()),
        *verification.of_kept(entries, named),
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
        display.note(f"{_entries_counted(entries)}, {counted(len(faults), 'fault')}: {listed}")
    else:
        display.note(f"{_entries_counted(entries)}, no fault; {end}")


def _entries_counted(entries: list[Entry]) -> str:
    return "1 entry" if len(entries) == 1 else f"{len(entries):,} entries"
