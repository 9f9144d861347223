"""Texts for `labelled_answers`: news with summaries, refusals, loops, and hard cases by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEXTS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))


@dataclass(frozen=True)
class News:
    """A text with right summaries.

    Attributes:
        summaries: each has at most 40 words and no figure or name that the text lacks.
        numbers: replacements in the first summary that make a figure wrong.
        names: the same for names.
    """

    language: str
    text: str
    summaries: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]
    names: tuple[tuple[str, str], ...]


NEWS = [News(**news) for news in _TEXTS["news"]]
#: Language and text.
REFUSALS: list[tuple[str, str]] = _TEXTS["refusals"]
LOOPS: list[tuple[str, str]] = _TEXTS["loops"]
#: Language, request, answer and the fault; an empty fault marks a right answer.
HARD: list[tuple[str, dict[str, Any], Any, str]] = _TEXTS["hard"]
#: Extractions, summaries and texts that were written without a look at the checks.
BY_HAND: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("labelled_by_hand.json").read_text("utf-8")
)
