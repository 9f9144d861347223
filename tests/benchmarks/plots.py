"""Draw the figures of benchmarks: `python tests/benchmarks/plots.py FILE [FOLDER]`.

One SVG for each benchmark that has a plot, of those in the file (`--json FILE`). The folder is that
of the plots in RESULTS.md, unless another is named. Lines and letters are of middle tones on no
background, so that they can be read on a light and on a dark page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
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
    """Draw each benchmark of the file that has a plot."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "plots")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    known = json.loads(options.file.read_text())
    for name in known.keys() & DRAWN.keys():
        draw(name, known[name], options.folder)


def draw(name: str, figures: Any, folder: Path) -> None:
    """Write the image of a benchmark into a folder."""
    mpl.rcParams.update(STYLE)
    figure, axes = plt.subplots()
    DRAWN[name](axes, figures)
    axes.grid(alpha=0.25, color=GREY, axis="x" if name in LYING else "both")
    axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(folder / f"{name}.svg", transparent=True, metadata={"Date": None})
    plt.close(figure)


def _depth(axes: Any, figures: dict[str, list[dict[str, Any]]]) -> None:
    """Draw what a job costs Redis by the number of jobs that are queued."""
    rows = figures["depths"]
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


def _memory(axes: Any, processes: dict[str, dict[str, list[list[float]]]]) -> None:
    """Draw the resident size of each process by the number of jobs."""
    for number, (name, process) in enumerate(processes.items()):
        jobs, kib = zip(*((each[0], each[1]) for each in process["samples"]), strict=True)
        style = "-" if number < len(COLOURS) else ":"  # more processes than colours
        axes.plot(jobs, [each / 1024 for each in kib], style, label=name)
    axes.set(xlabel="jobs", ylabel="resident MiB", ylim=(0, None))
    axes.legend(loc="lower right", ncols=3)


def _latency(axes: Any, hops: dict[str, dict[str, list[float]]]) -> None:
    """Draw the share of jobs that started, and were answered, within a time."""
    for number, (name, times) in enumerate(hops.items()):
        for what, style in (("waited", ":"), ("answered", "-")):
            label = f"{name}, {'started' if what == 'waited' else 'answered'}"
            axes.plot(times[what], range(1, 100), style, color=COLOURS[number], label=label)
    axes.set(xlabel="ms since the submit", ylabel="% of jobs", xlim=(0, None), ylim=(0, 100))
    axes.legend(loc="lower right")


def _clients(axes: Any, figures: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draw jobs a second of each way to submit, beside Celery's."""
    submits = figures["submits"]
    for number, (who, label) in enumerate((("celery", "Celery"), ("forebay", "Forebay"))):
        at = [each + 0.4 * number for each in range(len(submits))]
        drawn = axes.barh(at, [each[who] for each in submits.values()], 0.38, label=label)
        axes.bar_label(drawn, fmt="  {:,.0f}", fontsize=8)
    axes.set(xlabel="submits/s of one client", yticks=[0.2, 1.2], yticklabels=submits)
    axes.margins(x=0.15)
    axes.legend(loc="lower right")


def _interactive(axes: Any, took: dict[str, dict[str, list[float]]]) -> None:
    """Draw how long jobs take beside each load: each job, and the median."""
    kinds = list(next(iter(took.values())))
    for number, kind in enumerate(kinds):
        for at, times in enumerate(each[kind] for each in took.values()):
            ms = [1e3 * each for each in times]
            style = {"color": COLOURS[number]}
            axes.plot(ms, [at] * len(ms), "o", alpha=0.25, markersize=4, **style)
            label = f"{kind}, median" if at == 0 else None
            axes.plot(median(ms), at, "|", markersize=18, label=label, **style)
    axes.set(xscale="log", xlabel="ms", yticks=range(len(took)), yticklabels=took)
    axes.margins(y=0.15)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=2)


def _bulk(axes: Any, figures: dict[str, Any]) -> None:
    """Draw rows a second of a bulk, of jobs and of Celery's tasks, with the CPU of each."""
    names = {"bulk": "a bulk", "map": "a job a row", "celery": "a Celery task a row"}
    rates = [figures["rows"][each] for each in names]
    drawn = axes.barh(list(names.values()), rates, color=COLOURS[: len(names)])
    costs = [f"  {each:,.0f}/s, {figures['cpu_us'][key]:,.0f} us of CPU"
             for key, each in zip(names, rates, strict=True)]  # fmt: skip
    axes.bar_label(drawn, costs, fontsize=8)
    axes.set(xlabel="rows/s", xlim=(0, 1.4 * max(rates)))
    axes.invert_yaxis()


def _gateway(axes: Any, tables: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draw requests a second by the number of connections, for each server."""
    connections = [int(each) for each in tables]
    for name in next(iter(tables.values())):
        style = {"color": GREY, "linestyle": ":"} if name == "bare ASGI" else {}
        rates = [rows[name]["rate"] for rows in tables.values()]
        axes.plot(connections, rates, marker="o", label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel="requests/s")
    axes.set_xticks(connections, connections)
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


#: Plots with bars that lie.
LYING = ("overhead", "clients", "interactive", "bulk")
DRAWN: dict[str, Callable[[Any, Any], None]] = {
    "depth": _depth,
    "overhead": _overhead,
    "scaling": _scaling,
    "memory": _memory,
    "latency": _latency,
    "clients": _clients,
    "interactive": _interactive,
    "bulk": _bulk,
    "gateway": _gateway,
}


if __name__ == "__main__":
    main()
