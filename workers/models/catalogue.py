"""The names that commands give to models, and the folder in which models are kept."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from forebay.routing.errors import Misconfigured

DEFAULT_REVISION = "main"

_FILE_NAME = re.compile(
    r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<file>\w[\w.-]*(?:/\w[\w.-]*)*)@(?P<revision>[0-9a-f]{40})"
)
_FOLDER_NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w.-]*))?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Model:
    """A GGUF file of the hub, pinned by its commit and its SHA-256.

    Attributes:
        name: its short name, or `hf:OWNER/REPO/FILE@COMMIT`.
        repo: `owner/name`.
        file: path in the repository.
        revision: the commit, 40 hex digits.
        sha256: digest of the whole file, 64 lower-case hex digits.
        size: bytes; `None` outside of the catalogue.
        licence: an SPDX name, or where to read the licence.
        good_for: what the catalogue recommends the model for.
    """

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
        """The model's file on this machine, downloaded or not."""
        return folder() / self.repo / self.file


@dataclass(frozen=True, slots=True)
class DecisionModel:
    """A repository of the hub with GGUF files of a decision model, which answers `decide` alone.

    Attributes:
        repo: `owner/name`.
        parameters: how many the model has, such as `4B`.
        licence: an SPDX name.
        good_for: what the catalogue recommends the model for.
    """

    repo: str
    parameters: str
    licence: str
    good_for: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A model folder of the hub: EXL2, EXL3 or FP16.

    Attributes:
        name: `OWNER/REPO[@REVISION]`.
        repo: `owner/name`.
        revision: a branch, tag or commit.
    """

    name: str
    repo: str
    revision: str

    @property
    def path(self) -> Path:
        """The model's folder on this machine, downloaded or not."""
        return folder() / self.name


def folder() -> Path:
    """Return the folder of all models: FOREBAY_MODELS, else one in the user's data."""
    named = os.environ.get("FOREBAY_MODELS")
    return Path(named) if named else Path.home() / ".local/share/forebay/models"


def catalogue() -> list[Model]:
    """Return the models that have a short name."""
    return [Model(**entry) for entry in _listed("model")]


def decision_models() -> list[DecisionModel]:
    """Return the decision models that are known."""
    return [DecisionModel(**entry) for entry in _listed("decision_model")]


def _listed(table: str) -> list[dict[str, Any]]:
    text = (files("forebay.workers.models") / "catalogue.toml").read_text()
    entries: list[dict[str, Any]] = tomllib.loads(text)[table]
    return entries


def find(name: str, sha256: str | None = None) -> Model | Folder:
    """Return the model that a command names.

    Args:
        name: of the catalogue, `OWNER/REPO[@REVISION]`, or `hf:OWNER/REPO/FILE@COMMIT`.
        sha256: digest of the file; `hf:` needs it.

    Raises:
        Misconfigured: Nothing has this name, or the digest is missing or another.
    """
    if name.startswith("hf:"):
        return _pinned_file(name, (sha256 or "").lower())
    match = _FOLDER_NAME.fullmatch(name)
    if match and sha256 is None:
        return Folder(name, match["repo"], match["revision"] or DEFAULT_REVISION)
    known = {model.name: model for model in catalogue()}
    if name not in known:
        forms = "OWNER/REPO[@REVISION] or hf:..."
        raise Misconfigured(f"must be one of {', '.join(known)}, {forms}", field="NAME")
    if sha256 not in {None, known[name].sha256}:
        raise Misconfigured("is not the digest in the catalogue", field="--sha256")
    return known[name]


def _pinned_file(name: str, sha256: str) -> Model:
    match = _FILE_NAME.fullmatch(name)
    if not match:
        form = "hf:OWNER/REPO/FILE@COMMIT, with a commit of 40 hex digits: a branch moves"
        raise Misconfigured(f"must be {form}", field="NAME")
    if not _DIGEST.fullmatch(sha256):
        raise Misconfigured("is needed with hf:..., 64 hex digits", field="--sha256")
    licence = f"see https://huggingface.co/{match['repo']}"
    return Model(name, **match.groupdict(), sha256=sha256, size=None, licence=licence)
