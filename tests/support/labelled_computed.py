"""Answers whose values follow from the text without standing in it: computed or translated.

A sum, a share, a date some days later, another unit, a month or a number in words, a currency's
code. Each text has right answers, and wrong ones whose value follows from nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from forebay.routing.receipts import Extraction, Summary
from labelled_answers import Labelled

TEXTS = json.loads(Path(__file__).with_suffix(".json").read_text())


def computed_answers() -> Iterator[Labelled]:
    """Yield the right answers and the wrong ones: values of a field, or summaries."""
    for text in TEXTS:
        for value in text["right"]:
            yield _labelled(text, value, wrong=False)
        for value in text["wrong"]:
            yield _labelled(text, value, wrong=True)


def _labelled(text: dict, value: object, *, wrong: bool) -> Labelled:
    if text["field"] is None:
        request = {"kind": "summarize", "text": text["text"], "max_words": 40}
        return Labelled(text["language"], request, Summary(text=value), "numbers" if wrong else "")
    schema = {"type": "object", "properties": {"value": text["field"]}}
    request = {"kind": "extract", "text": text["text"], "schema": schema}
    data = Extraction(data={"value": value})
    return Labelled(text["language"], request, data, "grounded" if wrong else "")
