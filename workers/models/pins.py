"""`models.lock`: what each model must be, byte for byte.

An operator commits it; each machine verifies what it has by it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forebay.routing.base import first_error
from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights.digests import combined
from forebay.workers.engines.weights.headers import read_object
from forebay.workers.models.local_models import LocalModel

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Said = Annotated[str, Field(max_length=256)] | None


class Pin(BaseModel):
    """One model as it was when it was pinned.

    Attributes:
        digest: of a folder, the digest over `files`; its first 12 digits are the revision that
            answers carry. Of a GGUF file, its own.
        format: exl2, gptq, fp16, exl3, gguf.
        architecture: as config.json names it.
        bits: of a weight, on average.
        licence: as the model card says.
        files: SHA-256 by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Hex
    format: Said = None
    architecture: Said = None
    bits: float | None = None
    licence: Said = None
    files: dict[str, Hex]


class Lock(BaseModel):
    """All pins, by the models' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    models: dict[str, Pin] = Field(default_factory=dict)

    def with_pin(self, name: str, pin: Pin) -> Lock:
        """The same with this model pinned, in place of an older pin."""
        return Lock(models=dict(sorted({**self.models, name: pin}.items())))

    def write(self, path: Path) -> None:
        """As a whole or not at all.

        Raises:
            Misconfigured: It cannot be written.
        """
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
        try:
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).chmod(0o644)  # what is committed may be read
            Path(file.name).replace(path)
        except OSError as error:
            raise Misconfigured(f"cannot be written: {error.strerror}", field=str(path)) from None


def read_lock(path: Path) -> Lock | None:
    """The pins of a file; None where there is no such file.

    Raises:
        Misconfigured: It cannot be read, or something else stands in it.
    """
    if not path.exists():
        return None
    try:
        return Lock.model_validate(read_object(path))
    except ValidationError as error:
        place = first_error(error).field or "it"
        raise Misconfigured(f"{place} is not as `pin` writes it", field=str(path)) from None


def make_pin(model: LocalModel) -> Pin:
    """The model as it is now, every byte of it read.

    Raises:
        Misconfigured: It is damaged, or no engine here runs it.
    """
    shape = model.shape()
    files = model.digests(anew=True)
    whole = combined(files) if model.path.is_dir() else files[model.path.name]
    return Pin(
        digest=whole, format=model.format, architecture=model.architecture,
        bits=shape and round(shape.bits, 3), licence=model.licence, files=files,
    )  # fmt: skip


def differences(pin: Pin, model: LocalModel | None) -> Iterator[str]:
    """How a model differs from its pin, a line a file; nothing where it does not."""
    if model is None:
        yield "is not here"
        return
    try:
        found = model.digests(anew=True)
    except Misconfigured as error:
        yield error.message
        return
    for name in sorted(pin.files.keys() | found.keys()):
        pinned, here = pin.files.get(name), found.get(name)
        if pinned is None:
            yield f"{name} is here and was not when it was pinned"
        elif here is None:
            yield f"{name} is missing"
        elif here != pinned:
            yield f"{name} differs: it has the SHA-256 {here}, not {pinned}"
