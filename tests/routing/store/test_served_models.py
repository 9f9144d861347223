"""The models that workers announce: whose clock is wrong hides neither its own nor another's."""

from __future__ import annotations

import time

import pytest

from forebay.routing.store.served_models import ServedModels

QUEUE, FOR_S = "local.default", 10.0
now = time.time


@pytest.fixture
def served(redis):
    return ServedModels(redis)


@pytest.mark.parametrize("wrong_s", [-3_600, 3_600])
def test_models_are_known_whatever_clock_a_worker_has(served, monkeypatch, wrong_s):
    served.announce([QUEUE], {"classify": ("small", "1")}, FOR_S)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now() + wrong_s)
        served.announce([QUEUE, "embed"], {"embed": ("encoder", "1")}, FOR_S)
    assert served.names("embed", ["embed"]) == ["encoder"]
    assert len(served._redis.zrange(f"fb:models:{QUEUE}", 0, -1)) == 2


def test_a_model_is_forgotten_once_its_workers_are_silent(served):
    served.announce([QUEUE], {"classify": ("small", "1")}, 0.05)
    time.sleep(0.1)
    assert served.queue_of("small", "classify", [QUEUE]) is None
