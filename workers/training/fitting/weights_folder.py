"""Writes weights into the folder that `--out` names."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from tempfile import TemporaryFile
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


def prepare(folder: Path) -> None:
    """Create the folder if it is missing. Called before a fit, which may take minutes.

    Raises:
        Misconfigured: No file can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(error) from None


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
        raise _unwritable(error) from None
    return path


def _unwritable(error: OSError) -> Misconfigured:
    return Misconfigured(f"cannot be written: {error.strerror}", field="--out")
