"""Kill a bulk 20 times at random moments: its client, a worker, the sweeper, Redis and the router.

Run `make chaos-bulk`, or `python tests/chaos/run_bulk.py --seed 7`. The same rows are answered
twice: undisturbed, and while one part after the other is killed with SIGKILL and started again.
Exit code 0 if both outputs have each row once, with the same answers and checks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]
for name in [name for name in os.environ if name.startswith(("FOREBAY_", "CELERY_"))]:
    del os.environ[name]  # settings of the caller's shell must not change the run

from local.fleet import Fleet  # noqa: E402 - after the path is set

LABELS = ("billing", "shipping", "login")
WORKERS = ("router", "local", "local", "sweeper")
ENGINE = {
    "FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "16", "FOREBAY_ECHO_DELAY_S": "0.03",
    "FOREBAY_LEASE_S": "2", "FOREBAY_SWEEP_S": "0.2",
}  # fmt: skip
VICTIMS = ("client", "local1", "sweeper1", "redis", "local2", "router1")
SHARES = (0.01, 0.9)  # of the rows that are written when a part is killed
PAUSE_S = (0.0, 0.5)  # after so many rows, so that a kill meets any moment of a shard
DOWN_S = (0.0, 2.0)  # before a part is started again
PATIENCE_S = 1_800.0


def main() -> int:
    """Run once, print each kill, and return 0 if the outputs are equal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name) / "fleet") as fleet:
        folder = Path(name)
        _write(folder, options.rows)
        fleet.start_redis(appendfsync="always")
        for part in WORKERS:
            fleet.start(part, **ENGINE)
        fleet.wait_ready()
        calm = Client(fleet, folder, "undisturbed.jsonl")
        calm.wait()
        torn = Client(fleet, folder, "torn.jsonl")
        killed = _torment(fleet, torn, random.Random(options.seed), options.kills, options.rows)
        torn.wait()
        same = _digest(calm.out, options.rows) == _digest(torn.out, options.rows)
    enough = killed == options.kills
    verdict = "equal" if same else "NOT EQUAL"
    print(f"{options.rows:,} rows, {killed} kills: the outputs are {verdict}; seed {options.seed}")
    if not enough:
        print(f"the bulk ended before kill {killed + 1}: give it more --rows")
    return 0 if same and enough else 1


class Client:
    """The process that feeds and collects one bulk; killed, it is started again to resume."""

    def __init__(self, fleet: Fleet, folder: Path, out: str) -> None:
        self.out = folder / out
        self._env = {**os.environ, "FOREBAY_REDIS_URL": fleet.url}
        self._command = [
            sys.executable, "-m", "forebay.producers.cli.main", "bulk", "run",
            str(folder / "rows.jsonl"), "--kind", "classify", "--text-field", "body", "--key", "id",
            "--labels", str(folder / "labels.txt"), "--out", str(self.out),
        ]  # fmt: skip
        self._process = self._start()

    @property
    def written(self) -> int:
        """The rows that are in the output."""
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def kill(self, down_s: float) -> None:
        """Kill the process, and start one that resumes the bulk."""
        self._process.kill()
        self._process.wait()
        time.sleep(down_s)
        self._process = self._start("--resume")

    def wait(self) -> None:
        """Wait for the end; exit if there is none, or if rows have no answer."""
        if code := self._process.wait(PATIENCE_S):
            raise SystemExit(f"the bulk that writes {self.out.name} ended with code {code}")

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [*self._command, *options]
        return subprocess.Popen(command, env=self._env, stderr=subprocess.DEVNULL)


def _torment(fleet: Fleet, client: Client, dice: random.Random, kills: int, rows: int) -> int:
    """Kill one part after the other at random moments; return how many were killed."""
    parts = {proc.name: proc for proc in fleet.procs}
    moments = sorted(dice.uniform(*SHARES) for _ in range(kills))
    for number, (moment, victim) in enumerate(zip(moments, cycle(VICTIMS), strict=False)):
        while client.written < moment * rows and not client.ended:
            time.sleep(0.05)
        time.sleep(dice.uniform(*PAUSE_S))
        if client.ended:
            return number
        down_s = dice.uniform(*DOWN_S)
        print(f"kill {number + 1:2}: {victim}, after {client.written:,} rows", flush=True)
        if victim == "client":
            client.kill(down_s)
            continue
        parts[victim].kill_group()
        time.sleep(down_s)
        parts[victim].restart()
    return kills


def _write(folder: Path, rows: int) -> None:
    (folder / "labels.txt").write_text("\n".join(LABELS))
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(rows):
            body = f"my {LABELS[number % len(LABELS)]} question {number}"
            file.write(json.dumps({"id": f"k{number}", "body": body}) + "\n")


def _digest(out: Path, rows: int) -> str:
    """Return a digest of what does not depend on when and where a row was answered."""
    digest, number = hashlib.sha256(), 0
    with out.open() as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line)
            if row["row"] != number:
                raise SystemExit(f"{out.name}: row {row['row']} stands in the place of {number}")
            told = [row[name] for name in ("key", "status", "answer", "checks", "lane")]
            digest.update(json.dumps(told).encode())
    if number != rows:
        raise SystemExit(f"{out.name}: {number:,} rows of {rows:,}")
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
