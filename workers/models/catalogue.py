"""Which GGUF models have a short name, and where models are kept."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.routing.errors import Misconfigured

if TYPE_CHECKING:
    from forebay.workers.models.hub import Pinned

_HUB_NAME = re.compile(
    r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<file>\w[\w.-]*(?:/\w[\w.-]*)*)@(?P<revision>[0-9a-f]{40})"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue; `licence` is an SPDX name, or where to read it."""

    name: str
    repo: str
    file: str
    revision: str
    sha256: str
    size: int | None
    licence: str
    good_for: str = ""

    @property
    def path(self) -> Path:
        """Where it is, or will be, on this machine."""
        return folder() / self.repo / self.file

    def pinned(self) -> Pinned:
        """What to fetch."""
        from forebay.workers.models.hub import Pinned  # noqa: PLC0415 - 60 ms, and few commands download

        return Pinned(self.repo, self.file, self.revision, self.sha256, self.size)


def folder() -> Path:
    """Where models are kept."""
    named = os.environ.get("FOREBAY_MODELS")
    return Path(named) if named else Path.home() / ".local/share/forebay/models"


def catalogue() -> list[Model]:
    """The models that have a short name."""
    text = (files("forebay.workers.models") / "catalogue.toml").read_text()
    return [Model(**entry) for entry in tomllib.loads(text)["model"]]


def find(name: str, sha256: str | None = None) -> Model:
    """The model of this name.

    Raises:
        Misconfigured: There is none, or `hf:` without a commit and a digest.
    """
    if not name.startswith("hf:"):
        known = {model.name: model for model in catalogue()}
        if name not in known:
            raise Misconfigured(f"must be one of {', '.join(known)}, or hf:...", field="NAME")
        if sha256 not in {None, known[name].sha256}:
            raise Misconfigured("is not the one in the catalogue", field="--sha256")
        return known[name]
    match = _HUB_NAME.fullmatch(name)
    if not match:
        form = "hf:OWNER/REPO/FILE@COMMIT, with a commit of 40 hex digits: a branch moves"
        raise Misconfigured(f"must be {form}", field="NAME")
    if not _DIGEST.fullmatch((sha256 or "").lower()):
        raise Misconfigured("is needed with hf:..., 64 hex digits", field="--sha256")
    licence = f"see https://huggingface.co/{match['repo']}"
    return Model(name, **match.groupdict(), sha256=str(sha256).lower(), size=None, licence=licence)
