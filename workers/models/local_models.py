"""The models in a folder of this machine: GGUF files, and folders with a config.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.vram.planner import plan
from forebay.workers.engines.weights.digests import digest, file_digests, fresh_digest
from forebay.workers.engines.weights.headers import read_object
from forebay.workers.engines.weights.model_shape import Shape, read_shape

_LICENCE_LINE = re.compile(r"^license(?:_name)?:\s*([\w.+-]+)\s*$", re.MULTILINE)
_MAX_CARD_BYTES = 1 << 20
_LICENCE_TITLES = {"Apache License": "apache-2.0", "MIT License": "mit", "LLAMA": "llama"}
_TITLE_CHARS = 500  # of a licence; its title stands there


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        name: its path inside the folder of all models.
        path: a GGUF file, or a folder with a config.json.
    """

    name: str
    path: Path

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self._files())

    @property
    def format(self) -> str:
        """`gguf`, `fp16`, or the quantization in config.json: exl2, exl3, gptq and others.

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
        """The architecture in config.json; `None` if it names none, and for a GGUF file.

        Raises:
            Misconfigured: config.json cannot be read.
        """
        names = self._config().get("architectures") if self.path.is_dir() else None
        return str(names[0])[:128] if isinstance(names, list) and names else None

    @property
    def licence(self) -> str | None:
        """The licence in the model card, else by the title of LICENSE; `None` without either."""
        folder = self.path if self.path.is_dir() else self.path.parent
        card = _read_start(folder / "README.md")
        head = card.split("---")[1] if card.startswith("---") and card.count("---") > 1 else ""
        named = [match[1] for match in _LICENCE_LINE.finditer(head)]
        if named:
            return named[-1] if named[0] == "other" else named[0]
        text = _read_start(folder / "LICENSE") or _read_start(folder / "LICENSE.txt")
        start = text[:_TITLE_CHARS]
        return next((name for title, name in _LICENCE_TITLES.items() if title in start), None)

    def shape(self) -> Shape | None:
        """Return the shape of a model for exl2 or exl3; `None` for a GGUF file.

        Raises:
            Misconfigured: The model is damaged, or no engine here runs its format or architecture.
        """
        return None if self.path.is_file() else read_shape(self.path)

    def fits(self, shape: Shape | None, vram_bytes: int | None) -> bool | None:
        """Return whether the card holds the model; `None` if its shape or the card is unknown."""
        return None if shape is None or vram_bytes is None else plan(shape, vram_bytes).fits

    def digests(self, *, fresh: bool) -> dict[str, str]:
        """Return the SHA-256 of each of its files by name.

        Args:
            fresh: read the files again, even if their digests are in the cache.

        Raises:
            Misconfigured: A file cannot be read.
        """
        if self.path.is_dir():
            return file_digests(self.path, fresh=fresh)
        try:
            return {self.path.name: (fresh_digest if fresh else digest)(self.path)}
        except OSError as error:
            raise Misconfigured(f"cannot be read: {error.strerror}", field=self.name) from None

    def _config(self) -> dict[str, Any]:
        return read_object(self.path / "config.json")

    def _files(self) -> Iterator[Path]:
        inside = self.path.iterdir() if self.path.is_dir() else [self.path]
        return (file for file in inside if file.is_file())


def local_models(root: Path) -> list[LocalModel]:
    """Return all models inside a folder, sorted by name, without hidden files and folders."""
    paths = [*root.rglob("*.gguf"), *(file.parent for file in root.rglob("config.json"))]
    by_name = {path.relative_to(root): path for path in paths if path != root}
    return [
        LocalModel(name.as_posix(), path)
        for name, path in sorted(by_name.items())
        if not any(part.startswith(".") for part in name.parts)
    ]


def unread_folders(root: Path) -> dict[Path, str]:
    """Return why a folder with weights is none of the `local_models`, by folder.

    Folders inside a model are no models either, because no engine reads them.
    """
    models = {model.path for model in local_models(root)}
    weights = {file.parent for file in root.rglob("*.safetensors")} - models
    return {
        path: _unread(path, root)
        for path in sorted(weights)
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
        and not models.intersection(path.parents)
    }


def _unread(path: Path, root: Path) -> str:
    if path == root:
        return "models must be in folders of their own inside FOREBAY_MODELS, which this folder is"
    return "it has weights and no config.json: is the download complete?"


def local_model(root: Path, name: str) -> LocalModel:
    """Return the model of this name.

    Raises:
        Misconfigured: There is no such model.
    """
    for model in local_models(root):
        if model.name == name:
            return model
    raise Misconfigured(f"there is no {name} in {root}", field="NAME")


def _read_start(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_CARD_BYTES).decode(errors="replace")
    except OSError:
        return ""
