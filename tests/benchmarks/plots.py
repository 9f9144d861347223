"""Draw the figures of benchmarks: beside `--json FILE`, and again by `plots.py FILE FOLDER`.

One SVG for each benchmark in the file. Lines and letters are of middle tones on no background, so
that they can be read on a light and on a dark page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

GREY = "#858585"
COLOURS = ("#3b8fd4", "#d9822b", "#3fa66b", "#b565c9", "#d1495b", "#8a9a2b")
STYLE = {
    "svg.fonttype": "none",  # text stays text, in the reader's own font
    "svg.hashsalt": "forebay",
    "font.size": 10,
    "figure.figsize": (6.4, 3.6),
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY
    ),
}


def main() -> None:
    """Draw each benchmark of the file."""
    source, folder = map(Path, sys.argv[1:3])
    folder.mkdir(exist_ok=True)
    for name, figures in json.loads(source.read_text()).items():
        draw(name, figures, folder)


def draw(name: str, figures: Any, folder: Path) -> None:
    """Write the image of a benchmark into a folder."""
    mpl.rcParams.update(STYLE)
    figure, axes = plt.subplots()
    DRAWN[name](axes, figures)
    axes.grid(alpha=0.25, color=GREY, axis="x" if name == "overhead" else "both")
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", transparent=True, metadata={"Date": None})
    plt.close(figure)


def _depth(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Draw what a job costs Redis by the number of jobs that are queued."""
    queued = [row["queued"] for row in rows]
    for step in ("submit", "claim", "settle"):
        axes.plot(queued, [row[step] for row in rows], "o-", label=f"{step}, µs of Redis")
    axes.set(xscale="log", xlabel="jobs queued", ylabel="µs of Redis' CPU a job", ylim=(0, None))
    memory = axes.twinx()
    memory.plot(queued, [row["bytes"] for row in rows], "s:", color=COLOURS[3])
    memory.set(ylabel="bytes a job (dotted)", ylim=(0, None))
    axes.legend(loc="lower left", ncols=3, fontsize=8)


def _overhead(axes: Any, rows: dict[str, dict[str, float]]) -> None:
    """Draw the CPU of a job for each queue: its workers' and Redis'."""
    names = sorted(rows, key=lambda name: rows[name]["cpu_ms"])
    workers = [rows[name]["cpu_ms"] for name in names]
    redis = [rows[name]["redis_us"] / 1000 for name in names]
    axes.barh(names, workers, label="workers")
    axes.barh(names, redis, left=workers, label="Redis")
    for at, name in enumerate(names):
        end = workers[at] + redis[at]
        axes.text(end, at, f"  {rows[name]['drain']:,.0f} jobs/s", va="center", fontsize=8)
    axes.set(xlabel="ms of CPU a job", xlim=(0, 1.25 * max(map(sum, zip(workers, redis)))))  # noqa: B905 - equally long
    axes.legend(loc="lower right")


def _scaling(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Draw jobs a second by the number of workers, beside a fleet that scales exactly."""
    workers = [row["workers"] for row in rows]
    one = rows[0]["rate"] / workers[0]
    axes.plot(workers, [one * count for count in workers], ":", color=GREY, label="linear")
    axes.plot(workers, [row["rate"] for row in rows], "o-", label="measured")
    axes.set(xlabel="local workers", ylabel="jobs/s", xticks=workers, ylim=(0, None))
    axes.legend()


def _memory(axes: Any, samples: dict[str, list[list[float]]]) -> None:
    """Draw the resident size of each process by the number of jobs."""
    for number, (name, taken) in enumerate(samples.items()):
        jobs, kib = zip(*((each[0], each[1]) for each in taken), strict=True)
        style = "-" if number < len(COLOURS) else ":"  # more processes than colours
        axes.plot(jobs, [each / 1024 for each in kib], style, label=name)
    axes.set(xlabel="jobs", ylabel="resident MiB", ylim=(0, None))
    axes.legend(loc="lower right", ncols=3)


DRAWN: dict[str, Callable[[Any, Any], None]] = {
    "depth": _depth,
    "overhead": _overhead,
    "scaling": _scaling,
    "memory": _memory,
}


if __name__ == "__main__":
    main()
