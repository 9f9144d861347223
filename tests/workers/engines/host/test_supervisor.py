"""A supervised engine: what happens if its process crashes or hangs, or if its parent dies."""

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
from engine_process import engine_pid, takes_work
from forebay.routing.errors import EngineBusy, EngineDied, Misconfigured, Unavailable
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.host import protocol
from forebay.workers.engines.host.supervisor import SupervisedEngine, open_engine
from forebay.workers.engines.settings import EngineSettings
from patience import slowdown, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[4]


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


def answers(engine):
    name = f"w{time.monotonic()}"
    return engine.submit(prompt("hello you", name)).result(5).text == "hello you"


def ends(caplog):
    """Return how often the supervisor saw a process end by itself."""
    return sum(record.message.startswith("the engine ended") for record in caplog.records)


def test_the_engine_runs_in_a_process_of_its_own_and_ends_with_close(engine):
    assert answers(engine)
    pid = engine_pid()
    assert pid not in (None, os.getpid())
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 3 * slowdown(), "it had to be killed"
    assert gone(pid)
    assert isinstance(engine.submit(prompt("hello")).exception(5), EngineDied)


def test_how_full_the_cache_is_comes_with_each_beat(engine):
    slots = engine.info().slots
    until(lambda: (engine.pages().used, engine.pages().total) == (0, slots))
    held = [engine.submit(prompt("[[echo: delay=9]] one two", name)) for name in "ab"]
    until(lambda: engine.pages().used == len(held))
    for name in "ab":
        engine.cancel(name)
    until(lambda: engine.pages().used == 0)


@pytest.mark.parametrize("directive", ["crash", "fail", "hang"])
def test_after_a_death_the_jobs_fail_and_a_new_process_works(engine, directive, caplog):
    pid = engine_pid()
    bystander = engine.submit(prompt("[[echo: delay=9]] one two", "b"))
    culprit = engine.submit(prompt(f"[[echo: {directive}]]"))
    assert isinstance(culprit.exception(10), EngineDied)
    assert isinstance(bystander.exception(10), EngineDied)
    until(lambda: takes_work(engine))
    assert engine_pid() not in (None, pid)
    assert ends(caplog) == 1
    assert answers(engine)
    assert gone(pid)


def test_during_a_restart_work_is_refused_with_a_time_to_wait(engine):
    os.kill(engine_pid(), signal.SIGKILL)
    until(lambda: not takes_work(engine))
    error = engine.submit(prompt("hello")).exception(5)
    assert isinstance(error, EngineBusy)
    assert error.retry_after >= 1
    with pytest.raises(EngineBusy):
        engine.embed(["a"])
    engine.cancel("a")
    until(lambda: takes_work(engine))
    assert answers(engine)


def test_a_second_early_death_is_followed_by_a_pause(engine, caplog):
    first = engine_pid()
    os.kill(first, signal.SIGKILL)
    until(lambda: ends(caplog) == 1 and takes_work(engine))
    killed_at = time.monotonic()
    second = engine_pid()
    os.kill(second, signal.SIGKILL)
    until(lambda: ends(caplog) == 2 and takes_work(engine))
    assert time.monotonic() - killed_at >= 1
    assert engine_pid() not in (first, second)


def test_close_during_the_pause_does_not_wait_for_its_end(caplog):
    engine = open_engine(echo())
    for deaths in (1, 2):
        until(lambda: takes_work(engine))
        os.kill(engine_pid(), signal.SIGKILL)
        until(lambda wanted=deaths: ends(caplog) == wanted)
    time.sleep(0.1)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 0.8 * slowdown()


def test_a_slow_engine_that_makes_steps_is_not_killed(engine, caplog):
    words = " ".join(["word"] * 4)
    answer = engine.submit(prompt(f"[[echo: delay=0.5]] {words}")).result(10)
    assert answer.text == words
    assert ends(caplog) == 0


def test_an_idle_engine_is_not_killed(engine, caplog):
    time.sleep(1.6)
    assert ends(caplog) == 0
    assert answers(engine)


def test_a_crowd_larger_than_the_queue_is_held_back_and_each_request_ends_by_its_fate():
    """The crowd that the GPU engines get, for the echo engine: the fates must be the same."""
    engine = open_engine(echo(hang_s=30, slots=16, context_tokens=256, echo_delay_s=0.001))
    requests = crowd.ask(engine, 600, 256, patience_s=20)
    surprises = crowd.surprises(requests, 20)
    engine.close()
    assert {fate for fate, _ in requests} == {"plain", "cancel", "deadline", *crowd.REFUSED, "json"}
    assert not surprises


def test_output_printed_by_a_library_does_not_reach_the_protocol(engine, capfd, caplog):
    noisy = engine.submit(prompt("[[echo: noise]] still here"))
    assert noisy.result(5).text == "still here"
    assert ends(caplog) == 0
    assert "noise" not in capfd.readouterr().out


def test_embeddings_and_errors_cross_the_pipe_unchanged(engine):
    vectors = engine.embed(["a", "b", "a"]).vectors
    assert vectors[0] == vectors[2] != vectors[1]
    assert vectors == engine.embed(["a", "b", "a"]).vectors
    busy = protocol.Failed.of("k", EngineBusy("full", field="x", retry_after=2.5)).error()
    assert (type(busy), str(busy), busy.retry_after) == (EngineBusy, "x: full", 2.5)


def test_a_stopped_process_that_has_work_is_killed(engine):
    pid = engine_pid()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: stopped(pid))
    assert isinstance(engine.submit(prompt("hello")).exception(10), EngineDied)
    assert gone(pid)


def stopped(pid: int) -> bool:
    """Return whether each thread of a process has stopped: the last one may still work."""
    threads = [psutil.Process(thread.id) for thread in psutil.Process(pid).threads()]
    return all(thread.status() == psutil.STATUS_STOPPED for thread in threads)


def test_close_ends_a_stopped_process(monkeypatch):
    monkeypatch.setattr("forebay.workers.engines.host.process._CLOSE_S", 0.3)
    engine = open_engine(echo(hang_s=60))
    pid = engine_pid()
    os.kill(pid, signal.SIGSTOP)
    engine.close()
    assert gone(pid)


@pytest.mark.parametrize("last_prompt", ["[[echo: delay=60]] busy now", "[[echo: hang]]", "stop"])
def test_the_process_dies_with_its_parent(last_prompt):
    """By the end of its input; and by the kernel, if it is stopped and cannot see that."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, last_prompt],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", SUPPORT)))},
    )
    with parent:
        child = int(parent.stdout.readline())
        if last_prompt == "stop":
            os.kill(child, signal.SIGSTOP)
        assert not gone(child)
        parent.kill()
    until(lambda: gone(child))


SUPPORT = ROOT / "tests/support"
PARENT = textwrap.dedent("""
    import sys, time
    from engine_process import engine_pid
    from forebay.workers.engines.engine import Prompt, Turn
    from forebay.workers.engines.host.supervisor import open_engine
    from forebay.workers.engines.settings import EngineSettings

    engine = open_engine(EngineSettings(engine="echo", hang_s=600))
    turns = (Turn(role="user", content=sys.argv[1]),)
    engine.submit(Prompt(id="a", messages=turns, max_tokens=5))
    time.sleep(0.2)
    print(engine_pid(), flush=True)
    time.sleep(60)
""")


def test_a_missing_model_raises_the_engines_own_error(tmp_path):
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


def test_the_settings_reach_the_process(monkeypatch):
    monkeypatch.setenv("FOREBAY_SLOTS", "9")
    engine = SupervisedEngine(echo(slots=3, context_tokens=300))
    assert (engine.info().slots, engine.info().context_tokens) == (3, 300)
    engine.close()
