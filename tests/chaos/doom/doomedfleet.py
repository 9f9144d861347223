"""A fleet of doomed workers, with a real Redis and the mock of Bedrock."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from local.fleet import PYTHON, Fleet
from local.process import ROOT, Process

HERE = Path(__file__).resolve().parents[1]
WORDS = ("--loglevel", "INFO", "--without-mingle", "--without-gossip")


class DoomedFleet(Fleet):
    """A `Fleet` whose workers are forked by nurseries."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = ":".join(map(str, (HERE, ROOT / "src", ROOT / "deploy")))
        super().__init__(folder, {"CHAOS_FOLDER": str(folder), "PYTHONPATH": path, **env})

    def start_producer(self, share: int, seed: int, jobs: int, span_s: float) -> Process:
        """Start a producer; the times of its orders count from now."""
        command: list[str | Path] = [PYTHON, HERE / "ordeal" / "producer.py", "--share", str(share)]
        command += ["--seed", str(seed), "--jobs", str(jobs), "--span", str(span_s)]
        command += ["--began", f"{time.time():.3f}"]
        says = lambda proc: proc.logged("submitting") is not None  # noqa: E731 - as in `Fleet`
        return self._run("producer", command, {}, says, f"producer{share}")

    def of(self, role: str) -> list[Process]:
        """Return the nurseries of a role."""
        return list(self._parts[role])

    def _start_actor(self, part: str, env: Mapping[str, str]) -> Process:
        node = f"{part}{len(self._parts[part]) + 1}"
        command = [PYTHON, HERE / "doom" / "nursery.py", part, "--hostname", f"{node}@%h", *WORDS]
        base = self._bedrock_env() if part == "bedrock" else {}
        return self._run(
            part, command, {**base, **env}, lambda proc: bool(proc.logged(f"{node}@.* ready")), node
        )


def worker_of(nursery: Process) -> psutil.Process | None:
    """Return the living worker of a nursery, or None while it is being restarted."""
    try:
        return next(iter(psutil.Process(nursery.pid).children()), None)
    except psutil.NoSuchProcess:
        return None


def engine_of(nursery: Process) -> psutil.Process | None:
    """Return the engine of the local worker in a nursery."""
    worker = worker_of(nursery)
    try:
        return next(iter(worker.children()), None) if worker else None
    except psutil.NoSuchProcess:
        return None


def signalled(process: psutil.Process | None, sig: signal.Signals) -> bool:
    """Send a signal; return False if the process is gone."""
    try:
        if process is not None:
            process.send_signal(sig)
    except psutil.NoSuchProcess:
        return False
    return process is not None
