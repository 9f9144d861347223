"""Tests on a GPU with a real model, for what no script and no CPU shows (`make test-gpu`)."""

import os
import shutil
import signal
import subprocess
import time
import uuid

import pytest

import crowd
from engine_process import engine_pid, takes_work
from forebay.routing.errors import EngineBusy, EngineDied
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.exllama.model_folder import model_folder
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram import planner
from forebay.workers.engines.vram.footprint import CHUNK
from forebay.workers.engines.weights.model_shape import read_shape
from patience import until

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

SLOTS, CONTEXT, CARD_MIB = 16, 1024, 16_380
MIB = 1 << 20
#: The greedy text of llama.cpp with the same weights.
KNOWN = [
    ("What is a river?", "A river is a vital component of the Earth's ecosystem"),
]


def card(field):
    tool = shutil.which("nvidia-smi")
    argv = [tool, "--id=0", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def settings(**changes):
    fields = {"slots": SLOTS, "context_tokens": CONTEXT, "vram_mib": CARD_MIB, "start_s": 120}
    return EngineSettings(engine="exl2", **{**fields, **changes})


@pytest.fixture(scope="module")
def engine():
    before = int(card("memory.used"))
    engine = open_engine(settings())
    engine.before = before
    yield engine
    engine.close()


def prompt(text, **changes):
    fields = {"id": uuid.uuid4().hex, "max_tokens": 32, **changes}
    return Prompt(messages=(Turn(role="user", content=text),), **fields)


@pytest.mark.parametrize(("question", "answer"), KNOWN)
def test_the_text_begins_like_that_of_llamacpp(engine, question, answer):
    """A wrong rotation, mask or tokenizer shows at once; quantized weights may differ later."""
    text = engine.submit(prompt(question)).result(60).text.strip()
    words = min(4, len(answer.split()))
    assert text.split()[:words] == answer.split()[:words]


def test_memory_is_as_planned(engine):
    """Most of a small model is the CUDA context, which varies by more than 5 %: hence 300 MiB."""
    plan = planner.plan(
        read_shape(model_folder(settings())), CARD_MIB * MIB, context=CONTEXT, batch=SLOTS,
        chunk=CHUNK,
    )  # fmt: skip
    engine.submit(prompt("hello")).result(60)
    measured = int(card("memory.used")) - engine.before
    planned = plan.total_bytes / MIB
    assert measured == pytest.approx(planned, rel=0.05, abs=300)


def test_a_batch_gives_mostly_the_same_answers_as_single_requests(engine):
    """Not all of them: kernels differ with the size of the batch."""
    questions = [f"Count from {n} to {n + 3}." for n in range(SLOTS)]
    alone = [engine.submit(prompt(one, max_tokens=12)).result(60).text for one in questions]
    futures = [engine.submit(prompt(one, max_tokens=12)) for one in questions]
    together = [future.result(60).text for future in futures]
    same = sum(one == other for one, other in zip(alone, together, strict=True))
    assert same >= SLOTS * 3 // 4


def test_a_thousand_jobs_with_cancels_deadlines_and_faults_each_end_once(engine):
    """And leave no memory behind: after a first crowd, a larger one takes no more."""
    assert not crowd.surprises(crowd.ask(engine, 200, CONTEXT))
    used, pid = int(card("memory.used")), engine_pid()
    assert not crowd.surprises(crowd.ask(engine, 1_000, CONTEXT))
    assert engine_pid() == pid
    assert int(card("memory.used")) - used < 64


def test_engines_that_are_killed_lose_no_job_silently(engine):
    """Each future ends: with an answer, or with an error that sends its job back to the queue."""
    pids = [engine_pid()]
    for _ in range(2):
        futures = [engine.submit(prompt("Tell me of the sea.", max_tokens=400)) for _ in range(40)]
        time.sleep(1)
        os.kill(pids[-1], signal.SIGKILL)
        errors = [future.exception(60) for future in futures]
        assert any(isinstance(error, EngineDied) for error in errors)
        assert all(error is None or isinstance(error, EngineDied | EngineBusy) for error in errors)
        until(lambda: takes_work(engine, 60), 120)
        pids.append(engine_pid())
    assert len(set(pids)) == 3
    assert engine.submit(prompt("hello")).result(60).text
