"""`forebay models verify`: compare every model with its pin, its download or the catalogue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.options import Json, option
from forebay.workers.models.catalogue import catalogue, folder

if TYPE_CHECKING:
    from forebay.workers.models.local_models import LocalModel
    from forebay.workers.models.pins import Lock

LockFile = Annotated[Path, option("--lock", "FILE", "The file of pins, to be committed.")]
LOCK = Path("models.lock")
_NO_DIGEST = "it has no pin, and no digests of its download"


@dataclass
class Findings:
    """What was compared.

    Attributes:
        files: whether a model has the digests of its download, by path.
        models: how a pinned model differs from its pin, by name.
        unverified: why a model or a folder could not be compared, by path.
    """

    files: dict[str, bool] = field(default_factory=dict)
    models: dict[str, list[str]] = field(default_factory=dict)
    unverified: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """True if every model was compared, and none differs."""
        return all(self.files.values()) and not any(self.models.values()) and not self.unverified

    def print(self) -> None:
        """Print a line for each model, and one for each difference."""
        for file, right in self.files.items():
            typer.echo(f"{'ok  ' if right else 'BAD '}  {file}")
        for name, lines in self.models.items():
            typer.echo(f"{'BAD ' if lines else 'ok  '}  {name}")
            for line in lines:
                typer.echo(f"        {line}")
        for path, reason in self.unverified.items():
            typer.echo(f"NOT VERIFIED  {path}\n        {reason}")
        if not (self.files or self.models or self.unverified):
            typer.echo(f"no models in {folder()}", err=True)


def verify(*, lock: LockFile = LOCK, as_json: Json = False) -> None:
    """Check every model again. Compares its SHA-256 with its pin, or its download.

    Exit code 1 if a model differs, if a pinned model is not here, or if a model has neither a pin
    nor the digests of its download.
    """
    from forebay.workers.models.pins import read_lock  # noqa: PLC0415 - 60 ms

    pins = read_lock(lock)
    if pins is None and lock != LOCK:
        raise Misconfigured("there is no such file", field="--lock")
    findings = _compare(pins)
    if as_json:
        found = {"files": findings.files, "models": findings.models}
        found |= {"unverified": findings.unverified}
        typer.echo(json.dumps({"ok": findings.good, **found}))
    else:
        findings.print()
    if not findings.good:
        raise typer.Exit(1)


def _compare(pins: Lock | None) -> Findings:
    from forebay.workers.models.checksums import is_intact  # noqa: PLC0415 - only `verify` needs it
    from forebay.workers.models.local_models import local_models, unread_folders  # noqa: PLC0415 - 60 ms

    root = folder()
    here = local_models(root)
    findings = Findings(models=_differences(pins, here))
    listed = {model.path: model.sha256 for model in catalogue()}
    for model in (one for one in here if one.name not in findings.models):
        digest = listed.get(model.path)
        if digest is None and not _has_checksums(model.path):
            findings.unverified[str(model.path)] = f"{_NO_DIGEST}: forebay models pin {model.name}"
        else:
            expected = {model.path.name: digest} if digest else None
            findings.files[str(model.path)] = is_intact(model.path, expected)
    findings.unverified |= {str(path): reason for path, reason in unread_folders(root).items()}
    _compare_used(root, findings)
    return findings


def _differences(pins: Lock | None, models: list[LocalModel]) -> dict[str, list[str]]:
    """Return how each pinned model differs from its pin, by name."""
    from forebay.workers.models.pins import differences  # noqa: PLC0415 - 60 ms

    here = {model.name: model for model in models}
    pinned = pins.models if pins else {}
    return {name: list(differences(pin, here.get(name))) for name, pin in pinned.items()}


def _has_checksums(path: Path) -> bool:
    from forebay.workers.models.checksums import checksum_file  # noqa: PLC0415 - only `verify` reads them

    return checksum_file(path).is_file()


def _compare_used(root: Path, findings: Findings) -> None:
    """Compare the models that a worker of this environment uses and that lie outside of `root`."""
    from forebay.routing.settings import read  # noqa: PLC0415 - only `verify` needs them
    from forebay.workers.engines.settings import (  # noqa: PLC0415 - only `verify` needs them
        EngineSettings,
        SecondEngineSettings,
    )
    from forebay.workers.models.checksums import is_intact  # noqa: PLC0415

    both = read(EngineSettings), read(SecondEngineSettings)
    used = {path for one in both for path in (one.model_file, one.model_dir) if path is not None}
    for path in sorted(path.expanduser().resolve() for path in used):
        if not path.exists() or path.is_relative_to(root.resolve()):
            continue
        if _has_checksums(path):
            findings.files[str(path)] = is_intact(path)
        else:
            findings.unverified[str(path)] = f"{_NO_DIGEST}: move it into {root} and pin it"
