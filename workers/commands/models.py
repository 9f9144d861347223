"""`forebay models`: list, recommend, download, pin, verify and convert models."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.columns import in_columns
from forebay.routing.terminal.options import Json, argument, group, option
from forebay.workers.commands.drift.command import drift
from forebay.workers.commands.models_convert import convert
from forebay.workers.commands.models_recommend import recommend
from forebay.workers.commands.models_verify import LOCK, LockFile, verify
from forebay.workers.commands.options import Vram
from forebay.workers.models.catalogue import (
    DecisionModel,
    Folder,
    Model,
    catalogue,
    decision_models,
    find,
    folder,
)

if TYPE_CHECKING:
    from forebay.workers.models.hub import Snapshot
    from forebay.workers.models.local_models import LocalModel

app = group("List, recommend, download, pin, verify and convert models.")

PULL = """Download a model, check it, and print the setting that uses it.

NAME is one of `forebay models list`, the folder of an EXL2, EXL3 or FP16 model on the Hugging Face
hub (REVISION is a branch, tag or commit), or any of its GGUF files:

\b
  forebay models pull qwen2.5-1.5b
  forebay models pull OWNER/REPO@REVISION
  forebay models pull hf:OWNER/REPO/FILE@COMMIT --sha256 DIGEST

An interrupted download goes on where it was. A folder that is pinned in models.lock must have the
digests of its pin. HF_TOKEN is the token for gated and private models, HF_ENDPOINT names a mirror,
FOREBAY_MODELS another folder than ~/.local/share/forebay/models; https_proxy and no_proxy are
honoured. Needs the extra `models`.
"""

Name = Annotated[str, argument("NAME", "Of the catalogue, OWNER/REPO[@REVISION], or hf:...")]
MaybeName = Annotated[str | None, typer.Argument(metavar="[NAME]")]
Names = Annotated[
    list[str] | None, argument("[NAME]...", "As `list` shows them; without any, all models.")
]
Digest = Annotated[str | None, option("--sha256", "HEX", "Of the file; needed with hf:...")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence without being asked.")]
_HEADER = ("NAME", "SIZE", "LICENCE", "HERE", "ABOUT")
_DECIDING = ("DECISION MODEL", "SIZE", "LICENCE", "ABOUT")
_PULL_DECIDING = (
    "Decision models answer `decide` alone; "
    "`forebay models pull hf:REPO/FILE@COMMIT --sha256 DIGEST` gets one"
)


@app.command("list")
def list_models(*, vram_mib: Vram = None, as_json: Json = False) -> None:
    """List the catalogue, decision models, and what is here. Says which models fit the card."""
    from forebay.workers.engines.vram.card import card_bytes  # noqa: PLC0415 - only this command needs it

    card = card_bytes() if vram_mib is None else vram_mib << 20
    known = catalogue()
    rows = [_catalogue_row(model) for model in known]
    local = [_local_row(model, card) for model in _uncatalogued(known)]
    deciding = [{**asdict(model), "decides": True} for model in decision_models()]
    if as_json:
        _print_json(rows + local + deciding)
        return
    table = [_HEADER, *map(_catalogue_cells, rows), *map(_local_cells, local)]
    typer.echo("\n".join(in_columns(table)))
    if not all(row["here"] for row in rows):
        typer.echo("\n-: not downloaded yet; `forebay models pull NAME` does it", err=True)
    typer.echo()
    typer.echo("\n".join(in_columns([_DECIDING, *map(_decision_cells, decision_models())])))
    typer.echo(f"\n{_PULL_DECIDING}", err=True)


@app.command(help=PULL)
def pull(  # noqa: D103 - PULL is its help
    name: Name,
    *,
    sha256: Digest = None,
    yes: Yes = False,
    lock: LockFile = LOCK,
    as_json: Json = False,
) -> None:
    model = find(name, sha256)
    if isinstance(model, Folder):
        row = _pull_folder(model, lock, yes=yes, quiet=as_json)
    else:
        row = _pull_file(model, yes=yes, quiet=as_json)
    if as_json:
        _print_json(row)
    else:
        typer.echo(row["setting"])


@app.command()
def path(name: MaybeName = None, *, as_json: Json = False) -> None:
    """Print the path of a downloaded model. Without NAME, of the folder of all models."""
    model = find(name) if name else None
    if model and not model.path.exists():
        raise Misconfigured(f"is not here yet: forebay models pull {name}", field="NAME")
    place = str(model.path if model else folder())
    if as_json:
        _print_json({"path": place})
    else:
        typer.echo(place)


@app.command()
def pin(names: Names = None, *, lock: LockFile = LOCK, as_json: Json = False) -> None:
    """Pin models as they are now. Writes every file's SHA-256, for `verify` and `pull`."""
    from forebay.workers.models.local_models import local_model, local_models  # noqa: PLC0415 - 60 ms
    from forebay.workers.models.pins import Lock, make_pin, read_lock  # noqa: PLC0415

    root = folder()
    chosen = [local_model(root, name) for name in names] if names else local_models(root)
    if not chosen:
        raise Misconfigured(f"there is no model in {root}", field="NAME")
    before = read_lock(lock) or Lock()
    after = before
    for model in chosen:
        after = after.with_pin(model.name, make_pin(model))
    after.write(lock)
    pinned = {model.name: after.models[model.name].digest for model in chosen}
    if as_json:
        _print_json({"lock": str(lock), "pinned": pinned})
        return
    for name, digest in pinned.items():
        old = before.models.get(name)
        was = f" (was {old.digest[:12]})" if old and old.digest != digest else ""
        typer.echo(f"{digest[:12]}  {name}{was}")


app.command()(recommend)
app.command()(verify)
app.command()(convert)
app.command()(drift)


def _pull_file(model: Model, *, yes: bool, quiet: bool) -> dict[str, Any]:
    from forebay.workers.models.pull import pull_file  # noqa: PLC0415 - 400 ms, and only `pull` downloads

    if not yes and not model.path.exists():
        size = f"{model.size / 1e9:.1f} GB" if model.size else "of a size the hub will say"
        _ask_consent(f"{model.repo}/{model.file}, {size}", model.licence)
    pull_file(model, quiet=quiet)
    return {**_catalogue_row(model), "setting": f"FOREBAY_MODEL_FILE={model.path}"}


def _pull_folder(model: Folder, lock: Path, *, yes: bool, quiet: bool) -> dict[str, Any]:
    from forebay.workers.models.hub import find_snapshot  # noqa: PLC0415 - 400 ms, and only `pull` downloads
    from forebay.workers.models.pins import read_lock  # noqa: PLC0415
    from forebay.workers.models.pull import pull_folder  # noqa: PLC0415

    pins = read_lock(lock)
    pin = pins.models.get(model.name) if pins else None
    snapshot = find_snapshot(model.repo, model.revision)
    if not yes and not model.path.exists():
        what = f"{model.repo} at {snapshot.commit[:12]}, {snapshot.size / 1e9:.1f} GB"
        _ask_consent(what, _folder_licence(snapshot))
    pull_folder(snapshot, model.path, pin.files if pin else None, quiet=quiet)
    return {
        "name": model.name, "repo": model.repo, "revision": snapshot.commit,
        "size": snapshot.size, "licence": _folder_licence(snapshot), "here": True,
        "path": str(model.path), "setting": f"FOREBAY_MODEL_DIR={model.path}",
    }  # fmt: skip


def _folder_licence(snapshot: Snapshot) -> str:
    return snapshot.licence or f"see https://huggingface.co/{snapshot.repo}"


def _ask_consent(download: str, licence: str) -> None:
    typer.echo(f"{download}. Licence: {licence}", err=True)
    if not sys.stdin.isatty():
        raise Misconfigured("is needed if stdin is not a terminal", field="--yes")
    if not typer.confirm("Download it under this licence?", err=True):
        raise typer.Exit(1)


def _uncatalogued(known: list[Model]) -> list[LocalModel]:
    """Return the models on this machine that have no line in the catalogue."""
    from forebay.workers.models.local_models import local_models  # noqa: PLC0415 - 60 ms

    listed = {model.path for model in known}
    return [model for model in local_models(folder()) if model.path not in listed]


def _catalogue_row(model: Model) -> dict[str, Any]:
    return {
        "name": model.name, "repo": model.repo, "file": model.file, "revision": model.revision,
        "sha256": model.sha256, "size": model.size, "licence": model.licence,
        "good_for": model.good_for, "here": model.path.exists(), "path": str(model.path),
    }  # fmt: skip


def _local_row(model: LocalModel, card: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": model.name, "path": str(model.path), "here": True, "size": model.size,
        "licence": model.licence, "format": None, "architecture": None, "bits": None,
        "fits": None, "trouble": None,
    }  # fmt: skip
    try:
        row |= {"format": model.format, "architecture": model.architecture}
        shape = model.shape()
    except Misconfigured as error:
        return row | {"trouble": str(error)}
    return row | {"bits": shape and round(shape.bits, 3), "fits": model.fits(shape, card)}


def _catalogue_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a model of the catalogue under `_HEADER`."""
    here = "here" if row["here"] else "-"
    return row["name"], f"{row['size'] / 1e9:.1f} GB", row["licence"], here, row["good_for"]


def _decision_cells(model: DecisionModel) -> tuple[str, ...]:
    """Return a decision model under `_DECIDING`."""
    return model.name, model.parameters, model.licence, model.good_for


def _local_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a model of this machine under `_HEADER`."""
    fits = {True: "fits", False: "does not fit", None: ""}[row["fits"]]
    bits = f"{row['bits']:.2f} bits" if row["bits"] else ""
    facts = (row["format"], row["architecture"], bits, fits, row["trouble"])
    about = ", ".join(fact for fact in facts if fact)
    return row["name"], f"{row['size'] / 1e9:.1f} GB", row["licence"] or "unknown", "here", about


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data))
