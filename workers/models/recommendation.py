"""Models that fit a card, planned from facts about them; nothing is downloaded for it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from forebay.workers.engines.vram.planner import TYPICAL_CONTEXT, Plan, plan
from forebay.workers.engines.weights.model_shape import Shape
from forebay.workers.models.catalogue import catalogue

#: Bits of a weight of the output head, of the usual 6, with scales.
_HEAD_BITS = {"exl2": 6.33, "exl3": 6.01}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be recommended.

    Attributes:
        name: as `forebay models pull` takes it.
        format: exl2, exl3 or gguf.
        licence: an SPDX name, or the hub's name of the licence.
        revision: a branch or commit of the hub.
        source: the page on the hub.
        shape: what the planner needs. The shape of a GGUF file is planned as a model of exllamav2
            with a cache in fp16: an estimate of what llama.cpp takes.
    """

    name: str
    format: str
    licence: str
    revision: str
    source: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A candidate that fits, and its plan."""

    model: Candidate
    plan: Plan

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a local worker, but for the model's path, which `pull` prints."""
        settings = {"FOREBAY_SLOTS": self.plan.batch, "FOREBAY_CONTEXT_TOKENS": self.plan.context}
        if self.model.format == "gguf":
            engine = {"FOREBAY_ENGINE": "llamacpp"}
        else:
            engine = {
                "FOREBAY_ENGINE": self.model.format, "FOREBAY_CACHE_MODE": self.plan.cache_mode,
            }  # fmt: skip
        return engine | {name: str(value) for name, value in settings.items()}


def recommendations(vram_bytes: int) -> list[Recommendation]:
    """Return the candidates that fit a card of this memory, the largest model first.

    One that fits only with a context too short for usual jobs is left out.
    """
    planned = [Recommendation(one, _plan(one, vram_bytes)) for one in candidates()]
    fitting = [one for one in planned if one.plan.fits and one.plan.context >= TYPICAL_CONTEXT]
    return sorted(fitting, key=lambda one: -_parameters(one.model.shape) * one.model.shape.bits)


@cache
def candidates() -> tuple[Candidate, ...]:
    """Return all models of the list, whether they fit or not."""
    text = (files("forebay.workers.models") / "recommended.toml").read_text()
    facts = tomllib.loads(text)
    return (*_folders(facts), *_ggufs(facts))


def _folders(facts: dict[str, Any]) -> Iterator[Candidate]:
    for entry in facts["model"]:
        shape = _quantized(facts["shapes"][entry["shape"]], entry["format"], entry["bits"])
        yield Candidate(
            f"{entry['repo']}@{entry['revision']}", entry["format"], entry["licence"],
            entry["revision"], entry["source"], shape,
        )  # fmt: skip


def _ggufs(facts: dict[str, Any]) -> Iterator[Candidate]:
    known = {model.name: model for model in catalogue()}
    for entry in facts["gguf"]:
        model, dimensions = known[entry["name"]], facts["shapes"][entry["shape"]]
        size = model.size or 0
        shape = Shape(format="fp16", weights_bytes=size, layers_bytes=size, **dimensions)
        source = f"https://huggingface.co/{model.repo}"
        yield Candidate(model.name, "gguf", model.licence, model.revision, source, shape)


def _quantized(dimensions: dict[str, Any], format_: Any, bits: float) -> Shape:
    """Return the shape of a quantized model, with the sizes that its files will have."""
    shape = Shape(format=format_, engine=format_, **dimensions)
    layers = int(_parameters(shape) * bits / 8)
    head = int(shape.hidden * shape.padded_vocab * _HEAD_BITS[format_] / 8)
    return replace(
        shape, layers_bytes=layers, weights_bytes=layers + head,
        trellis_weights=_parameters(shape) if format_ == "exl3" else 0,
        embedding_bytes=2 * shape.hidden * shape.vocab,
    )  # fmt: skip


def _parameters(shape: Shape) -> int:
    """Return the number of weights in the decoder layers."""
    attention = shape.hidden * 2 * (shape.q_width + shape.kv_width)
    return shape.layers * (attention + shape.mlp_matrices * shape.hidden * shape.intermediate)


def _plan(model: Candidate, vram_bytes: int) -> Plan:
    return plan(model.shape, vram_bytes, cache_mode="fp16" if model.format == "gguf" else None)
