"""An iterable that may block is iterated over on a thread, a bounded way ahead."""

import itertools
import json
import threading
import time
from contextvars import ContextVar

import pytest

from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.sources.read_ahead import MAX_AHEAD_BYTES, ReadAhead
from forebay.producers.bulk.streams.inputs import NotYet

NAME = ContextVar("NAME", default="nobody")


def read_all(ahead):
    return b"".join(iter(lambda: ahead.read(1000), b""))


def ended(ahead):
    ahead._thread.join(10)
    return not ahead._thread.is_alive()


def test_what_comes_is_read_in_order_to_the_end():
    ahead = ReadAhead({"n": n} for n in range(5000))
    lines = read_all(ahead).decode().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(5000))
    assert ended(ahead)


def test_an_item_larger_than_a_read_comes_in_parts():
    ahead = ReadAhead(iter(["z" * 5000, "y"]))
    first = ahead.read(10)
    assert len(first) == 10
    assert (first + read_all(ahead)).count(b"z") == 5000


def test_a_source_that_blocks_says_not_yet_and_goes_on_later():
    goes = threading.Event()

    def rows():
        yield {"n": 1}
        goes.wait(10)
        yield {"n": 2}

    with open_source(rows()) as source:
        source.wait_at_most(0.05)
        found = source.rows()
        first = next(found)
        with pytest.raises(NotYet):
            next(found)
        goes.set()
        source.wait_at_most(10)
        assert [row.fields["n"] for row in source.rows(first.end)] == [2]


def test_no_more_is_read_ahead_than_is_kept():
    taken = itertools.count()
    ahead = ReadAhead("x" * 1000 for _ in iter(lambda: next(taken), None))
    assert ahead.ready(10)
    time.sleep(0.2)
    assert next(taken) <= MAX_AHEAD_BYTES / 1000 + 2
    ahead.close()
    assert ended(ahead)


def test_an_error_comes_after_the_items_before_it_and_stays():
    def rows():
        yield {"n": 1}
        raise RuntimeError("the source broke")

    ahead = ReadAhead(rows())
    assert b'"n":1' in ahead.read(1000)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broke"):
            ahead.read(1000)


def test_a_generator_that_is_not_read_to_its_end_is_closed_in_its_thread():
    closed_in = []

    def rows():
        try:
            yield from ({"n": n} for n in itertools.count())
        finally:
            closed_in.append(threading.current_thread().name)

    ahead = ReadAhead(rows())
    ahead.read(10)
    ahead.close()
    assert ended(ahead)
    assert closed_in == ["bulk-rows"]


def test_the_context_of_the_caller_goes_along():
    token = NAME.set("the caller")
    ahead = ReadAhead({"name": NAME.get()} for _ in range(1))
    NAME.reset(token)
    assert b"the caller" in ahead.read(1000)


def test_a_collection_is_iterated_over_where_it_is_read():
    threads = []

    class Rows(list):
        def __iter__(self):
            threads.append(threading.current_thread())
            return super().__iter__()

    with open_source(Rows([{"n": 1}])) as source:
        assert len(list(source.rows())) == 1
    assert threads == [threading.current_thread()]
