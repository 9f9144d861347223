"""Measure a bulk on llama.cpp beside the bare engine that is fed with a full batch.

Run `python tests/benchmarks/bulk_llama.py --rows 10000`. Both have the packaged model with the same
settings, each in a process of its own, and both answer the same rows: in turns, a slice of them,
so that what else the machine does falls on both. The bare engine always has a full batch, and more
prompts that wait, up to what its queue takes. It prints tokens a second and CPU time a token of
both, with their ratios over all slices.

10,000 rows of 32 tokens take hours. `--short` has prompts of a few words, whose answer is a token
or two: `python tests/benchmarks/bulk_llama.py --rows 10000 --slices 10 --short` ends within 20
minutes on two quiet cores, and within 40 on busy ones. It proves that a bulk keeps the batch full
over 10,000 rows, and is stricter than long answers: what Forebay adds is once for each row, and
there is least of the engine's own work to hide it behind.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.jobs import Generate, Job, Message  # noqa: E402
from forebay.routing.settings import Settings, read  # noqa: E402
from forebay.workers.engines.engine import Completion, Engine, Prompt  # noqa: E402
from forebay.workers.engines.host.child import make_engine  # noqa: E402
from forebay.workers.engines.settings import EngineSettings  # noqa: E402
from forebay.workers.prompts import prompts  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

IN_ENGINE = 200  # prompts in the bare engine at once; it refuses more than 256 that wait
BAR = 0.97  # of the bare engine's tokens a second
LONG = "Question {at}: what should one know about {subject}? Answer in a few sentences."
SHORT = "{at}: {subject}?"
SUBJECTS = ("rivers", "queues", "bread", "winter", "trains", "glass", "tides", "maps")


class Slice(NamedTuple):
    """What a slice of the rows took.

    Attributes:
        tokens: tokens that were generated.
        seconds: from the first row that was handed over to the last answer.
        cpu_s: processor time of all processes that took part.
    """

    tokens: int
    seconds: float
    cpu_s: float


def main() -> None:
    """Print a line for each slice, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--tokens", type=int, help="of an answer, at most: 32, or 2 if --short")
    parser.add_argument("--short", action="store_true", help="prompts of a few words")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.tokens = options.tokens or (2 if options.short else 32)
    question = SHORT if options.short else LONG
    if options.bare:
        _serve_bare(options.tokens)
        return
    env = {"FOREBAY_ENGINE": "llamacpp", "FOREBAY_SLOTS": str(options.slots)}
    pairs = []
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        fleet.start_redis()
        parts = [fleet.start(part, **env) for part in ("router", "local", "sweeper")]
        fleet.wait_ready()
        with _bare(options.tokens, env) as bare, _client(fleet) as client:
            bulk = _Bulk(client, Path(name), options.tokens, [part.pid for part in parts])
            for texts in (_texts(question, -1, 2 * options.slots),):  # both are warm after this
                bare(texts), bulk(texts)
            print(f"{'slice':>5} {'bare tok/s':>11} {'bulk tok/s':>11} {'ratio':>6} {'CPU':>6}")
            for number in range(options.slices):
                texts = _texts(question, number, options.rows // options.slices)
                first, then = (bare, bulk) if number % 2 else (bulk, bare)
                found = {id(each): each(texts) for each in (first, then)}
                pairs.append((found[id(bare)], found[id(bulk)]))
                _print(str(number + 1), *pairs[-1])
    total = [
        Slice(*(sum(values) for values in zip(*side, strict=True)))
        for side in zip(*pairs, strict=True)
    ]
    ratio = _print("all", *total)
    each = [_rate(bulk) / _rate(bare) for bare, bulk in pairs]
    print(f"median of the slices {statistics.median(each):.3f}; the bar is {BAR}")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("met" if ratio >= BAR else "not met")


def _texts(question: str, slice_number: int, count: int) -> list[str]:
    """Return different texts: the engine has read none of them before."""
    return [
        question.format(at=f"{slice_number}-{number}", subject=SUBJECTS[number % len(SUBJECTS)])
        for number in range(count)
    ]


def _rate(each: Slice) -> float:
    return each.tokens / each.seconds


def _print(name: str, bare: Slice, bulk: Slice) -> float:
    """Print a line, and return the ratio of tokens a second."""
    ratio = _rate(bulk) / _rate(bare)
    cpu = (bulk.cpu_s / bulk.tokens) / (bare.cpu_s / bare.tokens)
    print(f"{name:>5} {_rate(bare):11.1f} {_rate(bulk):11.1f} {ratio:6.3f} {cpu:6.3f}", flush=True)
    return ratio


class _Bulk:
    """Answers slices as bulks, from a file to a file."""

    def __init__(self, client: Client, folder: Path, tokens: int, pids: list[int]) -> None:
        self._client, self._folder, self._tokens = client, folder, tokens
        roots = [psutil.Process(pid) for pid in pids]
        self._parts = [*roots, *(each for root in roots for each in root.children(recursive=True))]
        self._count = 0

    def __call__(self, texts: list[str]) -> Slice:
        self._count += 1
        rows, out = (self._folder / f"{self._count}{end}.jsonl" for end in ("", ".out"))
        rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        before, began = self._cpu_s(), time.perf_counter()
        how = {"kind": "generate", "user": "{text}", "max_tokens": self._tokens}
        with self._client.bulk(rows, out=out, **how) as bulk:
            bulk.wait()
        seconds, cpu_s = time.perf_counter() - began, self._cpu_s() - before
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["status"] for row in found] == ["done"] * len(texts)
        return Slice(sum(row["tokens_out"] for row in found), seconds, cpu_s)

    def _cpu_s(self) -> float:
        own, times = time.process_time(), [part.cpu_times() for part in self._parts]
        return own + sum(each.user + each.system for each in times)


@contextmanager
def _client(fleet: Fleet) -> Iterator[Client]:
    with Client(settings=Settings(redis_url=fleet.url), patience=60) as client:
        yield client


class _Bare:
    """Has the bare engine in its process answer slices."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, texts: list[str]) -> Slice:
        print(json.dumps(texts), file=self._process.stdin, flush=True)
        return Slice(*json.loads(self._process.stdout.readline()))


@contextmanager
def _bare(tokens: int, env: dict[str, str]) -> Iterator[_Bare]:
    command = [sys.executable, __file__, "--bare", "--tokens", str(tokens)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**os.environ, **env}, **pipes)
    try:
        yield _Bare(process)
    finally:
        process.kill()
        process.wait()


def _serve_bare(tokens: int) -> None:
    """Answer the slices on stdin, each as a full batch, and print what each took."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library prints to stdout
    engine = make_engine(read(EngineSettings))
    info = engine.info()
    for line in sys.stdin:
        jobs = [_job(text, tokens) for text in json.loads(line)]
        batch = [prompts.local(job, info, prompt_id=job.id) for job in jobs]
        print(json.dumps(_answered(engine, batch)), file=out, flush=True)


def _answered(engine: Engine, batch: list[Prompt]) -> Slice:
    ends: SimpleQueue[Completion] = SimpleQueue()
    before, began = time.process_time(), time.perf_counter()
    waiting = iter(batch)
    engine.submit_all(list(islice(waiting, IN_ENGINE)), lambda _, end: ends.put(end))
    tokens = 0
    for _ in batch:
        tokens += ends.get().tokens_out
        engine.submit_all(list(islice(waiting, 1)), lambda _, end: ends.put(end))
    return Slice(tokens, time.perf_counter() - began, time.process_time() - before)


def _job(text: str, tokens: int) -> Job:
    return Job(request=Generate(messages=[Message(role="user", content=text)], max_tokens=tokens))


if __name__ == "__main__":
    main()
