"""A check that does not end is a fault, unless the machine is too busy to tell."""

from __future__ import annotations

import os
import threading

import pytest

from forebay.routing.diagnostics import Finding, examine


@pytest.mark.parametrize(
    ("load", "state", "said"), [(0.5, "fail", "takes longer than 0.05 s"), (7.0, "warn", "busy")]
)
def test_a_check_that_does_not_end_stops_no_other(monkeypatch, load, state, said):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    ended = threading.Event()

    def hanging():
        yield Finding("before", "ok", "seen")
        ended.wait()

    def fine():
        yield Finding("after", "ok", "seen")

    first, late, last = examine([hanging, fine], within_s=0.05)
    ended.set()
    assert (first.name, last.name) == ("before", "after")
    assert (late.name, late.state) == ("hanging", state)
    assert said in late.seen
    assert late.mend
