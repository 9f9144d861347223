"""`make check-deploy`: check each file that an operator copies with the tool of its format.

    python deploy/checks/run.py [--folder DEPLOY] [--only CHECK]

prints a line for each check, and what it found. The exit code is 1 if any found something.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this environment knows nothing of Forebay

from checks import compose, images, manifests, metrics, units
from checks.tools import Problem

Check = Callable[[Path], Iterator[Problem]]

#: The checks, by the name that `--only` takes.
CHECKS: dict[str, Check] = {
    "images": images.check,
    "compose": compose.check,
    "manifests": manifests.check,
    "units": units.check,
    "metrics": metrics.check,
}


def main() -> int:
    """Run the checks; return 1 if any found a problem."""
    parser = argparse.ArgumentParser(description="Check the files below deploy/.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--only", choices=CHECKS, help="run one check")
    options = parser.parse_args()
    failed = False
    for name in [options.only] if options.only else CHECKS:
        problems = list(CHECKS[name](options.folder.resolve()))
        failed = failed or bool(problems)
        print(f"{'FAIL' if problems else 'ok  '} {name}")
        for problem in problems:
            print(f"     {problem.file}: {problem.message}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
