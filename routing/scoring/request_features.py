"""Features of a request: its text, and how much it asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from forebay.routing.jobs import (
    Choice,
    Classify,
    Decide,
    Embed,
    Extract,
    Generate,
    Job,
    Predicate,
    Score,
    Summarize,
)

LONG_TEXT_CHARS = 4_000  # small models read well up to this length
MAX_NODES = 500  # nodes of a JSON Schema that are read

_NODE = (dict, list)


def request_features(job: Job) -> tuple[str, dict[str, float]]:
    """Return the text of a job, and the features of its request."""
    text, features = _by_kind(job)
    if long := _doublings(len(text), LONG_TEXT_CHARS):
        features["long_text"] = long
    return text, features


def _by_kind(job: Job) -> tuple[str, dict[str, float]]:
    match job.request:
        case Classify(text=text, options=options):
            bare = sum(not (label.description or label.examples) for label in options)
            return text, {
                "labels": _doublings(len(options), 2),
                "bare_labels": bare / len(options),
            }
        case Extract(text=text, schema_=schema):
            return text, _schema_features(schema)
        case Summarize(text=text, max_words=words):
            return text, {"long_answer": _doublings(words, 60)}
        case Generate(messages=messages, max_tokens=tokens, schema_=schema) as request:
            features = _schema_features(schema) if schema else {}
            features |= {
                "long_answer": _doublings(tokens, 512),
                "turns": math.log2(len(messages)),
            }
            return request.asked, features
        case Decide(questions=questions) as request:
            return request.state_text, _question_features(questions)
        case Embed():
            return "", {}


def _question_features(questions: Sequence[Predicate | Choice | Score]) -> dict[str, float]:
    """Return the features of questions; a yes, a no or a number needs no description."""
    labels = [label for q in questions if isinstance(q, Choice) for label in q.labels]
    bare = sum(not (label.description or label.examples) for label in labels)
    return {
        "labels": _doublings(max(len(question.labels) for question in questions), 2),
        "bare_labels": bare / max(1, len(labels)),
    }


def _doublings(value: float, start: float) -> float:
    """Return how many times `start` must be doubled to reach the value; never below 0."""
    return max(0.0, math.log2(value / start)) if value > 0 else 0.0


def _schema_shape(schema: dict[str, Any]) -> tuple[int, int]:
    """Return the number of fields of a JSON Schema, and how deep they are nested."""
    fields, deepest, seen = 0, 0, 0
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    while waiting and seen < MAX_NODES:
        node, depth = waiting.pop()
        seen += 1
        if isinstance(node, list):
            waiting += [(child, depth) for child in node if isinstance(child, _NODE)]
        else:
            properties = node.get("properties")
            named = len(properties) if isinstance(properties, dict) else 0
            fields, below = fields + named, depth + bool(named)
            deepest = max(deepest, below)
            waiting += [(child, below) for child in node.values() if isinstance(child, _NODE)]
    return fields, deepest


def _schema_features(schema: dict[str, Any]) -> dict[str, float]:
    fields, depth = _schema_shape(schema)
    return {"fields": math.log2(1 + fields), "depth": float(max(0, depth - 1))}
