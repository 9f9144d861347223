"""Measure what the common functions before each script cost Redis.

Run `python tests/benchmarks/script_costs.py`. Redis makes all functions of a script anew in each
run of it. Side by side, in turns: the whole prelude, and what a script uses of it (`scripts.py`),
each with a body that does nothing. The processor time of Redis for one run, the least of some
rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import psutil
import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.routing.store import scripts  # noqa: E402 - found by the line above
from local.fleet import Fleet  # noqa: E402

NAMES = ("create", "claim", "settle", "renew", "lease")
HEAD, NOTHING = "#!lua flags=allow-oom", "return 1"


def main() -> None:
    """Print a row for each script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5_000, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        (server,) = (psutil.Process(proc.pid) for proc in fleet.procs)
        with redis.Redis.from_url(fleet.url) as client:
            whole = _load(client, [text for _, text in scripts._prelude()])
            print(f"{'':10}{'whole':>10}{'used':>10}   ratio")
            for name in NAMES:
                used = _load(client, _used_by(name))
                costs = [
                    [_cost_us(client, server, sha, options.runs) for sha in (whole, used)]
                    for _ in range(options.rounds)
                ]
                before, after = (min(column) for column in zip(*costs, strict=True))
                print(f"{name:10}{before:>7.1f} us{after:>7.1f} us{after / before:>8.2f}")


def _used_by(name: str) -> list[str]:
    (path,) = ROOT.glob(f"routing/*/lua/{name}.lua")
    return scripts._needed(path.read_text().partition("\n")[2])


def _load(client: redis.Redis, definitions: list[str]) -> str:
    sha: str = client.script_load("\n".join([HEAD, *definitions, NOTHING]))
    return sha


def _cost_us(client: redis.Redis, server: psutil.Process, sha: str, runs: int) -> float:
    with client.pipeline(transaction=False) as pipe:
        for _ in range(runs):
            pipe.evalsha(sha, 0)
        begun = server.cpu_times().user
        pipe.execute()
    return (server.cpu_times().user - begun) / runs * 1e6


if __name__ == "__main__":
    main()
