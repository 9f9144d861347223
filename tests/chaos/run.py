"""The chaos suite: real processes, thousands of jobs, a seeded schedule of disasters, the books.

Exit code 0 when every book balances, and 1 when one does not. Then the logs, the diary and Redis'
append-only file are kept.
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
    del os.environ[name]  # nothing depends on what the caller's shell has set

from rich.console import Console  # noqa: E402 - after the path is set

from options import asked  # noqa: E402
from ordeal import undergo  # noqa: E402
from report import Report  # noqa: E402


def main() -> int:
    """Run, print the figures; 0 if all is well."""
    faulthandler.register(signal.SIGUSR1)  # says where it is, should it hang
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
