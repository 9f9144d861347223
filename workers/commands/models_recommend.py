"""`forebay models recommend`: which models fit a card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.columns import in_columns
from forebay.routing.terminal.options import Json
from forebay.workers.commands.options import Vram

if TYPE_CHECKING:
    from forebay.workers.models.recommendation import Recommendation

_GGUF = "gguf: on the card only with an xllamacpp built for it; its memory is an estimate"
_HEADER = ("NAME", "FORMAT", "LICENCE", "WEIGHTS", "CONTEXT", "BATCH", "CACHE")


def recommend(*, vram_mib: Vram = None, as_json: Json = False) -> None:
    """List models that fit a card. Also with which context and batch.

    The largest comes first; fetch one with `forebay models pull NAME`. All is planned from facts
    about the models: check the real files with `forebay plan` after the download. Models that would
    have room for short jobs only are left out. GGUF models need a build of llama.cpp for the GPU,
    and their memory is an estimate. Exit code 1 if none fits.
    """
    from forebay.workers.engines.vram.card import card_bytes  # noqa: PLC0415 - only with a card
    from forebay.workers.models.recommendation import recommendations  # noqa: PLC0415 - 60 ms

    card = card_bytes() if vram_mib is None else vram_mib << 20
    if card is None:
        raise Misconfigured("is needed: nvidia-smi names no card here", field="--vram-mib")
    found = recommendations(card)
    if as_json:
        typer.echo(json.dumps([_row(one) for one in found]))
    elif found:
        typer.echo("\n".join(in_columns([_HEADER, *map(_cells, found)])))
        typer.echo("\nfetch one: `forebay models pull NAME`", err=True)
        if any(one.model.format == "gguf" for one in found):
            typer.echo(_GGUF, err=True)
    if not found:
        typer.echo(f"no model of the list fits {card >> 20} MiB", err=True)
        raise typer.Exit(1)


def _row(one: Recommendation) -> dict[str, Any]:
    model, plan = one.model, one.plan
    return {
        "name": model.name, "format": model.format, "licence": model.licence,
        "revision": model.revision, "source": model.source, "bits": round(model.shape.bits, 3),
        "weights_bytes": model.shape.weights_bytes, "total_bytes": plan.total_bytes,
        "context": plan.context, "batch": plan.batch, "cache_mode": plan.cache_mode,
        "estimate": model.format == "gguf", "settings": one.settings,
        "pull": f"forebay models pull {model.name}",
    }  # fmt: skip


def _cells(one: Recommendation) -> tuple[str, ...]:
    model, plan = one.model, one.plan
    size = f"{model.shape.weights_bytes / 1e9:.1f} GB"
    numbers = (f"{plan.context:,}", str(plan.batch), plan.cache_mode)
    return (model.name, model.format, model.licence, size, *numbers)
