"""An engine in its own process: what its crash, its hang and its parent's death come to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import crowd
from forebay.routing.errors import EngineBusy, EngineDied, Misconfigured, Unavailable
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.host import protocol
from forebay.workers.engines.host.supervisor import SupervisedEngine, open_engine
from forebay.workers.engines.settings import EngineSettings
from patience import until

ROOT = Path(__file__).resolve().parents[5]


def echo(**changes):
    return EngineSettings(engine="echo", **{"hang_s": 1.0, "start_s": 30, **changes})


@pytest.fixture
def engine():
    engine = open_engine(echo())
    yield engine
    engine.close()


def prompt(text, name="a"):
    return Prompt(id=name, messages=(Turn(role="user", content=text),), max_tokens=50)


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def works(engine):
    return engine.submit(prompt("hello you", f"w{time.monotonic()}")).result(5).text == "hello you"


def test_it_runs_in_a_process_of_its_own_and_ends_with_close(engine):
    assert works(engine)
    pid = engine.pid
    assert pid != os.getpid()
    assert engine.alive
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 3, "it did not end by itself and had to be killed"
    assert gone(pid)
    assert not engine.alive
    assert engine.pid is None


@pytest.mark.parametrize("order", ["crash", "fail", "hang"])
def test_after_a_death_its_jobs_fail_and_a_new_process_works(engine, order):
    pid = engine.pid
    bystander = engine.submit(prompt("[[echo: delay=9]] one two", "b"))
    culprit = engine.submit(prompt(f"[[echo: {order}]]"))
    assert isinstance(culprit.exception(10), EngineDied)
    assert isinstance(bystander.exception(10), EngineDied)
    until(lambda: engine.alive and engine.pid != pid)
    assert engine.restarts == 1
    assert works(engine)
    assert gone(pid)


def test_while_it_is_started_again_work_is_refused_with_a_time_to_wait(engine):
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: not engine.alive)
    error = engine.submit(prompt("hello")).exception(5)
    assert isinstance(error, EngineBusy)
    assert error.retry_after >= 1
    with pytest.raises(EngineBusy):
        engine.embed(["a"])
    engine.cancel("a")
    until(lambda: engine.alive)
    assert works(engine)


def test_a_second_early_death_is_followed_by_a_pause(engine):
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: engine.restarts == 1 and engine.alive)
    killed_at = time.monotonic()
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: engine.restarts == 2 and engine.alive)
    assert time.monotonic() - killed_at >= 1


def test_closing_during_the_pause_does_not_wait_for_its_end():
    engine = open_engine(echo())
    for restarts in range(2):
        until(lambda wanted=restarts: engine.restarts == wanted and engine.alive)
        os.kill(engine.pid, signal.SIGKILL)
        until(lambda: not engine.alive)
    time.sleep(0.1)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 0.8


def test_a_slow_engine_that_makes_steps_is_not_taken_for_hung(engine):
    words = " ".join(["word"] * 4)
    answer = engine.submit(prompt(f"[[echo: delay=0.5]] {words}")).result(10)
    assert answer.text == words
    assert engine.restarts == 0


def test_an_idle_engine_is_not_taken_for_hung(engine):
    time.sleep(1.6)
    assert engine.restarts == 0
    assert works(engine)


def test_a_crowd_larger_than_the_line_is_held_back_and_each_ends_as_it_must():
    """What the GPU is asked, asked of the echo engine: here it must fail or pass the same way."""
    engine = open_engine(echo(hang_s=30, slots=16, context_tokens=256, echo_delay_s=0.001))
    asked = crowd.ask(engine, 600, 256, patience_s=20)
    odd = crowd.surprises(asked, 20)
    engine.close()
    assert {fate for fate, _ in asked} == {"plain", "cancel", "deadline", *crowd.REFUSED, "json"}
    assert not odd


def test_a_print_of_a_library_does_not_reach_the_protocol(engine, capfd):
    noisy = engine.submit(prompt("[[echo: noise]] still here"))
    assert noisy.result(5).text == "still here"
    assert engine.restarts == 0
    assert "noise" not in capfd.readouterr().out


def test_embeddings_and_errors_travel_as_they_are(engine):
    vectors = engine.embed(["a", "b", "a"]).vectors
    assert vectors[0] == vectors[2] != vectors[1]
    assert vectors == engine.embed(["a", "b", "a"]).vectors
    busy = protocol.Failed.of("k", EngineBusy("full", field="x", retry_after=2.5)).error()
    assert (type(busy), str(busy), busy.retry_after) == (EngineBusy, "x: full", 2.5)


def test_a_stopped_process_is_killed_when_it_has_work(engine):
    pid = engine.pid
    os.kill(pid, signal.SIGSTOP)
    assert isinstance(engine.submit(prompt("hello")).exception(10), EngineDied)
    assert gone(pid)


def test_closing_a_stopped_process_ends_it(monkeypatch):
    monkeypatch.setattr("forebay.workers.engines.host.process._CLOSE_S", 0.3)
    engine = open_engine(echo(hang_s=60))
    pid = engine.pid
    os.kill(pid, signal.SIGSTOP)
    engine.close()
    assert gone(pid)


@pytest.mark.parametrize("last_order", ["[[echo: delay=60]] busy now", "[[echo: hang]]", "stop"])
def test_it_dies_with_its_parent(last_order):
    """By the end of its input; and, when it is stopped and cannot see that, by the kernel."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, last_order],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    with parent:
        child = int(parent.stdout.readline())
        if last_order == "stop":
            os.kill(child, signal.SIGSTOP)
        assert not gone(child)
        parent.kill()
    until(lambda: gone(child))


PARENT = textwrap.dedent("""
    import sys, time
    from forebay.workers.engines.engine import Prompt, Turn
    from forebay.workers.engines.host.supervisor import open_engine
    from forebay.workers.engines.settings import EngineSettings

    engine = open_engine(EngineSettings(engine="echo", hang_s=600))
    turns = (Turn(role="user", content=sys.argv[1]),)
    engine.submit(Prompt(id="a", messages=turns, max_tokens=5))
    time.sleep(0.2)
    print(engine.pid, flush=True)
    time.sleep(60)
""")


def test_a_missing_model_is_the_engines_own_error(tmp_path):
    before = psutil.Process().children()
    settings = EngineSettings(engine="llamacpp", model_file=tmp_path / "none.gguf")
    with pytest.raises(Misconfigured) as caught:
        open_engine(settings)
    assert caught.value.field == "FOREBAY_MODEL_FILE"
    assert psutil.Process().children() == before


def test_a_file_that_only_looks_like_a_model_is_refused(tmp_path):
    file = tmp_path / "fake.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(Misconfigured) as caught:
        open_engine(EngineSettings(engine="llamacpp", model_file=file))
    assert caught.value.field == "FOREBAY_MODEL_FILE"


def test_an_engine_that_is_not_ready_in_time_is_given_up():
    before = psutil.Process().children()
    with pytest.raises(Unavailable, match=r"not ready after 0\.01 s"):
        open_engine(echo(start_s=0.01))
    assert psutil.Process().children() == before


def test_settings_reach_the_process(monkeypatch):
    monkeypatch.setenv("FOREBAY_SLOTS", "9")
    engine = SupervisedEngine(echo(slots=3, context_tokens=300))
    assert (engine.info().slots, engine.info().context_tokens) == (3, 300)
    engine.close()
