"""Hours of the book of jobs that have passed are packed: the same counts in less memory."""

from __future__ import annotations

import time

import pytest

from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import JobGroup, job_counts
from forebay.routing.books.packed_hours import HOUR_S, PACK_AFTER_S, PackedHours, packed_key
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.sweeper import Sweeper
from ledger_jobs import BELL
from patience import until

DAYS = 35


@pytest.fixture
def book(redis):
    return JobBook(redis, DAYS)


@pytest.fixture
def old():
    """Return the beginning of an hour that is to be packed."""
    return int(time.time() - PACK_AFTER_S) // HOUR_S * HOUR_S - 3 * HOUR_S


def counts(tenants=1, jobs=3):
    made = {}
    for number in range(tenants):
        group = JobGroup(f"t{number}", "classify", "deny", "done", "local", "tiny")
        made |= job_counts(group, jobs=jobs, tokens_in=70, tokens_out=7, nusd=0)
    return made


def test_packed_counts_are_read_as_before_and_expire_as_before(book, redis, old):
    book.add(counts(tenants=50), old)
    book.add(counts(jobs=5), old + 2 * HOUR_S)
    book.add(counts(), time.time())
    before = [*book.read(old, time.time())]
    expires = redis.expiretime(f"fb:books:jobs:{old}")
    hours = PackedHours(redis, DAYS)
    assert [hours.pack(), hours.pack(), hours.pack()] == [True, True, False]
    assert [*book.read(old, time.time())] == before
    assert redis.expiretime(packed_key(old)) == expires
    assert not redis.exists(f"fb:books:jobs:{old}", f"fb:books:jobs:{old + 2 * HOUR_S}")
    assert len(redis.keys("fb:books:jobs:[0-9]*")) == 1, "this hour is still added to"


def test_counts_that_come_late_are_added_to_packed_ones(book, redis, old):
    book.add(counts(jobs=3), old)
    assert PackedHours(redis, DAYS).pack()
    book.add(counts(jobs=4), old)
    jobs = [one.number for one in book.read(old, old) if one.of[-1] == "jobs"]
    assert jobs == [7]
    assert PackedHours(redis, DAYS).pack()
    assert [one.number for one in book.read(old, old) if one.of[-1] == "jobs"] == jobs
    assert not redis.exists(f"fb:books:jobs:{old}")


def test_counts_that_are_added_while_an_hour_is_packed_are_not_lost(book, redis, old, monkeypatch):
    book.add(counts(jobs=3), old)
    hours, add = PackedHours(redis, DAYS), [lambda: book.add(counts(jobs=4), old)]
    from forebay.routing.books import packed_hours  # noqa: PLC0415 - beside its only use

    unpacked = packed_hours.unpacked

    def beside(*found):
        while add:
            add.pop()()
        return unpacked(*found)

    monkeypatch.setattr(packed_hours, "unpacked", beside)
    assert [hours.pack(), hours.pack(), hours.pack()] == [True, True, False]
    assert [one.number for one in book.read(old, old) if one.of[-1] == "jobs"] == [7]


def test_an_hour_of_many_tenants_takes_a_tenth(book, redis, old):
    book.add(counts(tenants=2_000), old)
    before = redis.memory_usage(f"fb:books:jobs:{old}", samples=0)
    assert PackedHours(redis, DAYS).pack()
    assert redis.memory_usage(packed_key(old)) < before / 10


def test_the_sweeper_packs(book, redis, redis_url, old):
    book.add(counts(), old)
    sweeper = Sweeper(Ledger(redis, Settings(redis_url=redis_url, sweep_s=0.05), BELL))
    try:
        until(lambda: redis.exists(packed_key(old)))
    finally:
        sweeper.close()
