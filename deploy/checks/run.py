"""`make check-deploy`: check each file that an operator copies with the tool of its format.

    python deploy/checks/run.py [--folder DEPLOY]

prints a line for each tool, and what it found. The exit code is 1 if any tool found something.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this environment knows nothing of Forebay

from checks import compose, images, manifests, units
from checks.tools import Problem

Check = Callable[[Path], Iterator[Problem]]

#: The check of each format, by what is printed for it.
CHECKS: dict[str, Check] = {
    "Dockerfiles (hadolint)": images.check,
    "compose files (Compose Specification)": compose.check,
    "manifests (kustomize, Kubernetes, KEDA)": manifests.check,
    "systemd units (systemd-analyze)": units.check,
}


def main() -> int:
    """Run every check; return 1 if any found a problem."""
    parser = argparse.ArgumentParser(description="Check the files below deploy/.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1])
    deploy = parser.parse_args().folder.resolve()
    failed = False
    for name, check in CHECKS.items():
        problems = list(check(deploy))
        failed = failed or bool(problems)
        print(f"{'FAIL' if problems else 'ok  '} {name}")
        for problem in problems:
            print(f"     {problem.file}: {problem.message}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
