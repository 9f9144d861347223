"""The folder that training writes: the weights, and what they were made of."""

from __future__ import annotations

import json
from pathlib import Path

from routing.difficulty import Weights
from routing.errors import Misconfigured

WEIGHTS = "difficulty.json"


def write(folder: Path, weights: Weights) -> Path:
    """Write the weights into a folder, which is made; the same weights give the same bytes.

    Raises:
        Misconfigured: It cannot be written.
    """
    path = folder / WEIGHTS
    document = weights.model_dump(mode="json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise Misconfigured(f"cannot be written: {error.strerror}", field="--out") from None
    return path
