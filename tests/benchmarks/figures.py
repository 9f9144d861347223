"""The figures of benchmarks in a JSON file: `--json FILE` adds to it.

`scorecard.py` reads them from there, and `plots.py` draws them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def add_figures(path: Path | None, name: str, figures: Any) -> None:
    """Replace the figures of a benchmark in the file; do nothing without a file."""
    if path is None:
        return
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, name: figures}, indent=1) + "\n")
