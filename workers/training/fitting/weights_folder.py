"""Writes weights into the folder that `--out` names."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TypeVar

from forebay.routing.scoring.weights_file import WeightsFile
from forebay.workers.models.writable import unwritable

ROUTER_MODEL, DOUBT_MODEL = "router_model.json", "doubt_model.json"  # as packaged
CASCADE_MODEL, ENCODER_MODEL = "cascade_model.json", "encoder_model.json"


_Weights = TypeVar("_Weights", bound=WeightsFile)


def versioned(name: str, weights: _Weights) -> _Weights:
    """Return the weights with a version made of this name and a hash of their content."""
    content = weights.model_dump_json(exclude={"version"}).encode()
    digest = hashlib.sha256(content).hexdigest()[:8]
    return weights.model_copy(update={"version": f"{name}-{digest}"})


def write(folder: Path, name: str, weights: WeightsFile) -> Path:
    """Write weights into a folder, in one step. The same weights give the same bytes.

    Raises:
        Misconfigured: The file cannot be written.
    """
    path, draft = folder / name, folder / f".{name}.{os.getpid()}"
    document = weights.model_dump(mode="json")
    try:
        draft.write_text(json.dumps(document, indent=1) + "\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritable(error, "--out") from None
    return path
