"""The long fuzz run: `python tests/fuzz/run.py --inputs 100000 --seed 1`.

The exit code is 1 if an entry point broke a rule.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "deploy")]

import redis as redis_py  # noqa: E402 - after the path is set
from tests.fuzz.entries import Broken, Entries  # noqa: E402

from local.fleet import Fleet  # noqa: E402

# Of a hundred inputs, how many each entry point gets. The cheap ones get more.
SHARES = {
    "parse": 46, "submit": 12, "ask": 10, "worked": 8, "record": 12, "content": 4, "files": 4,
    "cli": 4, "formed": 1, "answered": 4,
}  # fmt: skip


def fuzz(entries: Entries, count: int, shares: dict[str, int]) -> Counter[str]:
    """Put in this many inputs; print the first failure of each kind, and return their counts."""
    broken: Counter[str] = Counter()
    names, weights = list(shares), list(shares.values())
    for number in range(count):
        entry = entries.dice.choices(names, weights)[0]
        try:
            entries.put_in(entry)
        except Exception as error:  # noqa: BLE001 - any error is a finding
            failure = (
                f"{entry}: {type(error).__name__}: {error if isinstance(error, Broken) else ''}"
            )
            broken[failure] += 1
            if broken[failure] == 1:
                print(f"input {number}: {failure}")
                traceback.print_exception(error, limit=-6)
    return broken


def main() -> int:
    """Run, and print how often each entry point ended with each code, and what broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=SHARES, help="put all inputs into this entry point")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # `re` warns of patterns whose meaning will change
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis(appendonly="no")
        os.environ["FOREBAY_REDIS_URL"] = fleet.url
        client = redis_py.Redis.from_url(fleet.url)
        entries = Entries(client, fleet.url, Path(folder), options.seed)
        broken = fuzz(entries, options.inputs, {options.only: 1} if options.only else SHARES)
        entries.close()
    for result, times in sorted(entries.results.items()):
        print(f"{times:8}  {result}")
    took_s = time.monotonic() - started
    print(f"{options.inputs} inputs, seed {options.seed}, {took_s:.0f} s; {broken.total()} broken")
    for failure, times in broken.most_common():
        print(f"{times:8}  {failure}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
