"""Draw curves of quality against the share of jobs that go up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw(curves: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """Write a PNG or SVG file, by the suffix of its name.

    Args:
        curves: for each rule, points of (share, quality).
        path: where to write the image.
    """
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and wanted for an image alone

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after its backend is chosen

    figure, axes = plt.subplots(figsize=(6.4, 4.0))
    for name, points in curves.items():
        shares, qualities = zip(*points, strict=True)
        style = {"random": ":", "oracle": "--"}.get(name, "-")
        axes.plot([100 * share for share in shares], qualities, style, label=name)
    axes.set(xlabel="share answered on Bedrock, %", ylabel="mean quality")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
