"""The limit of a call cuts its connection in time, and costs no thread and no memory of its own."""

from __future__ import annotations

import gc
import socket
import threading
import weakref

import pytest

from forebay.workers.frontier.responses.time_limit import TimeLimit

LONG_S, SOON_S = 600.0, 0.05
PATIENCE_S = 30.0  # for a connection that is cut soon, on a busy machine


@pytest.fixture
def connect():
    """Return a function that makes a connection which a limit watches, and its other end."""
    opened = []

    def connected(limit: TimeLimit) -> socket.socket:
        near, far = socket.socketpair()
        opened.extend((near, far))
        far.settimeout(PATIENCE_S)
        limit.watch(near)
        return far

    yield connected
    for each in opened:
        each.close()


def is_open(far: socket.socket) -> bool:
    far.setblocking(False)
    try:
        return far.recv(1) != b""
    except BlockingIOError:
        return True


def test_each_connection_is_cut_at_its_own_time(connect):
    """A limit that begins later may be over sooner."""
    long, soon, shortened = TimeLimit(LONG_S), TimeLimit(SOON_S), TimeLimit(LONG_S)
    others = connect(soon), connect(shortened)
    far = connect(long)
    assert others[0].recv(1) == b""
    shortened.shorten(SOON_S)
    assert others[1].recv(1) == b""
    assert (long.is_over, soon.is_over, shortened.is_over) == (False, True, True)
    assert is_open(far)
    long.end()


def test_a_connection_whose_response_has_come_is_not_cut(connect):
    ended, later = TimeLimit(SOON_S), TimeLimit(2 * SOON_S)
    far, other = connect(ended), connect(later)
    ended.end()
    assert other.recv(1) == b""  # by then, the first limit is over
    assert is_open(far)


def test_a_connection_that_took_too_long_to_open_is_cut_at_once(connect):
    limit = TimeLimit(0.0)
    assert connect(limit).recv(1) == b""


def test_limits_of_many_calls_share_one_thread():
    TimeLimit(LONG_S).end()  # its thread stays
    before = threading.active_count()
    limits = [TimeLimit(LONG_S) for _ in range(50)]
    assert threading.active_count() <= before
    for limit in limits:
        limit.end()


def test_nothing_is_left_of_a_limit_that_has_ended():
    """Not even for Python's collector, which looks rarely."""
    gc.disable()
    try:
        limit = TimeLimit(LONG_S)
        limit.end()
        left = weakref.ref(limit)
        del limit
        assert left() is None
    finally:
        gc.enable()
