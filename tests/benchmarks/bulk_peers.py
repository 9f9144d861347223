"""Measure a bulk beside Ray Data and curator over the same rows and the same local engine.

Run `make peers`, then `python tests/benchmarks/bulk_peers.py`. The peers have environments of
their own, which `--ray-python` and `--curator-python` replace; one without it is left out. The
engine is llama.cpp's own HTTP server with the packaged model: Forebay's local worker speaks to it
(`FOREBAY_ENGINE=openai`), and so do the others, with as many requests at once: Ray Data by an async
actor, curator by its OpenAI backend, without an account. All answer slices of the rows in turns. It
prints rows a second, their ratios, and how many lines of code a user writes for each.

curator counts tokens by a table that it downloads; litellm, which it needs anyway, brings a copy.
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

from environments import python_of  # noqa: E402 - the program beside this one

from local.fleet import Fleet  # noqa: E402 - found by the line above

NEEDS = {"ray": "import ray.data, openai", "curator": "import bespokelabs.curator"}
NAMES = {"ray": "Ray Data", "curator": "curator"}

#: Prints the folder in which litellm has tables of tokens.
FIND_TABLES = (
    "from importlib.util import find_spec as f; print(*f('litellm').submodule_search_locations)"
)
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
CURATOR = """
import json, sys
from bespokelabs import curator
rows, out, tokens, url, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
class Ask(curator.LLM):
    def prompt(self, row):
        return row["text"]
    def parse(self, row, response):
        return {**row, "answer": response}
ask = Ask(
    model_name="default", backend="openai",
    generation_params={"max_tokens": tokens, "temperature": 0},
    backend_params={
        "base_url": url, "api_key": "none", "max_concurrent_requests": int(at_once),
        "max_requests_per_minute": 100_000, "max_tokens_per_minute": 10_000_000,
        "invalid_finish_reasons": ["content_filter"]})
print("started", flush=True)  # measured
answered = ask([json.loads(line) for line in open(rows)])
answered.dataset.to_json(out)
print("written", flush=True)  # measured
"""
TEXTS = {"forebay": FOREBAY, "ray": RAY, "curator": CURATOR}


def main() -> None:
    """Print a line for each slice, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ray-python", default=python_of("ray"))
    parser.add_argument("--curator-python", default=python_of("curator"))
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=16, help="of an answer, at most")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--server", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.server:
        _serve(options.server, options.slots)
    pythons = {"ray": options.ray_python, "curator": options.curator_python}
    peers = [peer for peer, python in pythons.items() if _has(python, peer)]
    if not peers:
        return
    seconds: dict[str, list[float]] = {user: [] for user in ("forebay", *peers)}
    size = options.rows // options.slices
    with (
        tempfile.TemporaryDirectory() as name,
        _engine(options.slots) as url,
        _forebay(Path(name), url, options) as forebay,
    ):
        users = {"forebay": forebay}
        for peer in peers:
            env = _env_of_curator(pythons[peer], Path(name)) if peer == "curator" else {}
            args = [url, str(2 * options.slots)]
            users[peer] = _Program(peer, pythons[peer], args, {"RAY_DEDUP_LOGS": "0", **env})
        for number in range(options.slices):
            rows = _rows(Path(name), number, size)
            for user in sorted(users, reverse=number % 2 == 0):
                seconds[user].append(users[user](rows, options.tokens, size))
                print(f"slice {number + 1}: {user:8} {size / seconds[user][-1]:8.2f} rows/s")
    rates = {user: size * options.slices / sum(each) for user, each in seconds.items()}
    print(f"{'':10} {'rows/s':>8} {'lines':>6}")
    for user, rate in rates.items():
        print(f"{user:10} {rate:8.2f} {_lines(TEXTS[user]):6}")
    for peer in peers:
        print(f"Forebay's rate is {rates['forebay'] / rates[peer]:.2f} x that of {NAMES[peer]}")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _has(python: str | None, peer: str) -> bool:
    if python is None:
        print(f"{NAMES[peer]} is left out: make peers")
        return False
    found = subprocess.run([python, "-c", NEEDS[peer]], capture_output=True, check=False)
    if found.returncode:
        print(f"left out: {python} cannot {NEEDS[peer]}")
    return not found.returncode


def _env_of_curator(python: str, folder: Path) -> dict[str, str]:
    """Return what keeps curator from the network, and what is cached apart from other runs."""
    litellm = subprocess.check_output([python, "-c", FIND_TABLES], text=True).strip()
    tables = Path(litellm, "litellm_core_utils", "tokenizers")
    return {
        "TIKTOKEN_CACHE_DIR": str(tables), "CURATOR_CACHE_DIR": str(folder / "curator"),
        "TELEMETRY_ENABLED": "0", "CURATOR_DISABLE_RICH_DISPLAY": "1", "HF_HUB_OFFLINE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }  # fmt: skip


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

    def __init__(self, user: str, python: str, args: list[str], env: dict[str, str]) -> None:
        self._user, self._python, self._args, self._env = user, python, args, env

    def __call__(self, rows: Path, tokens: int, count: int) -> float:
        """Return the seconds from the program's start to its last answer on the disk."""
        suffix = "ray" if self._user == "ray" else f"{self._user}.jsonl"  # Ray writes a folder
        out = rows.with_name(f"{rows.stem}.{suffix}")
        words = [TEXTS[self._user], str(rows), str(out), str(tokens), *self._args]
        command, env = [self._python, "-c", *words], {**os.environ, **self._env}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
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
    said = []
    for line in process.stdout:
        if line.strip() == word:
            return time.perf_counter()
        said.append(line)
    raise SystemExit("".join(said))


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
        yield _Program("forebay", sys.executable, [], {"FOREBAY_REDIS_URL": fleet.url})


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
