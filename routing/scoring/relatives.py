"""Tells near relatives by their names: two models of one family and about one size err alike."""

from __future__ import annotations

import re

#: Words of names that say nothing about the family of a model.
COMMON_WORDS = {
    "awq", "base", "bpw", "chat", "code", "coder", "distill", "exl", "fast", "fp", "gguf", "gptq",
    "hf", "instruct", "instructed", "int", "it", "large", "latest", "math", "medium", "meta",
    "mini", "model", "nano", "preview", "pro", "quant", "small", "tiny", "turbo", "vision", "vl",
}  # fmt: skip
MAX_SIZE_RATIO = 1.5  # between the numbers of parameters of near relatives

_WORD = re.compile(r"[a-z]{2,}")
_SIZE = re.compile(r"(?<![a-z0-9])(?:(\d+)x)?(\d+(?:[._]\d+)?)([bm])(?![a-z0-9])")


def near_relatives(one: str, other: str) -> bool:
    """Return whether two models are of one family and one size, as far as their names tell.

    Such as `Mistral-7B-v0.1` and `mistral-7b-instruct-v0.2`. A name without a number of parameters
    tells nothing.
    """
    first, second = _parameters(one), _parameters(other)
    if not first or not second or max(first, second) > MAX_SIZE_RATIO * min(first, second):
        return False
    return bool(_family(one) & _family(other))


def _family(name: str) -> set[str]:
    return set(_WORD.findall(_last_part(name))) - COMMON_WORDS


def _parameters(name: str) -> float:
    """Return how many parameters a name states, 0 for none."""
    found = _SIZE.search(_last_part(name))
    if found is None:
        return 0.0
    size = float(found[2].replace("_", ".")) * (1e9 if found[3] == "b" else 1e6)
    return int(found[1] or 1) * size


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1].lower()
