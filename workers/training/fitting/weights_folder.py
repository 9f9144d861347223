"""Writes weights into the folder that `--out` names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.weights_file import WeightsFile

ROUTER_MODEL, DOUBT_MODEL = "router_model.json", "doubt_model.json"  # as packaged
CASCADE_MODEL, ENCODER_MODEL = "cascade_model.json", "encoder_model.json"


_Weights = TypeVar("_Weights", bound=WeightsFile)


def versioned(name: str, weights: _Weights) -> _Weights:
    """Return the weights with a version made of this name and a hash of their content."""
    content = weights.model_dump_json(exclude={"version"}).encode()
    digest = hashlib.sha256(content).hexdigest()[:8]
    return weights.model_copy(update={"version": f"{name}-{digest}"})


def write(folder: Path, name: str, weights: WeightsFile) -> Path:
    """Write weights into a folder, created if missing. The same weights give the same bytes.

    Raises:
        Misconfigured: The folder or the file cannot be written.
    """
    path = folder / name
    document = weights.model_dump(mode="json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise Misconfigured(f"cannot be written: {error.strerror}", field="--out") from None
    return path
