"""Writes the table of the model card on what the shares of the text models were chosen by."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from forebay.routing.scoring.router_model import Evidence, Weights


def evidence_table(weights: Weights) -> str:
    """Return a Markdown table of the mixtures that were tried; the chosen one is bold."""
    return "\n".join(_lines(weights)) if weights.evidence else ""


def _lines(weights: Weights) -> Iterator[str]:
    sources = list(weights.evidence[0].apgr)
    yield f"| n-grams, features, trees | mean | {' | '.join(sources)} |"
    yield "|---" * (len(sources) + 2) + "|"
    for tried in sorted(weights.evidence, key=_mean, reverse=True):
        mark = "**" if tried.parts == weights.parts else ""
        name = ", ".join(f"{part:g}" for part in tried.parts)
        figures = " | ".join(f"{tried.apgr[source]:.3f}" for source in sources)
        yield f"| {mark}{name}{mark} | {_mean(tried):.4f} | {figures} |"


def _mean(tried: Evidence) -> float:
    return fmean(tried.apgr.values())
