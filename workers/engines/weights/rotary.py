"""Rotary positions (RoPE) in config.json: where each library reads them, and what it leaves out.

transformers 5 writes `rope_parameters`, earlier versions `rope_theta` and `rope_scaling`. exllamav2
reads the earlier fields only, and takes a default base if they are missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.computation import named_parts

_PLAIN = (None, "default")
_LENGTH = "original_max_position_embeddings"


class Scaling(NamedTuple):
    """The fields that a kind of scaling needs, and those that the library takes to be fixed.

    Attributes:
        needs: fields that must be there.
        fixed: fields that the library takes to have this value.
        differs: what the library computes otherwise than the model was made for, so that no value
            is right but a factor of 1; empty if it computes the kind as it is defined.
    """

    needs: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = {}
    differs: str = ""


_LLAMA3 = Scaling(("factor", "low_freq_factor", "high_freq_factor", _LENGTH))
_LONGROPE = Scaling(("long_factor", "short_factor"))
_EXL2_LONGROPE = _LONGROPE._replace(
    differs="scales attention by the worker's context instead of max_position_embeddings"
)
_EXL2_YARN = Scaling(
    ("factor", _LENGTH),
    differs=f"scales only if the worker's context is longer than {_LENGTH}, and then by that "
    "context",
)
_SCALINGS: Mapping[GpuEngineName, Mapping[str, Scaling]] = {
    "exl2": {
        "linear": Scaling(("factor",)),
        "llama3": _LLAMA3,
        "longrope": _EXL2_LONGROPE,
        "su": _EXL2_LONGROPE,
        "mrope": Scaling(("mrope_section",)),
        "yarn": _EXL2_YARN,
    },
    "exl3": {
        "linear": Scaling(("factor",)),
        "llama3": _LLAMA3,
        "longrope": _LONGROPE,
        "su": _LONGROPE,
        "mrope": Scaling(("mrope_section",)),
        "proportional": Scaling(),
        "yarn": Scaling(("factor",)),
    },
}  # fmt: skip
_ANY_KIND = {"type", "rope_type", "rope_theta", "partial_rotary_factor"}
#: Beside any kind, and without effect on text or on the frequencies of a kind that needs them not.
_HARMLESS = {"factor", "mrope_section", "mrope_interleaved", _LENGTH, "max_position_embeddings"}


def check_rotary(config: Mapping[str, Any], engine: GpuEngineName, place: str) -> None:
    """Check that the engine rotates positions as config.json says.

    Raises:
        Misconfigured: The engine would read another base or scaling, or does not know the kind.
    """
    for part, prefix in named_parts(config):
        parameters = _object(part, prefix, "rope_parameters", place)
        scaling = _object(part, prefix, "rope_scaling", place)
        if parameters:
            _check_parameters(parameters, scaling, part, engine, f"{prefix}rope_parameters", place)
        if scaling:
            _check_scaling(scaling, part, engine, f"{prefix}rope_scaling", place)
        _check_local_base(part, engine, prefix, place)


def _object(part: Mapping[str, Any], prefix: str, name: str, place: str) -> dict[str, Any]:
    value = part.get(name)
    if value is not None and not isinstance(value, dict):
        raise Misconfigured(f"{prefix}{name} must be an object or null", field=place)
    return value or {}


def _check_parameters(
    parameters: dict[str, Any],
    scaling: dict[str, Any],
    part: Mapping[str, Any],
    engine: GpuEngineName,
    name: str,
    place: str,
) -> None:
    """Check that the fields of transformers 5 say the same as the earlier fields."""
    if any(isinstance(value, dict) for value in parameters.values()):
        message = f"{name} differs by kind of layer, which no engine here reads: take another model"
        raise Misconfigured(message, field=place)
    _check_scaling(parameters, part, engine, name, place)
    earlier = {
        key: part.get(key)
        for key in ("rope_theta", "partial_rotary_factor")
        if parameters.get(key) is not None
    }
    given = {key: parameters[key] for key in earlier}
    same_scaling = _without_base(parameters) == _without_base(scaling)
    if engine == "exl3":
        earlier = {key: given[key] if value is None else value for key, value in earlier.items()}
        same_scaling = same_scaling or not scaling
    if earlier != given or not same_scaling:
        fields = {**given, "rope_scaling": _without_base(parameters) or None}
        message = (
            f"{name}: {'exllamav2 does not read it' if engine == 'exl2' else 'is contradicted'}; "
            f"beside it, write the earlier fields: {json.dumps(fields)[1:-1][:400]}"
        )
        raise Misconfigured(message, field=place)


def _without_base(scaling: dict[str, Any]) -> dict[str, Any]:
    """Return a scaling alone, with its kind under one name; empty if nothing is scaled."""
    kind = _kind(scaling)
    if kind in _PLAIN:
        return {}
    rest = {key: value for key, value in scaling.items() if key not in _ANY_KIND}
    return {"rope_type": kind, **rest}


def _kind(scaling: dict[str, Any]) -> Any:
    return scaling.get("rope_type") or scaling.get("type")


def _check_scaling(
    scaling: dict[str, Any], part: Mapping[str, Any], engine: GpuEngineName, name: str, place: str
) -> None:
    """Check the kind of a scaling and the values that the library does not read."""
    kind = _kind(scaling)
    if "type" in scaling and "rope_type" in scaling and engine == "exl2":
        raise Misconfigured(f"{name} has both type and rope_type: remove one", field=place)
    if kind in _PLAIN:
        return
    known = _SCALINGS[engine]
    if kind not in known:
        kinds = ", ".join(known)
        message = f"{name}: {str(kind)[:32]!r} is no kind that {engine} computes: {kinds}"
        if kind == "dynamic":  # it scales positions beyond the context that is planned here
            message += "; up to max_position_embeddings it changes nothing: set it to null"
        raise Misconfigured(message, field=place)
    rule = known[kind]
    missing = [key for key in rule.needs if scaling.get(key) is None]
    if missing:
        raise Misconfigured(f"{name} of kind {kind} does not say {missing[0]}", field=place)
    if rule.differs and scaling.get("factor") != 1:
        raise _differently(rule, kind, name, place)
    if engine == "exl2":
        _check_fixed(scaling, rule, name, place)
    elif kind == "yarn":
        _check_ratio(scaling, part, name, place)


def _differently(rule: Scaling, kind: str, name: str, place: str) -> Misconfigured:
    """Return the error of a scaling that exllamav2 knows and computes otherwise."""
    message = (
        f"{name} of kind {kind}: exllamav2 {rule.differs}, so the answers would be wrong; take an "
        "EXL3 conversion. If the model was trained without it, set it to null, and "
        "max_position_embeddings to the length that the model was trained with"
    )
    return Misconfigured(message, field=place)


def _check_ratio(scaling: dict[str, Any], part: Mapping[str, Any], name: str, place: str) -> None:
    """Check the factor of YaRN against the lengths, from which exllamav3 computes it."""
    given = (part.get("max_position_embeddings"), scaling.get(_LENGTH), scaling["factor"])
    length, original, factor = (each if isinstance(each, int | float) else 0 for each in given)
    if not min(length, original, factor) > 0:  # not a number, or not given
        return
    if not math.isclose(length / original, factor, rel_tol=0.01):
        message = (
            f"{name}.factor is {factor:g}, but exllamav3 takes max_position_embeddings / {_LENGTH} "
            f"= {length / original:g}: set max_position_embeddings to {original * factor:g}"
        )
        raise Misconfigured(message, field=place)


def _check_fixed(scaling: dict[str, Any], rule: Scaling, name: str, place: str) -> None:
    for key, value in scaling.items():
        if key in _ANY_KIND or key in _HARMLESS or key in rule.needs or value is None:
            continue
        if value != rule.fixed.get(key):
            message = (
                f"{name}.{key} is {str(value)[:32]}, which exllamav2 does not read: the answers "
                "would be wrong; take another model, or an EXL3 conversion"
            )
            raise Misconfigured(message, field=place)


def _check_local_base(
    part: Mapping[str, Any], engine: GpuEngineName, prefix: str, place: str
) -> None:
    """Check the base of layers with a sliding window, which both libraries take to be 10,000."""
    base = part.get("rope_local_base_freq")
    if base is not None and base != 10_000:  # noqa: PLR2004 - of Gemma 3
        message = f"{prefix}rope_local_base_freq must be 10000 for {engine}, not {str(base)[:32]}"
        raise Misconfigured(message, field=place)
