"""The terms of a job: its lane, priority and the like, from the model's name and our own fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.producers.gateway.asking.model_names import Target
from forebay.producers.gateway.asking.options import Own, job_options
from forebay.producers.gateway.errors import InvalidRequest
from forebay.routing.base import Kind

_KIND_OF_FIELD = {"labels": "classify", "max_words": "summarize", "focus": "summarize"}


def terms(kind: Kind, target: Target, own: Own, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a job of this kind.

    Raises:
        InvalidRequest: The model's name asks for another kind or lane, or a header is wrong.
    """
    if target.kind not in {None, kind}:
        raise InvalidRequest(f"asks for {target.kind}, and this is a job of {kind}", field="model")
    for name, owner in _KIND_OF_FIELD.items():
        if getattr(own, name) is not None and owner != kind:  # it would say nothing
            raise InvalidRequest(f"is for the model forebay/{owner}", field=f"forebay.{name}")
    options = job_options(headers, own)
    if target.lane is not None and options.setdefault("lane", target.lane) != target.lane:
        words = f"is {options['lane']}, and the model's name asks for {target.lane}"
        raise InvalidRequest(words, field="forebay.lane")
    if target.model is not None:
        options["model"] = target.model
    return options
