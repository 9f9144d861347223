"""`forebay models`: list, fetch, pin, verify and convert the local models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.workers.commands.models_convert import convert
from forebay.workers.models.catalogue import Model, catalogue, find, folder

if TYPE_CHECKING:
    from forebay.workers.models.hub import Report
    from forebay.workers.models.local_models import LocalModel
    from forebay.workers.models.pins import Lock

app = typer.Typer(
    help="List, download, pin, verify and convert local models.",
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

Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the catalogue, or hf:...")]
MaybeName = Annotated[str | None, typer.Argument(metavar="[NAME]")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="As `list` shows them; else all.")
]
Digest = Annotated[
    str | None, typer.Option("--sha256", metavar="HEX", help="Of the file; needed with hf:...")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence without being asked.")]
Vram = Annotated[
    int | None, typer.Option("--vram-mib", min=1, help="Of the card; else what nvidia-smi says.")
]
LockFile = Annotated[Path, typer.Option("--lock", help="The file of pins, to be committed.")]
LOCK = Path("models.lock")


@app.command("list")
def list_models(*, vram_mib: Vram = None, as_json: Json = False) -> None:
    """Show the catalogue and what is here. Format, bits, licence, and whether it fits the card."""
    from forebay.workers.engines.vram.card import card_bytes  # noqa: PLC0415 - only this command needs it

    card = card_bytes() if vram_mib is None else vram_mib << 20
    known = catalogue()
    rows = [_row(model) for model in known]
    local = [_local(model, card) for model in _others(known)]
    if as_json:
        _document(rows + local)
        return
    for row in rows:
        here = "here" if row["here"] else "-"
        size = f"{row['size'] / 1e9:.1f} GB"
        typer.echo(f"{row['name']:14} {size:>7}  {row['licence']:11} {here:5} {row['good_for']}")
    for row in local:
        typer.echo(_line(row))


@app.command(help=PULL)
def pull(  # noqa: D103 - its help says it
    name: Name, *, sha256: Digest = None, yes: Yes = False, as_json: Json = False
) -> None:
    from forebay.workers.models.hub import fetch  # noqa: PLC0415 - 60 ms, and few commands download

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
    """Print where a fetched model is. Without NAME, the folder of all."""
    model = find(name) if name else None
    if model and not model.path.exists():
        raise Misconfigured(f"is not here yet: forebay models pull {name}", field="NAME")
    place = str(model.path if model else folder())
    if as_json:
        _document({"path": place})
    else:
        typer.echo(place)


@app.command()
def verify(*, lock: LockFile = LOCK, as_json: Json = False) -> None:
    """Read every model again. Compares its SHA-256 with that of its pin, or of its download.

    Exit code 1 when one differs, or a pinned one is not here.
    """
    from forebay.workers.models.pins import read_lock  # noqa: PLC0415 - 60 ms

    pins = read_lock(lock)
    if pins is None and lock != LOCK:
        raise Misconfigured("there is no such file", field="--lock")
    wrong = _wrong(pins) if pins else {}
    files = [file for file in sorted(folder().rglob("*.gguf")) if _name(file) not in wrong]
    checked = {str(file): _is_right(file) for file in files}
    good = all(checked.values()) and not any(wrong.values())
    if as_json:
        _document({"ok": good, "files": checked, "models": wrong})
    else:
        _show(checked, wrong)
    if not good:
        raise typer.Exit(1)


@app.command()
def pin(names: Names = None, *, lock: LockFile = LOCK, as_json: Json = False) -> None:
    """Write down what models are now. Every file's SHA-256, for `verify` to compare."""
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
        _document({"lock": str(lock), "pinned": pinned})
        return
    for name, digest in pinned.items():
        old = before.models.get(name)
        was = f" (was {old.digest[:12]})" if old and old.digest != digest else ""
        typer.echo(f"{digest[:12]}  {name}{was}")


app.command()(convert)


def _is_right(file: Path) -> bool:
    """By the catalogue where it is in there, else by the digest that it was fetched under."""
    from forebay.workers.models.hub import digest_file, sha256  # noqa: PLC0415 - 60 ms

    pinned = {model.path: model.sha256 for model in catalogue()}.get(file)
    try:
        return sha256(file) == (pinned or digest_file(file).read_text()[:64])
    except OSError:
        return False


def _others(known: list[Model]) -> list[LocalModel]:
    """What is here and has no line of the catalogue."""
    from forebay.workers.models.local_models import local_models  # noqa: PLC0415 - 60 ms

    listed = {model.path for model in known}
    return [model for model in local_models(folder()) if model.path not in listed]


def _local(model: LocalModel, card: int | None) -> dict[str, Any]:
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


def _line(row: dict[str, Any]) -> str:
    fits = {True: "fits", False: "does not fit", None: ""}[row["fits"]]
    bits = f"{row['bits']:.2f} bits" if row["bits"] else ""
    said = (row["format"], row["architecture"], bits, fits, row["trouble"])
    about = ", ".join(part for part in said if part)
    licence = row["licence"] or "unknown"
    return f"{row['name']:14} {row['size'] / 1e9:.1f} GB  {licence:11} here  {about}"


def _name(file: Path) -> str:
    return file.relative_to(folder()).as_posix()


def _wrong(pins: Lock) -> dict[str, list[str]]:
    """By pinned model, how it differs."""
    from forebay.workers.models.local_models import local_models  # noqa: PLC0415 - 60 ms
    from forebay.workers.models.pins import differences  # noqa: PLC0415

    here = {model.name: model for model in local_models(folder())}
    return {name: list(differences(pin, here.get(name))) for name, pin in pins.models.items()}


def _show(checked: dict[str, bool], wrong: dict[str, list[str]]) -> None:
    for file, right in checked.items():
        typer.echo(f"{'ok  ' if right else 'BAD '}  {file}")
    for name, lines in wrong.items():
        typer.echo(f"{'BAD ' if lines else 'ok  '}  {name}")
        for line in lines:
            typer.echo(f"        {line}")
    if not checked and not wrong:
        typer.echo(f"no models in {folder()}", err=True)


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
