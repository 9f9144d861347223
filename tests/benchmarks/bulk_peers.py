"""Measure a bulk beside Ray Data over the same rows and the same local engine.

Run `python tests/benchmarks/bulk_peers.py --ray-python PYTHON`, where PYTHON has `ray[data]` and
`openai` (any environment; they are no dependencies of Forebay). The engine is llama.cpp's own HTTP
server with the packaged model: Forebay's local worker speaks to it (`FOREBAY_ENGINE=openai`), and
so does Ray Data, with an async actor and as many requests at once. Both answer slices of the rows
in turns. It prints rows a second, their ratio, and how many lines of code a user writes for each.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from local.fleet import Fleet  # noqa: E402 - found by the line above

NEEDS = "import ray.data, openai"
SUBJECTS = ("rivers", "queues", "bread", "winter", "trains", "glass", "tides", "maps")

#: What a user writes. Lines with `# measured` are the benchmark's: they are neither counted nor
#: needed, and tell when the program has started and when its answers are on the disk.
FOREBAY = """
import sys
from forebay import Client
rows, out, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Client() as client:
    client.bulks(); print("started", flush=True)  # measured
    with client.bulk(rows, out=out, kind="generate", user="{text}", max_tokens=tokens) as bulk:
        bulk.wait()
print("written", flush=True)  # measured
"""
RAY = """
import asyncio, sys
import ray
from openai import AsyncOpenAI
rows, out, tokens, url, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
class Ask:
    def __init__(self):
        self.client = AsyncOpenAI(base_url=url, api_key="none")
    async def one(self, text):
        messages = [{"role": "user", "content": text}]
        reply = await self.client.chat.completions.create(
            model="default", messages=messages, max_tokens=tokens, temperature=0)
        return reply.choices[0].message.content
    async def __call__(self, batch):
        batch["answer"] = await asyncio.gather(*map(self.one, batch["text"]))
        yield batch
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
print("started", flush=True)  # measured
data = ray.data.read_json(rows, lines=True)
data.map_batches(Ask, batch_size=int(at_once), concurrency=1).write_json(out)
print("written", flush=True)  # measured
"""


def main() -> None:
    """Print a line for each slice, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ray-python", default=sys.executable)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=16, help="of an answer, at most")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--server", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.server:
        _serve(options.server, options.slots)
    found = subprocess.run([options.ray_python, "-c", NEEDS], capture_output=True, check=False)
    if found.returncode:
        print(f"skipped: {options.ray_python} has no ray[data] and openai")
        return
    seconds: dict[str, list[float]] = {"forebay": [], "ray": []}
    size = options.rows // options.slices
    with (
        tempfile.TemporaryDirectory() as name,
        _engine(options.slots) as url,
        _forebay(Path(name), url, options) as forebay,
    ):
        users = {
            "forebay": forebay,
            "ray": _Program(RAY, options.ray_python, [url, str(2 * options.slots)], {}),
        }
        for number in range(options.slices):
            rows = _rows(Path(name), number, size)
            for user in sorted(users, reverse=number % 2 == 1):
                seconds[user].append(users[user](rows, options.tokens, size))
                print(f"slice {number + 1}: {user:8} {size / seconds[user][-1]:8.2f} rows/s")
    rates = {user: size * options.slices / sum(each) for user, each in seconds.items()}
    print(f"{'':10} {'rows/s':>8} {'lines':>6}")
    for user, text in (("forebay", FOREBAY), ("ray", RAY)):
        print(f"{user:10} {rates[user]:8.2f} {_lines(text):6}")
    print(f"Forebay's rate is {rates['forebay'] / rates['ray']:.2f} x Ray Data's")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _lines(text: str) -> int:
    return sum(bool(line) and "# measured" not in line for line in text.split("\n"))


def _rows(folder: Path, slice_number: int, count: int) -> Path:
    path = folder / f"{slice_number}.jsonl"
    texts = (
        f"Question {slice_number}-{number}: what should one know about "
        f"{SUBJECTS[number % len(SUBJECTS)]}?"
        for number in range(count)
    )
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


class _Program:
    """Runs what a user wrote on a file of rows."""

    def __init__(self, text: str, python: str, args: list[str], env: dict[str, str]) -> None:
        self._text, self._python, self._args, self._env = text, python, args, env

    def __call__(self, rows: Path, tokens: int, count: int) -> float:
        """Return the seconds from the program's start to its last answer on the disk."""
        out = rows.with_name(f"{rows.stem}.{'ray' if self._args else 'out.jsonl'}")
        command = [self._python, "-c", self._text, str(rows), str(out), str(tokens), *self._args]
        env = {**os.environ, "RAY_DEDUP_LOGS": "0", **self._env}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=env, **pipes)
        began = _said(process, "started")
        took = _said(process, "written") - began
        process.communicate()
        files = sorted(out.iterdir()) if out.is_dir() else [out]
        answered = sum(len(file.read_text().splitlines()) for file in files)
        assert answered == count, f"{answered} of {count} rows"
        return took


def _said(process: subprocess.Popen[str], word: str) -> float:
    """Return when a program printed a word."""
    for line in process.stdout:
        if line.strip() == word:
            return time.perf_counter()
    raise SystemExit(process.communicate()[1])


@contextmanager
def _forebay(folder: Path, url: str, options: argparse.Namespace) -> Iterator[_Program]:
    """Start a fleet whose local worker speaks to the server."""
    env = {
        "FOREBAY_ENGINE": "openai", "FOREBAY_OPENAI_URL": url, "FOREBAY_SLOTS": str(options.slots),
    }  # fmt: skip
    with Fleet(folder / "fleet") as fleet:
        fleet.start_redis()
        for part in ("router", "local", "sweeper"):
            fleet.start(part, **env)
        fleet.wait_ready()
        yield _Program(FOREBAY, sys.executable, [], {"FOREBAY_REDIS_URL": fleet.url})


@contextmanager
def _engine(slots: int) -> Iterator[str]:
    """Start llama.cpp's HTTP server, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--server", str(port), "--slots", str(slots)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        while not _answers(url):
            assert process.poll() is None, "the server ended"
            time.sleep(0.5)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=10) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _serve(port: int, slots: int) -> None:
    """Serve the packaged model with the settings of a local worker, until this is killed."""
    import xllamacpp  # noqa: PLC0415 - 100 MB, and only the server's process needs it

    from forebay.workers.engines.llamacpp.gguf import gguf_file  # noqa: PLC0415
    from forebay.workers.engines.settings import EngineSettings  # noqa: PLC0415

    settings = EngineSettings(engine="llamacpp", slots=slots)
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf_file(settings.model_file))
    params.n_parallel = settings.slots
    params.n_ctx = settings.context_tokens * settings.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.hostnames, params.port, params.verbosity = ["127.0.0.1"], port, -1
    server = xllamacpp.Server(params)
    while server:
        time.sleep(3600)


if __name__ == "__main__":
    main()
