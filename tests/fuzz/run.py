"""The long run: `python tests/fuzz/run.py --inputs 100000 --seed 1`; 1 if anything broke."""

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
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

import redis as redis_py  # noqa: E402 - after the path is set
from tests.fuzz.entries import Broken, Entries  # noqa: E402

from local.fleet import Fleet  # noqa: E402

# Of a hundred inputs, so many by each entry: the cheap ones more often.
SHARES = {
    "parse": 46, "submit": 12, "ask": 10, "worked": 8, "record": 12, "content": 4, "files": 4,
    "cli": 4,
}  # fmt: skip


def fuzz(entries: Entries, count: int) -> Counter[str]:
    """Put in so many inputs. Returns how often which entry broke, and prints the first of each."""
    broken: Counter[str] = Counter()
    names, weights = list(SHARES), list(SHARES.values())
    for number in range(count):
        entry = entries.dice.choices(names, weights)[0]
        try:
            entries.put_in(entry)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            what = f"{entry}: {type(error).__name__}: {error if isinstance(error, Broken) else ''}"
            broken[what] += 1
            if broken[what] == 1:
                print(f"input {number}: {what}")
                traceback.print_exception(error, limit=-6)
    return broken


def main() -> int:
    """The figures, and what broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # `re` warns of patterns that it will read otherwise some day
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis(appendonly="no")
        os.environ["FOREBAY_REDIS_URL"] = fleet.url
        client = redis_py.Redis.from_url(fleet.url)
        entries = Entries(client, fleet.url, Path(folder), options.seed)
        broken = fuzz(entries, options.inputs)
        entries.close()
    for what, times in sorted(entries.ended.items()):
        print(f"{times:8}  {what}")
    took = time.monotonic() - began
    print(f"{options.inputs} inputs, seed {options.seed}, {took:.0f} s; {broken.total()} broken")
    for what, times in broken.most_common():
        print(f"{times:8}  {what}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
