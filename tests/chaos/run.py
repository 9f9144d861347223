"""Run the chaos suite: real processes, thousands of jobs, a seeded schedule of faults, the books.

Exit code 0 if every book balances. Otherwise 1, and the logs, the diary and Redis' append-only file
are kept.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src"), str(HERE.parents[1] / "deploy")]
for name in [name for name in os.environ if name.startswith(("FOREBAY_", "CELERY_"))]:
    del os.environ[name]  # settings of the caller's shell must not change the run

from rich.console import Console  # noqa: E402 - after the path is set

from ordeal.course import undergo  # noqa: E402
from ordeal.options import asked  # noqa: E402
from ordeal.report import Report  # noqa: E402


def main() -> int:
    """Run once and print the figures; return 0 if every book balances."""
    faulthandler.register(signal.SIGUSR1)  # print the stacks if the run hangs
    options, console = asked(__doc__ or ""), Console(soft_wrap=True)
    console.print(f"seed {options.seed}")
    folder = Path(tempfile.mkdtemp(prefix="forebay-chaos-"))
    report = Report(options, undergo(options, folder, console.print))
    report.show(console)
    if report.well:
        shutil.rmtree(folder)
        console.print(f"all books balance; seed {options.seed}")
        return 0
    console.print(f"NOT WELL; seed {options.seed}; see {folder}")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
