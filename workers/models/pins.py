"""`models.lock`: the SHA-256 of every file of each model.

An operator commits it, and each machine verifies its own models by it.
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
from forebay.workers.engines.weights.digests import combined_digest
from forebay.workers.engines.weights.headers import read_object
from forebay.workers.models.local_models import LocalModel

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ShortText = Annotated[str, Field(max_length=256)] | None


class Pin(BaseModel):
    """A model as it was when it was pinned.

    Attributes:
        digest: of a folder, the digest over `files`; its first 12 digits are the revision in
            every answer. Of a GGUF file, the file's own digest.
        format: exl2, gptq, fp16, exl3, gguf.
        architecture: the architecture in config.json.
        bits: bits of a weight, on average.
        licence: the licence in the model card.
        files: SHA-256 by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Sha256
    format: ShortText = None
    architecture: ShortText = None
    bits: float | None = None
    licence: ShortText = None
    files: dict[str, Sha256]


class Lock(BaseModel):
    """All pins, by the models' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    models: dict[str, Pin] = Field(default_factory=dict)

    def with_pin(self, name: str, pin: Pin) -> Lock:
        """Return a copy in which the model has this pin, in place of an older pin."""
        return Lock(models=dict(sorted({**self.models, name: pin}.items())))

    def write(self, path: Path) -> None:
        """Write the lock to a file, as a whole or not at all.

        Raises:
            Misconfigured: The file cannot be written.
        """
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
        try:
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).chmod(0o644)  # it is committed, so others may read it
            Path(file.name).replace(path)
        except OSError as error:
            raise Misconfigured(f"cannot be written: {error.strerror}", field=str(path)) from None


def read_lock(path: Path) -> Lock | None:
    """Read the pins of a file; return `None` if there is no such file.

    Raises:
        Misconfigured: The file cannot be read, or is not a lock.
    """
    if not path.exists():
        return None
    try:
        return Lock.model_validate(read_object(path))
    except ValidationError as error:
        place = first_error(error).field or "it"
        raise Misconfigured(f"{place} is not as `pin` writes it", field=str(path)) from None


def make_pin(model: LocalModel) -> Pin:
    """Pin a model as it is now; every byte of it is read.

    Raises:
        Misconfigured: The model is damaged, or no engine here runs it.
    """
    shape = model.shape()
    files = model.digests(fresh=True)
    whole = combined_digest(files) if model.path.is_dir() else files[model.path.name]
    return Pin(
        digest=whole, format=model.format, architecture=model.architecture,
        bits=shape and round(shape.bits, 3), licence=model.licence, files=files,
    )  # fmt: skip


def differences(pin: Pin, model: LocalModel | None) -> Iterator[str]:
    """Yield how a model differs from its pin, a line for each file that does."""
    if model is None:
        yield "is not here"
        return
    try:
        digests = model.digests(fresh=True)
    except Misconfigured as error:
        yield error.message
        return
    for name in sorted(pin.files.keys() | digests.keys()):
        pinned, here = pin.files.get(name), digests.get(name)
        if pinned is None:
            yield f"{name} is here and was not when it was pinned"
        elif here is None:
            yield f"{name} is missing"
        elif here != pinned:
            yield f"{name} differs: it has the SHA-256 {here}, not {pinned}"
