"""Work on other people's content is stopped past its budget, and takes nothing else along."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.support.stopwatch import within

from forebay.routing.errors import BadAnswer, Lost
from forebay.routing.jobs import Extract, Job
from forebay.workers.isolation import frames, pool, process
from forebay.workers.isolation.limits import CPU_S, MAX_DELAYED, OverBudget
from forebay.workers.prompts import parsing
from patience import until

pytestmark = pytest.mark.slow

HANGS = re.fullmatch, "(a+)+$", "a" * 60 + "b"


def test_a_call_returns_what_the_function_returns():
    assert pool.call(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]


def test_a_warm_process_is_used_again():
    assert pool.call(os.getpid) == pool.call(os.getpid) != os.getpid()


def test_an_error_of_the_product_is_raised_here():
    job = Job(request=Extract(text="t", schema={"type": "object"}))
    with pytest.raises(BadAnswer, match="not JSON"):
        pool.call(parsing.parse_answer, job, "no JSON")


def test_another_error_is_named_without_its_message():
    with pytest.raises(RuntimeError) as caught:
        pool.call(int, "a secret")
    assert "ValueError" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_call_that_computes_too_long_is_stopped():
    with within(2 * CPU_S + 2, AssertionError), pytest.raises(OverBudget, match="too long"):
        pool.call(*HANGS)


def test_a_call_that_waits_too_long_is_stopped():
    with pytest.raises(OverBudget, match="too long"):
        pool.call_within(0.3, time.sleep, 60)


def test_a_call_may_take_longer_while_others_have_the_processors(monkeypatch):
    monkeypatch.setattr(process, "_delayed_s", lambda _: time.monotonic())
    assert pool.call_within(0.5, time.sleep, 0.8) is None
    began = time.monotonic()
    with pytest.raises(OverBudget, match="too long"):
        pool.call_within(0.2, time.sleep, 60)
    assert time.monotonic() - began >= (1 + MAX_DELAYED) * 0.2


def test_the_kernel_says_how_long_a_process_waited_for_a_processor():
    def spin():
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            os.getpid()

    crowd = [os.fork() for _ in range(2 * (os.cpu_count() or 1))]
    if 0 in crowd:
        spin()
        os._exit(0)
    before = process._delayed_s(os.getpid())
    spin()
    for pid in crowd:
        os.waitpid(pid, 0)
    assert 0 < process._delayed_s(os.getpid()) - before < 60
    assert process._delayed_s(crowd[0]) == 0


def test_a_call_that_needs_too_much_memory_is_stopped():
    with pytest.raises(OverBudget, match="memory"):
        pool.call(bytearray, 4 << 30)


def test_a_call_whose_process_dies_is_stopped():
    with pytest.raises(OverBudget):
        pool.call(os._exit, 1)
    assert pool.call(abs, -1) == 1


def test_a_process_that_died_while_it_was_idle_is_replaced():
    victim = pool.call(os.getpid)
    os.kill(victim, signal.SIGKILL)
    time.sleep(0.1)
    assert pool.call(os.getpid) != victim


def test_a_slow_call_does_not_hold_the_others():
    slow = [threading.Thread(target=stopped, args=(f"slow{n}",)) for n in range(3)]
    for thread in slow:
        thread.start()
    assert pool.call(abs, -1) == 1
    assert all(thread.is_alive() for thread in slow)
    for n in range(3):
        until(lambda key=f"slow{n}": key in pool._pool._scopes)
        pool.cancel(f"slow{n}")
    for thread in slow:
        thread.join(10)


def stopped(key, ends=None):
    """Make a call that hangs, within a scope."""
    with pool.cancellable(key):
        try:
            pool.call_within(30, time.sleep, 60)
        except (Lost, OverBudget) as error:
            if ends is not None:
                ends.append(type(error))


def test_a_cancelled_job_frees_its_thread_at_once():
    ends = []
    thread = threading.Thread(target=stopped, args=("job", ends))
    thread.start()
    until(lambda: "job" in pool._pool._scopes)
    pool.cancel("job")
    thread.join(10)
    assert ends == [Lost]


def test_a_job_that_is_cancelled_begins_no_call():
    with pool.cancellable("gone"):
        pool.cancel("gone")
        with pytest.raises(Lost):
            pool.call(abs, -1)


class Interrupted(BaseException):
    """Raised within a call, as a signal does."""


def test_a_call_that_is_interrupted_leaves_no_reply_to_the_next_call(monkeypatch):
    """Else a job would get what was computed of another job's content."""
    pool.call(abs, -1)  # the process is warm

    def interrupt(*_):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(frames, "read", interrupt)
        with pytest.raises(Interrupted):
            pool.call(abs, -1)
    assert pool.call(abs, -2) == 2


def test_a_process_whose_start_is_interrupted_is_ended(monkeypatch):
    started = []

    def interrupt(*_):
        raise Interrupted

    class Watched(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(process.subprocess, "Popen", Watched)
    monkeypatch.setattr(frames, "read", interrupt)
    with pytest.raises(Interrupted):
        process.IsolatedProcess("forebay.routing.jobs")
    assert [one.poll() is None for one in started] == [False]


def test_a_process_does_not_know_the_secrets_of_its_worker(monkeypatch):
    monkeypatch.setenv("FOREBAY_ENCRYPTION_KEY", "hidden")
    killed = pool.call(os.getpid)
    os.kill(killed, signal.SIGKILL)
    time.sleep(0.1)
    assert pool.call(os.getenv, "FOREBAY_ENCRYPTION_KEY") is None
    assert pool.call(os.getenv, "PATH") == os.environ["PATH"]


def test_content_is_not_in_the_arguments_of_a_process():
    arguments = Path(f"/proc/{pool.call(os.getpid)}/cmdline").read_bytes()
    assert arguments.split(b"\0")[1:4] == [b"-P", b"-m", b"forebay.workers.isolation.child"]
    assert len(arguments.split(b"\0")) == 6


def test_a_process_ends_with_its_worker():
    program = (
        "import os, time\n"
        "from forebay.workers.isolation import pool\n"
        "print(pool.call(os.getpid), flush=True)\n"
        "time.sleep(60)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with worker:
        pid = int(worker.stdout.readline())
        worker.kill()
    until(lambda: ended(pid), 15)


def ended(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
