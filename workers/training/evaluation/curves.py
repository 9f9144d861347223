"""Draws mean quality against the share of escalated jobs, a curve for each router."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from forebay.routing.errors import Misconfigured
from forebay.workers.models.writable import require_writable, unwritable
from forebay.workers.training.data.ranking_metrics import Ranked

FORMATS = {".png", ".svg"}
POINTS = 201


def require_drawable(path: Path) -> None:
    """Check that the file can be drawn, before an evaluation that may take minutes.

    Raises:
        Misconfigured: The name ends in neither .png nor .svg, or the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise Misconfigured("must end in .png or .svg", field="--curves")
    require_writable(path.parent, "--curves")


def draw(routers: Mapping[str, Ranked], path: Path) -> None:
    """Draw the curves into a PNG or SVG file.

    Raises:
        Misconfigured: The file cannot be written.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    shares = np.linspace(0, 1, POINTS)
    for name, ranked in routers.items():
        weak = float(ranked.weak.mean())
        gap = float(ranked.strong.mean()) - weak
        even = np.ones(len(ranked.score))
        axes.plot(100 * shares, weak + gap * ranked.recovered(even, shares), label=name)
    axes.set(xlabel="escalated jobs, %", ylabel="mean score")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise unwritable(error, "--curves") from None
