"""A value is kept for its time and its key; a read that fails returns the last value."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import Unavailable
from forebay.routing.store import ttl_cache
from forebay.routing.store.ttl_cache import TtlCache

FOR_S = 5.0


class World:
    """A value that changes with each second, a clock, and a list of the reads."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.down = False
        self.asked = []

    def read(self, *key):
        self.asked.append((key, self.now))
        if self.down:
            raise Unavailable("down")
        return (*key, self.now)


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(ttl_cache, "monotonic", lambda: world.now)
    return world


def test_a_value_is_read_again_once_it_is_old_and_not_before(world):
    look = TtlCache(world.read, FOR_S)
    assert look() == (1000.0,)
    world.now += FOR_S - 0.01
    assert look() == (1000.0,)
    world.now += 0.01
    assert look() == (1005.0,)
    assert len(world.asked) == 2


def test_none_is_a_value_too(world):
    look = TtlCache(lambda: world.read() and None, FOR_S)
    assert [look(), look()] == [None, None]
    assert len(world.asked) == 1


def test_the_age_is_counted_from_the_end_of_the_read(world):
    def slowly():
        world.now += 60
        return world.read()

    look = TtlCache(slowly, FOR_S)
    assert look() == look() == (1060.0,)


def test_a_failed_read_raises_and_the_next_call_reads_again(world):
    look, world.down = TtlCache(world.read, FOR_S), True
    for _ in range(2):
        with pytest.raises(Unavailable):
            look()
    world.down = False
    assert look() == (1000.0,)


def test_while_reads_fail_the_old_value_is_returned(world):
    look = TtlCache(world.read, FOR_S)
    look()
    world.now, world.down = world.now + FOR_S, True
    assert look() == look() == (1000.0,)
    assert len(world.asked) == 2
    world.now, world.down = world.now + FOR_S, False
    assert look() == (1010.0,)


def test_any_other_error_raises_even_if_there_is_an_old_value(world):
    def wrong():
        if world.asked:
            raise ValueError
        return world.read()

    look = TtlCache(wrong, FOR_S)
    look()
    world.now += FOR_S
    with pytest.raises(ValueError):  # noqa: PT011 - it has no words
        look()


def test_threads_that_find_the_value_old_do_not_wait_for_each_other():
    together = threading.Barrier(4, timeout=5)
    look = TtlCache(together.wait, FOR_S)
    with ThreadPoolExecutor(4) as threads:
        read = {future.result() for future in [threads.submit(look) for _ in range(4)]}
    assert read == {0, 1, 2, 3}
    assert look() in read


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 2 * FOR_S), st.sampled_from("ab"), st.booleans()), max_size=40
    )
)
def test_a_value_belongs_to_its_key_and_is_old_only_while_reads_fail(steps):
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ttl_cache, "monotonic", lambda: world.now)
        look = TtlCache(world.read, FOR_S)
        values, checked = {}, {}  # by key: the last value, and when it was last read or tried
        for later, key, down in steps:
            world.now, world.down = world.now + later, down
            reads = len(world.asked)
            due = key not in values or world.now >= checked[key] + FOR_S
            try:
                name, at = look(key)
            except Unavailable:
                assert down
                assert key not in values
                continue
            assert name == key
            assert (len(world.asked) > reads) == due
            assert at == (world.now if due and not down else values[key])
            values[key], checked[key] = at, world.now if due else checked[key]


def test_the_values_of_many_keys_are_not_all_kept(world, monkeypatch):
    monkeypatch.setattr(ttl_cache, "MAX_KEYS", 100)
    cache = TtlCache(world.read, FOR_S)
    assert [cache(key) for key in range(1_000)] == [(key, world.now) for key in range(1_000)]
    assert len(cache._entries) <= 100
