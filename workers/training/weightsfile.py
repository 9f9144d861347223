"""The folder that training writes weights into."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from routing.errors import Misconfigured

WEIGHTS, DOUBT = "difficulty.json", "doubt.json"


def write(folder: Path, name: str, weights: BaseModel) -> Path:
    """Write weights into a folder, which is made; the same weights give the same bytes.

    Raises:
        Misconfigured: It cannot be written.
    """
    path = folder / name
    document = weights.model_dump(mode="json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise Misconfigured(f"cannot be written: {error.strerror}", field="--out") from None
    return path
