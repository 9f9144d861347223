"""The models that lie in a folder of this machine: GGUF files, and folders with a config.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.vram.planner import plan
from forebay.workers.engines.weights.digests import digest, file_digests
from forebay.workers.engines.weights.digests import fresh_digest as fresh
from forebay.workers.engines.weights.headers import read_object
from forebay.workers.engines.weights.model_shape import Shape, read_shape

_LICENCE = re.compile(r"^license(?:_name)?:\s*([\w.+-]+)\s*$", re.MULTILINE)
_START = 1 << 20
_LICENCES = {"Apache License": "apache-2.0", "MIT License": "mit", "LLAMA": "llama"}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine: a GGUF file or a folder, and its name beneath the folder of all."""

    name: str
    path: Path

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self._files())

    @property
    def format(self) -> str:
        """`gguf`, `fp16`, or what config.json calls its quantization: exl2, exl3, gptq and others.

        Raises:
            Misconfigured: config.json cannot be read.
        """
        if self.path.is_file():
            return "gguf"
        quantization = self._config().get("quantization_config")
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        return "fp16" if quantization is None else str(method)[:32]

    @property
    def architecture(self) -> str | None:
        """As config.json names it; None where it does not, and for a GGUF file.

        Raises:
            Misconfigured: config.json cannot be read.
        """
        names = self._config().get("architectures") if self.path.is_dir() else None
        return str(names[0])[:128] if isinstance(names, list) and names else None

    @property
    def licence(self) -> str | None:
        """As the model card or the text of the licence says; None where neither does."""
        folder = self.path if self.path.is_dir() else self.path.parent
        card = _start(folder / "README.md")
        head = card.split("---")[1] if card.startswith("---") and card.count("---") > 1 else ""
        named = [match[1] for match in _LICENCE.finditer(head)]
        if named:
            return named[-1] if named[0] == "other" else named[0]
        text = _start(folder / "LICENSE") or _start(folder / "LICENSE.txt")
        return next((name for words, name in _LICENCES.items() if words in text[:500]), None)

    def shape(self) -> Shape | None:
        """Of a model for exl2 or exl3; None for a GGUF file, which is not planned.

        Raises:
            Misconfigured: It is damaged, or nothing here runs its format or architecture.
        """
        return None if self.path.is_file() else read_shape(self.path)

    def fits(self, shape: Shape | None, vram_bytes: int | None) -> bool | None:
        """Whether the card holds it; None where that cannot be said."""
        return None if shape is None or vram_bytes is None else plan(shape, vram_bytes).fits

    def digests(self, *, anew: bool) -> dict[str, str]:
        """The SHA-256 of each of its files by name; `anew` reads them, whatever was kept.

        Raises:
            Misconfigured: A file cannot be read.
        """
        if self.path.is_dir():
            return file_digests(self.path, fresh=anew)
        try:
            return {self.path.name: (fresh if anew else digest)(self.path)}
        except OSError as error:
            raise Misconfigured(f"cannot be read: {error.strerror}", field=self.name) from None

    def _config(self) -> dict[str, Any]:
        return read_object(self.path / "config.json")

    def _files(self) -> Iterator[Path]:
        inside = self.path.iterdir() if self.path.is_dir() else [self.path]
        return (file for file in inside if file.is_file())


def local_models(root: Path) -> list[LocalModel]:
    """All models beneath a folder by name; hidden files and folders aside."""
    found = [*root.rglob("*.gguf"), *(file.parent for file in root.rglob("config.json"))]
    inside = {path.relative_to(root): path for path in found if path != root}
    return [
        LocalModel(name.as_posix(), path)
        for name, path in sorted(inside.items())
        if not any(part.startswith(".") for part in name.parts)
    ]


def local_model(root: Path, name: str) -> LocalModel:
    """The one of this name.

    Raises:
        Misconfigured: There is none.
    """
    for model in local_models(root):
        if model.name == name:
            return model
    raise Misconfigured(f"there is no {name} in {root}", field="NAME")


def _start(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_START).decode(errors="replace")
    except OSError:
        return ""
