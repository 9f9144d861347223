"""Measure the speed of all parts in short, and compare each figure with its bar.

Run `make bench`, or `python tests/benchmarks/scorecard.py NAME...` for some benchmarks alone. Each
runs in a process of its own, one after the other, and prints its own tables; `bars.py` lists them
with their short forms. At the end stands one table: the benchmark, the figure, its bar, and whether
it was met. A bar that is missed is no error: on a busy machine many are. A benchmark that fails is
one: the others still run, and the program ends with exit status 1. Bars beside a peer that is not
installed (`make peers`) are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bars import BENCHMARKS, PEERS, Bar, Benchmark, shown

HERE = Path(__file__).resolve().parent
LIMIT_S = 600.0  # of a benchmark, on a machine that is busy
STOP_S = 60.0  # that it may take to stop what it started
FAILED = "FAILED"


class Line(NamedTuple):
    """A line of the table: the benchmark, what was measured, the figure, the bar, the result."""

    name: str
    what: str
    figure: str
    bar: str
    result: str


def main() -> None:
    """Run the benchmarks and print the table; exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = {each.name: each for each in BENCHMARKS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every)}")
    parser.add_argument("--json", type=Path, help="a file to add all figures to")
    options = parser.parse_args()
    if unknown := set(options.names) - set(every):
        parser.error(f"no benchmark: {', '.join(sorted(unknown))}")
    began, load = time.monotonic(), os.getloadavg()[0]
    chosen = [every[name] for name in options.names or every]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        for each in chosen:
            print(f"\n--- {each.name} {each.short}", flush=True)
            some = measured(each, options.json or Path(folder) / "figures.json")
            print(table(some), flush=True)
            lines += some
    took_s = time.monotonic() - began
    print(f"\n{took_s:.0f} s, {os.cpu_count()} cores, load {load:.1f} before\n")
    print(table(lines))
    sys.exit(int(any(line.result == FAILED for line in lines)))


def measured(benchmark: Benchmark, path: Path) -> list[Line]:
    """Run a benchmark; return a line for each bar, or one that says why it failed."""
    if why := _failed(benchmark, path):
        return [Line(benchmark.name, why, "", "", FAILED)]
    figures = json.loads(path.read_text())[benchmark.name]
    return [_compared(benchmark.name, bar, figures) for bar in benchmark.bars]


def _failed(benchmark: Benchmark, path: Path) -> str | None:
    """Run a benchmark, which adds its figures to the file; return why it failed, if it did."""
    command = [sys.executable, HERE / f"{benchmark.name}.py", *shlex.split(benchmark.short)]
    with subprocess.Popen([*command, "--json", path]) as process:
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it stops its fleet
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            return f"took more than {LIMIT_S:.0f} s"
    return f"ended with exit status {status}" if status else None


def _compared(name: str, bar: Bar, figures: Any) -> Line:
    try:
        figure = bar.find(figures)
    except KeyError as missing:
        (key,) = missing.args
        return Line(name, bar.what, "", str(bar), f"no {key}" if key in PEERS else FAILED)
    result = "met" if bar.met(figure) else "MISSED"
    return Line(name, bar.what, shown(figure, bar.unit), str(bar), result if bar.sign else "")


def table(lines: Iterable[Line]) -> str:
    """Return the lines as a table with a head."""
    rows = [Line("benchmark", "", "figure", "bar", ""), *lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [
                row.name.ljust(widths[0]),
                row.what.ljust(widths[1]),
                row.figure.rjust(widths[2]),
                row.bar.rjust(widths[3]),
                row.result,
            ]
        ).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    main()
