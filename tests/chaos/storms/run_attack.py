"""Let one storm attack for some seconds, in a process of its own."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src"), str(HERE.parents[1] / "deploy")]

from books.diary import Diary  # noqa: E402 - found by the path set above
from forebay.routing.settings import Settings  # noqa: E402 - likewise
from storms.all_storms import STORMS  # noqa: E402 - likewise
from storms.storm import Context  # noqa: E402 - likewise


def main() -> None:
    """Attack until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storm", choices=sorted(STORMS))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--mock")
    given = parser.parse_args()
    dice = random.Random(f"{given.storm} {given.seed}")
    told = Diary(Path(os.environ["CHAOS_FOLDER"]) / "told")
    print("attacking", flush=True)
    until = time.time() + given.seconds
    STORMS[given.storm].attack(Context(Settings(), given.mock, told, dice, until))


if __name__ == "__main__":
    main()
