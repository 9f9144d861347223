"""What the books do not agree on is found, and nothing else."""

from dataclasses import replace
from itertools import pairwise

import pytest

from egress import HAIKU, leaving
from forebay.routing.books.call_book import CallRecord
from forebay.routing.books.egress_entry import Entry
from forebay.routing.books.egress_log import Head
from forebay.routing.books.invocations import Invocation
from forebay.routing.books.verification import (
    of_calls,
    of_chain,
    of_denied,
    of_invocations,
    of_kept,
    of_order,
)
from forebay.routing.limits.prices import Usage

MINUTE = 60_000


def chain(number=20):
    """Return entries that are a minute apart."""
    entries, before = [], ""
    for seq in range(number):
        entry = Entry.following(seq, before, seq * MINUTE + 1, leaving(f"c{seq}", f"acme.{seq}"))
        entries.append(entry)
        before = entry.hash
    return entries


def call(entry, **fields):
    values = {
        "entry": "1-0", "id": entry.leaving.call, "state": "settled", "job": entry.leaving.job,
        "tenant": "acme", "purpose": "answer", "at_ms": entry.at_ms, "model": HAIKU, "base": HAIKU,
        "region": "us-east-1", "tier": "default", "tokens": Usage(1, 1), "prices": "p",
        "reserved_nusd": 9, "settled_nusd": 3, "estimated": False, "stand_in": False,
    }  # fmt: skip
    return CallRecord(**values | fields)


def logged(entry, **fields):
    values = {
        "call": entry.leaving.call, "request": "r", "at_ms": entry.at_ms, "model": HAIKU,
        "region": "us-east-1", "tokens": Usage(1, 1),
    }  # fmt: skip
    return Invocation(**values | fields)


def found(faults):
    return [(fault.code, fault.about) for fault in faults]


def test_books_that_agree_have_no_fault():
    entries = chain()
    assert found(of_chain(entries, {})) == found(of_denied(entries)) == []
    assert found(of_calls(entries, [call(entry) for entry in entries])) == []
    assert found(of_invocations(entries, [logged(entry) for entry in entries])) == []
    assert found(of_chain([], {})) == found(of_calls([], [])) == found(of_invocations([], [])) == []


def test_every_way_to_leave_out_or_swap_one_entry_shows():
    entries = chain()
    for at in range(len(entries) - 1):
        assert found(of_chain(entries[:at] + entries[at + 1 :], {}))[:1] == (
            [("entries_missing", str(at + 2))] if at else []
        )  # the first entries may have been removed; the number of the first one tells
    for one, two in pairwise(range(1, len(entries))):
        swapped = list(entries)
        swapped[one], swapped[two] = swapped[two], swapped[one]
        assert found(of_chain(swapped, {}))


def test_a_call_that_was_paid_for_needs_an_entry():
    entries = chain()
    calls = [call(entry) for entry in entries]
    assert found(of_calls(entries[:5] + entries[6:], calls)) == [("entry_missing", "c5")]


@pytest.mark.parametrize("state", ["released", "open"])
def test_a_call_that_never_left_needs_none(state):
    entries = chain()
    calls = [call(entry, state=state) for entry in entries]
    assert found(of_calls(entries[:5] + entries[6:], calls)) == []


def test_an_entry_needs_a_call_of_the_same_job():
    entries = chain()
    calls = [call(entry) for entry in entries]
    calls[7] = replace(calls[7], job="acme.other")
    del calls[5]
    assert found(of_calls(entries, calls)) == [("call_missing", "6"), ("job_differs", "8")]


def test_entries_that_are_older_than_the_book_of_calls_are_not_compared():
    entries = chain()
    assert found(of_calls(entries, [call(entry) for entry in entries[10:]])) == []


def test_bedrocks_log_is_compared_with_the_entries():
    entries = chain()
    log = [logged(entry) for entry in entries]
    log[10] = replace(log[10], model="anthropic.claude-opus-5-5")
    log[11] = replace(log[11], call="", request="r-11")
    log[12] = replace(log[12], call="not-ours")
    assert found(of_invocations(entries, log)) == [
        ("model_differs", "11"), ("call_of_others", "r-11"), ("entry_missing", "not-ours"),
        ("not_logged", "12"), ("not_logged", "13"),
    ]  # fmt: skip


def test_a_log_of_a_part_of_the_time_says_nothing_of_the_rest():
    entries = chain()
    assert found(of_invocations(entries, [logged(entry) for entry in entries[8:10]])) == []


PROFILE = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{HAIKU}"


def test_a_profile_is_logged_by_its_arn_and_a_record_may_come_twice():
    entries = chain()
    log = [logged(entry, model=PROFILE, request=str(entry.seq)) for entry in entries]
    assert found(of_invocations(entries, [*log, *log])) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"region": "us-east-1 by s3://bucket"},
        {"region": "eu-west-1"},
        {"region": "endpoint mine at host"},
        {"purpose": "count"},
    ],
)
def test_what_this_log_cannot_have_is_not_missed(fields):
    """Records of batches, calls in other regions or of other services, and counts of tokens."""
    entries = chain()
    entries[10] = replace(entries[10], leaving=replace(entries[10].leaving, **fields))
    log = [logged(entry, request=str(entry.seq)) for entry in entries if entry.seq != 11]
    assert found(of_invocations(entries, log)) == []


def test_entries_out_of_order_show_although_their_numbers_are_right():
    entries = chain(5)
    assert found(of_order(entries)) == []
    assert found(of_order([entries[0], entries[2], entries[1], *entries[3:]])) == [
        ("out_of_order", "2")
    ]
    assert found(of_order([*entries, entries[4]])) == [("out_of_order", "5")]


def test_a_kept_head_that_is_too_old_to_be_checked_is_told():
    entries = chain(5)[2:]
    kept = {"the kept head": Head(1, "x" * 64)}
    assert found(of_chain(entries, kept)) == []
    assert found(of_kept(entries, kept)) == [("head_unchecked", "1")]
    assert found(of_kept(chain(5), kept)) == []
