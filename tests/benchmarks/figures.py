"""The figures of benchmarks in a JSON file: `--json FILE` adds to it, and draws them beside it.

`--json tests/benchmarks/plots/figures.json` renews a plot of RESULTS.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def add_figures(path: Path | None, name: str, figures: Any) -> None:
    """Replace the figures of a benchmark in the file, and its plot; do nothing without a file."""
    if path is None:
        return
    from plots import draw  # noqa: PLC0415 - most runs draw nothing, and matplotlib takes a second

    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, name: figures}, indent=1) + "\n")
    draw(name, figures, path.parent)
