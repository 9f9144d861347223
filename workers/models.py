"""`forebay models`: better models than the packaged one, pinned by revision and SHA-256."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routing.errors import Misconfigured

if TYPE_CHECKING:
    from workers.hub import Pinned, Report

app = typer.Typer(
    help="Models of the llamacpp engine: what there is, what is here, and fetching more.",
    no_args_is_help=True, rich_markup_mode=None, add_completion=False,
)  # fmt: skip

PULL = """Fetch a model, check it, and print the setting that uses it.

\b
NAME is one of `forebay models list`, or any GGUF file of the Hugging Face hub:
  forebay models pull qwen2.5-1.5b
  forebay models pull hf:OWNER/REPO/FILE@COMMIT --sha256 DIGEST

A download that broke off goes on where it was. HF_ENDPOINT names a mirror, FOREBAY_MODELS another
folder than ~/.local/share/forebay/models; https_proxy and no_proxy are honoured.
"""

_HUB_NAME = re.compile(
    r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<file>\w[\w.-]*(?:/\w[\w.-]*)*)@(?P<revision>[0-9a-f]{40})"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")

Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the catalogue, or hf:...")]
MaybeName = Annotated[str | None, typer.Argument(metavar="[NAME]")]
Digest = Annotated[
    str | None, typer.Option("--sha256", metavar="HEX", help="Of the file; needed with hf:...")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence without being asked.")]


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
        from workers.hub import Pinned  # noqa: PLC0415 - 60 ms, and few commands download

        return Pinned(self.repo, self.file, self.revision, self.sha256, self.size)


def folder() -> Path:
    """Where models are kept."""
    named = os.environ.get("FOREBAY_MODELS")
    return Path(named) if named else Path.home() / ".local/share/forebay/models"


def catalogue() -> list[Model]:
    """The models that have a short name."""
    text = (files("workers") / "catalogue.toml").read_text()
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


@app.command("list")
def list_models(*, as_json: Json = False) -> None:
    """Show the catalogue, and what of it is here."""
    rows = [_row(model) for model in catalogue()]
    if as_json:
        _document(rows)
        return
    for row in rows:
        here = "here" if row["here"] else "-"
        size = f"{row['size'] / 1e9:.1f} GB"
        typer.echo(f"{row['name']:14} {size:>7}  {row['licence']:11} {here:5} {row['good_for']}")


@app.command(help=PULL)
def pull(  # noqa: D103 - its help says it
    name: Name, *, sha256: Digest = None, yes: Yes = False, as_json: Json = False
) -> None:
    from workers.hub import fetch  # noqa: PLC0415 - 60 ms, and few commands download

    model = find(name, sha256)
    if not yes and not model.path.exists():
        _consent(model)
    with _bar(model) as report:
        fetch(model.pinned(), model.path, report)
    setting = f"FOREBAY_MODEL_FILE={model.path}"
    if as_json:
        _document({**_row(model), "setting": setting})
    else:
        typer.echo(setting)


@app.command()
def path(name: MaybeName = None, *, as_json: Json = False) -> None:
    """Print where a fetched model is, or without NAME the folder of all."""
    model = find(name) if name else None
    if model and not model.path.exists():
        raise Misconfigured(f"is not here yet: forebay models pull {name}", field="NAME")
    place = str(model.path if model else folder())
    if as_json:
        _document({"path": place})
    else:
        typer.echo(place)


@app.command()
def verify(*, as_json: Json = False) -> None:
    """Read every fetched model again and compare its SHA-256. Exit code 1 when one differs."""
    checked = {str(file): _is_right(file) for file in sorted(folder().rglob("*.gguf"))}
    if as_json:
        _document({"ok": all(checked.values()), "files": checked})
    else:
        for file, right in checked.items():
            typer.echo(f"{'ok  ' if right else 'BAD '}  {file}")
        if not checked:
            typer.echo(f"no models in {folder()}", err=True)
    if not all(checked.values()):
        raise typer.Exit(1)


def _is_right(file: Path) -> bool:
    """By the catalogue where it is in there, else by the digest that it was fetched under."""
    from workers.hub import digest_file, sha256  # noqa: PLC0415 - 60 ms

    pinned = {model.path: model.sha256 for model in catalogue()}.get(file)
    try:
        return sha256(file) == (pinned or digest_file(file).read_text()[:64])
    except OSError:
        return False


def _consent(model: Model) -> None:
    size = f"{model.size / 1e9:.1f} GB" if model.size else "of a size the hub will say"
    typer.echo(f"{model.repo}/{model.file}, {size}. Licence: {model.licence}", err=True)
    if not sys.stdin.isatty():
        raise Misconfigured("is needed where nobody can be asked", field="--yes")
    if not typer.confirm("Fetch it under this licence?", err=True):
        raise typer.Exit(1)


@contextmanager
def _bar(model: Model) -> Iterator[Report]:
    """A bar on a terminal's stderr, nothing elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - 150 ms, and few commands download
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )  # fmt: skip

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(model.name, total=model.size)
        yield lambda so_far, total: progress.update(task, completed=so_far, total=total)


def _row(model: Model) -> dict[str, Any]:
    return {
        "name": model.name, "repo": model.repo, "file": model.file, "revision": model.revision,
        "sha256": model.sha256, "size": model.size, "licence": model.licence,
        "good_for": model.good_for, "here": model.path.exists(), "path": str(model.path),
    }  # fmt: skip


def _document(data: Any) -> None:
    typer.echo(json.dumps(data))
