"""Check the egress log: its chain, and whether all books tell the same of what left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from forebay.routing.books.call_book import CallRecord
from forebay.routing.books.egress_entry import GENESIS, Entry, digest
from forebay.routing.books.egress_log import Head
from forebay.routing.books.invocations import Invocation, distinct, same_model

#: Clocks of Redis and of Bedrock may differ by so much.
SKEW_MS = 300_000


class Fault(NamedTuple):
    """Something that the books do not agree on.

    Attributes:
        code: stable, such as `entry_changed`.
        about: number of an entry, or the id of a call.
    """

    code: str
    about: str
    message: str


def of_chain(
    entries: Sequence[Entry], heads: Mapping[str, Head], head: Head | None = None
) -> Iterator[Fault]:
    """Yield the faults of the chain itself.

    Args:
        entries: the entries that are known, in order. The first ones may have been removed.
        heads: entries that somebody has kept, by what they are called in a fault.
        head: the last entry of the log; `None` if it is not known.
    """
    before: Entry | None = None
    for entry in entries:
        if digest(entry.text) != entry.hash:
            yield _fault("entry_changed", entry, "was changed after it was written")
        if before is None:
            first = entry.seq == 1 and entry.before != GENESIS
            linked, follows = not first, True
        else:
            linked, follows = entry.before == before.hash, entry.seq == before.seq + 1
        if not follows:
            yield _fault("entries_missing", entry, "does not follow the entry before it")
        elif not linked:
            yield _fault("chain_broken", entry, "does not hold the hash of the entry before it")
        before = entry
    yield from _of_heads(entries, heads, head)


def of_order(entries: Iterable[Entry]) -> Iterator[Fault]:
    """Yield the entries that do not stand behind the entry before them, as they were written."""
    before = 0
    for entry in entries:
        if entry.seq <= before:
            yield _fault("out_of_order", entry, f"stands behind entry {before}")
        before = entry.seq


def of_kept(entries: Sequence[Entry], kept: Mapping[str, Head]) -> Iterator[Fault]:
    """Yield the heads that were kept elsewhere and whose entries are too old to be known here."""
    first = entries[0].seq if entries else 1
    for name, head in kept.items():
        if head.seq < first:
            text = f"the entry of {name} is not here: give an export that has it with --file"
            yield Fault("head_unchecked", str(head.seq), text)


def _of_heads(
    entries: Sequence[Entry], heads: Mapping[str, Head], head: Head | None
) -> Iterator[Fault]:
    known = {entry.seq: entry for entry in entries}
    first = entries[0].seq if entries else 1
    ends = [*heads.items(), *([("the last entry of the log", head)] if head else [])]
    for name, end in ends:
        if end.seq < first:
            continue
        entry = known.get(end.seq)
        if entry is None:
            yield Fault("entries_missing", str(end.seq), f"{name} is gone")
        elif entry.hash != end.hash:
            yield _fault("head_differs", entry, f"is not {name}")


def of_denied(entries: Sequence[Entry]) -> Iterator[Fault]:
    """Yield the entries of content that nobody allowed to leave. There must be none."""
    for entry in entries:
        if entry.leaving.said != "allow":
            yield _fault("not_allowed", entry, f"left although its job said {entry.leaving.said}")


def of_calls(entries: Sequence[Entry], calls: Sequence[CallRecord]) -> Iterator[Fault]:
    """Yield what the egress log and the book of calls do not agree on, as far as both go back.

    A call that was released, or is not closed, may have no entry: it ended before anything left.
    Counting tokens is free, so the book of calls does not list it.
    """
    left, paid = {entry.leaving.call: entry for entry in entries}, {call.id: call for call in calls}
    start_ms = entries[0].at_ms if entries else 0
    for call in calls:
        if call.state == "settled" and call.id not in left and call.at_ms >= start_ms:
            yield Fault("entry_missing", call.id, "was paid for, and no entry says that it left")
    oldest_ms = min((call.at_ms for call in calls if call.at_ms), default=None)
    for entry in entries:
        if entry.leaving.is_count:
            continue
        call_of_entry = paid.get(entry.leaving.call)
        if call_of_entry is None and oldest_ms is not None and entry.at_ms >= oldest_ms:
            yield _fault("call_missing", entry, "left, and the book of calls has no such call")
        elif call_of_entry and call_of_entry.job and call_of_entry.job != entry.leaving.job:
            yield _fault("job_differs", entry, "names another job than the book of calls")


def of_invocations(entries: Sequence[Entry], invocations: Sequence[Invocation]) -> Iterator[Fault]:
    """Yield what the egress log and Bedrock's invocation log do not agree on.

    Bedrock does not log that it counted tokens, nor the records of batches.
    """
    left = {entry.leaving.call: entry for entry in entries}
    logged = {invocation.call for invocation in invocations}
    for invocation in distinct(invocations):
        if not invocation.call:
            text = f"Bedrock logged a call of {invocation.model} without the id of a fleet's call"
            yield Fault("call_of_others", invocation.request, text)
        elif invocation.call not in left:
            yield Fault("entry_missing", invocation.call, "Bedrock logged it, and no entry does")
        elif not same_model(left[invocation.call].leaving.model, invocation.model):
            yield _fault("model_differs", left[invocation.call], "went to another model")
    for entry in entries:
        if entry.leaving.call not in logged and _should_be_in(entry, invocations):
            yield _fault("not_logged", entry, "left, and Bedrock did not log it")


def _should_be_in(entry: Entry, invocations: Sequence[Invocation]) -> bool:
    """Return whether a log has to have the call of an entry: by its time, region and purpose."""
    times = [invocation.at_ms for invocation in invocations if invocation.at_ms]
    regions = {invocation.region for invocation in invocations} - {""}
    leaving = entry.leaving
    if leaving.elsewhere or leaving.is_count or leaving.in_batch or not times:
        return False
    here = not regions or leaving.region.partition(" ")[0] in regions
    return here and min(times) + SKEW_MS <= entry.at_ms <= max(times) - SKEW_MS


def _fault(code: str, entry: Entry, message: str) -> Fault:
    return Fault(code, str(entry.seq), f"entry {entry.seq} (job {entry.leaving.job}) {message}")
