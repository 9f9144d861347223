"""Start a worker without telemetry: no log lines of jobs, no events for Flower, no metrics.

`python tests/benchmarks/unseen.py PART ...` is `celery -A forebay.workers.PART worker ...`, for
`telemetry.py`, which compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from celery.__main__ import main

from forebay.workers.telemetry import observers

if __name__ == "__main__":
    part, *words = sys.argv[1:]
    observers.telemetry = lambda: observers.Telemetry((), None, 0)
    observers.observers = lambda: ()
    sys.argv = ["celery", "-A", f"forebay.workers.{part}", "worker", *words]
    main()
