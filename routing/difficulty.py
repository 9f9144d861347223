"""The small router model: a job in, the probability that the local answer will do out.

This first model is a logistic one on hand features, in pure Python so that a router needs no
numeric library. Weights and what they rest on are in `difficulty.json`: those of the text are
fitted on public outcome data, the intercepts by kind and the weights of the request's structure
are stated priors. A better model replaces the inside of `Difficulty`; its three names stay.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routing.errors import Misconfigured
from routing.jobs import Classify, Embed, Extract, Generate, Job, Summarize, Verdict
from routing.wire import KINDS, Kind

HEAD, TAIL = 1_500, 500  # characters looked at; the cost of a verdict does not grow with the text
LONG = 4_000  # characters up to which small models read well
MAX_NODES = 500  # of a schema that are looked at
FAR = 4.0  # standard deviations beyond which a text is not more unusual
TOP = 6  # contributions named in a verdict

_PACKAGED = Path(__file__).with_suffix(".json")


# --- what a text looks like ---------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MATHS = _words(
    "calculate compute equation integral derivative probability ratio percent sum product "
    "theorem prove proof polynomial matrix vector function solve determine value total average "
    "velocity temperature pressure energy mass volume radius angle minimum maximum"
)
_LOGIC = _words(
    "if then each every all none exactly only unless either neither not must cannot different "
    "same before after between following true false statements given"
)
_FACTS = _words("who whom whose when where which")
_REASONS = _words("why how explain describe compare analyze analyse evaluate discuss")
_WRITING = _words(
    "write story poem email letter essay blog article rewrite translate summarize summarise "
    "reply draft create imagine"
)
_SUMS = _words("much many calculate compute total average far fast old long percent")
_PROOFS = _words("prove proof derive derivation theorem lemma integral derivative")
_CODING = _words(
    "python javascript java sql code program algorithm regex class api return def assert "
    "list string array implement bug html css"
)
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_OPTION = re.compile(r"^\s{0,4}(?:[A-Ja-j]|\d{1,2})[.):]\s", re.MULTILINE)
_CODE_MARK = re.compile(r"```|[{}\[\];]|\bdef |\w\(|==|->|=>")
_MATHS_MARK = re.compile(r"[=+*/^<>\\$%°√∑∫π]")
_SENTENCE = re.compile(r"[.!?\n]+")


class Glance:
    """One bounded look at a text: what all its features are counted from."""

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self.seen = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"
        self.names: list[str] = _WORD.findall(self.seen)
        self.words = [word.lower() for word in self.names]
        self.counts = Counter(self.words)

    def share(self, pattern: re.Pattern[str]) -> float:
        """How many times the pattern occurs, per 100 characters."""
        return 100 * len(pattern.findall(self.seen)) / (len(self.seen) or 1)

    def among(self, words: frozenset[str]) -> float:
        """Logarithm of how many words are among these."""
        return math.log1p(sum(self.counts.get(word, 0) for word in words))


def _word_length(glance: Glance) -> float:
    return sum(map(len, glance.words)) / (len(glance.words) or 1)


def _sentence_length(glance: Glance) -> float:
    sentences = sum(bool(part.strip()) for part in _SENTENCE.split(glance.seen))
    return math.log1p(len(glance.words) / (sentences or 1))


def _variety(glance: Glance) -> float:
    return len(glance.counts) / math.sqrt(len(glance.words) or 1)


def _capitals(glance: Glance) -> float:
    return sum(name[0].isupper() for name in glance.names) / (len(glance.names) or 1)


def _foreign(glance: Glance) -> float:
    return sum(not word.isascii() for word in glance.words) / (len(glance.words) or 1)


def _sum(glance: Glance) -> float:
    return math.log1p(len(_NUMBER.findall(glance.seen))) if glance.among(_SUMS) else 0.0


TEXT_FEATURES: dict[str, Callable[[Glance], float]] = {
    "length": lambda glance: math.log1p(glance.length),
    "lines": lambda glance: math.log1p(glance.seen.count("\n")),
    "word_length": _word_length,
    "sentence_length": _sentence_length,
    "variety": _variety,
    "capitals": _capitals,
    "foreign": _foreign,
    "questions": lambda glance: math.log1p(glance.seen.count("?")),
    "numbers": lambda glance: glance.share(_NUMBER),
    "options": lambda glance: math.log1p(len(_OPTION.findall(glance.seen))),
    "code_marks": lambda glance: glance.share(_CODE_MARK),
    "maths_marks": lambda glance: glance.share(_MATHS_MARK),
    "maths_words": lambda glance: glance.among(_MATHS),
    "logic_words": lambda glance: glance.among(_LOGIC),
    "fact_words": lambda glance: glance.among(_FACTS),
    "reason_words": lambda glance: glance.among(_REASONS),
    "writing_words": lambda glance: glance.among(_WRITING),
    "coding_words": lambda glance: glance.among(_CODING),
    "proof_words": lambda glance: glance.among(_PROOFS),
    "sum": _sum,
}


def text_features(text: str) -> dict[str, float]:
    """The features of a text, by name; the weights of these are fitted."""
    glance = Glance(text)
    return {name: feature(glance) for name, feature in TEXT_FEATURES.items()}


# --- what is asked for --------------------------------------------------------------------------


def _doublings(value: float, start: float) -> float:
    """How many times `start` must be doubled to reach the value; never negative."""
    return max(0.0, math.log2(value / start)) if value > 0 else 0.0


_NODE = (dict, list)


def _schema_shape(schema: dict[str, Any]) -> tuple[int, int]:
    """Number of fields of a JSON Schema, and how deep they are nested."""
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


def _shape(job: Job) -> tuple[str, dict[str, float]]:
    """The text that a job is about, and the features of what is asked of it."""
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
        case Generate(messages=messages, max_tokens=tokens, schema_=schema):
            features = _schema_features(schema) if schema else {}
            features |= {
                "long_answer": _doublings(tokens, 512),
                "turns": math.log2(len(messages)),
            }
            return messages[-1].content, features
        case Embed():
            return "", {}


# --- the model ----------------------------------------------------------------------------------


class _Fitted(BaseModel):
    """Weight of one text feature, in log-odds per standard deviation from its mean."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: float
    mean: float
    scale: float = Field(gt=0)


class _Weights(BaseModel):
    """What `difficulty.json` holds.

    Attributes:
        kinds: log-odds by kind before anything is looked at.
        text_share: by kind, how much of the fitted text weights counts.
        text: fitted weights.
        shape: log-odds by unit of a feature of what is asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: str = Field(min_length=1, max_length=60)
    note: tuple[str, ...] = ()
    kinds: dict[Kind, float]
    text_share: dict[Kind, float]
    text: dict[str, _Fitted]
    shape: dict[str, float]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if set(self.kinds) != set(KINDS) or set(self.text) != set(TEXT_FEATURES):
            raise ValueError("a kind or a text feature is missing or unknown")
        return self


class Difficulty:
    """The router model: the same job and weights always give the same verdict."""

    def __init__(self, weights: _Weights) -> None:
        self._weights = weights

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The model with these weights, or with the packaged ones.

        Raises:
            Misconfigured: The file cannot be read, or does not hold weights of this model.
        """
        source = path or _PACKAGED
        try:
            return cls(_Weights.model_validate_json(source.read_bytes()))
        except OSError as error:
            raise Misconfigured(f"cannot be read: {error.strerror}", field=str(source)) from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(["difficulty", *map(str, first["loc"])])
            raise Misconfigured(f"{first['msg']} ({source})", field=field) from None

    @property
    def version(self) -> str:
        """Of the weights; every verdict carries it."""
        return self._weights.version

    def verdict(self, job: Job) -> Verdict:
        """How probable it is that the local answer to this job will do."""
        parts = dict(self._contributions(job))
        top = sorted(parts, key=lambda name: (-abs(parts[name]), name))[:TOP]
        return Verdict(
            probability=_logistic(math.fsum(parts.values())),
            version=self.version,
            features={name: round(parts[name], 3) for name in top if parts[name]},
        )

    def _contributions(self, job: Job) -> Iterator[tuple[str, float]]:
        """Every feature's part of the log-odds."""
        weights = self._weights
        text, shape = _shape(job)
        yield f"kind_{job.kind}", weights.kinds[job.kind]
        yield "long_text", weights.shape.get("long_text", 0.0) * _doublings(len(text), LONG)
        for name, value in shape.items():
            yield name, weights.shape.get(name, 0.0) * value
        if share := weights.text_share.get(job.kind, 0.0):
            for name, value in text_features(text).items():
                fitted = weights.text[name]
                far = max(-FAR, min(FAR, (value - fitted.mean) / fitted.scale))
                yield name, share * fitted.weight * far


def _logistic(log_odds: float) -> float:
    bounded = max(-30.0, min(30.0, log_odds))
    return round(1 / (1 + math.exp(-bounded)), 6)
