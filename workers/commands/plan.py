"""`forebay plan`: say whether a model fits a card, and which settings to choose."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.options import Json, argument, option, ungrouped
from forebay.workers.commands.options import Vram
from forebay.workers.engines.vram.card import card_bytes
from forebay.workers.engines.vram.exl2_footprint import DEFAULT_DQ, scratch_bytes
from forebay.workers.engines.vram.footprint import MIB, MODES, CacheMode
from forebay.workers.engines.vram.planner import (
    FULL_BATCH,
    Plan,
    default_context,
    footprint_of,
    max_cache_tokens,
)
from forebay.workers.engines.vram.planner import plan as make_plan
from forebay.workers.engines.vram.remedies import remedies
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.model_shape import Shape, read_shape

if TYPE_CHECKING:
    from rich.table import Table

app = ungrouped()

HELP = """Say whether a model fits this card. Also with which cache, context and batch.

Reads config.json and the headers of the weights; loads nothing and needs no card. EXL2, GPTQ and
FP16 models are planned for the exl2 engine, EXL3 models for the exl3 engine (and FP16 models with
--engine exl3). Options that are not given are chosen. Every job of the batch may be as long as the
context. Exit code 1 if the model does not fit.

With --json, kv_bytes_per_token includes the one layer of exl2's quantized cache that is unpacked
at a time. max_cache_tokens is for the tuned scratch and for the given context and batch (without
them, for 16,384 tokens or the model's own limit, and 16 jobs). exl3 has no max_dq_size; its
scratch is an upper bound that has not been measured on a card yet.
"""

Folder = Annotated[Path, argument("MODEL_DIR", "With config.json and weights.")]
Engine = Annotated[
    GpuEngineName | None, typer.Option("--engine", help="To plan for; without it, by the format.")
]
Mode = Annotated[
    CacheMode | None, typer.Option("--cache-mode", help="How keys and values are stored.")
]
Context = Annotated[
    int | None, option("--context", "TOKENS", "Tokens of the longest job, answer included.", min=1)
]
Batch = Annotated[int | None, option("--batch", "N", "Jobs at once.", min=1)]
Reserve = Annotated[
    int,
    option(
        "--reserve-mib",
        "MIB",
        "Memory for other programs on the card, such as a display.",
        min=0,
    ),
]


@dataclass(frozen=True, slots=True)
class Report:
    """A plan, and the context and batch that its limits are computed for."""

    folder: Path
    shape: Shape
    plan: Plan
    context: int
    batch: int

    def room(self, mode: CacheMode) -> int:
        """Return the tokens of cache that the card has room for."""
        return max_cache_tokens(
            self.shape, self.plan.vram_bytes, mode, context=self.context, batch=self.batch
        )

    def document(self) -> dict[str, Any]:
        """Return the document of `--json`."""
        shape, plan = self.shape, self.plan
        tuned, token_bytes = plan.parts["scratch"], footprint_of(shape).kv_bytes_per_token
        default = scratch_bytes(shape, DEFAULT_DQ) if shape.engine == "exl2" else tuned
        return {
            "model": str(self.folder), "architecture": shape.architecture, "format": shape.format,
            "engine": shape.engine, "bits": round(shape.bits, 3), "max_context": shape.max_context,
            "fits": plan.fits, "vram_bytes": plan.vram_bytes, "total_bytes": plan.total_bytes,
            "weights_bytes": shape.weights_bytes, "host_bytes": shape.embedding_bytes,
            "kv_bytes_per_token": {mode: token_bytes(shape, mode) for mode in MODES},
            "scratch_bytes": {"default": default, "tuned": tuned},
            "max_cache_tokens": {mode: self.room(mode) for mode in MODES},
            "plan": {
                "cache_mode": plan.cache_mode, "context": plan.context, "batch": plan.batch,
                "cache_tokens": plan.cache_tokens, "parts": dict(plan.parts),
            },
            "recommended": plan.recommended and asdict(plan.recommended),
            "remedies": self.remedies(),
        }  # fmt: skip

    def remedies(self) -> list[str]:
        """Return the single changes that help, if the plan does not fit."""
        if self.plan.fits:
            return []
        return [str(remedy) for remedy in remedies(self.shape, self.plan)]

    def table(self) -> Table:
        """Return the parts of the plan as a table."""
        from rich.table import Table  # noqa: PLC0415 - 100 ms, and --json does not need it

        plan = self.plan
        title = f"{self.folder.name}: {self.shape.architecture}, {self.shape.format}"
        table = Table("part", "MiB", title=f"{title}, {self.shape.bits:.2f} bits a weight")
        table.columns[1].justify = "right"
        for name, size in sorted(plan.parts.items(), key=lambda part: -part[1]):
            table.add_row(name, f"{size / MIB:,.0f}")
        table.add_section()
        table.add_row("together", f"{plan.total_bytes / MIB:,.0f}")
        table.add_row("card", f"{plan.vram_bytes / MIB:,.0f}")
        return table


@app.command(help=HELP)
def plan(  # noqa: D103 - HELP is its help
    folder: Folder,
    *,
    engine: Engine = None,
    vram_mib: Vram = None,
    cache_mode: Mode = None,
    context: Context = None,
    batch: Batch = None,
    reserve_mib: Reserve = 0,
    as_json: Json = False,
) -> None:
    shape = read_shape(folder, engine)
    card = _card(vram_mib) - reserve_mib * MIB
    planned = make_plan(shape, card, cache_mode=cache_mode, context=context, batch=batch)
    limits = context or default_context(shape), batch or FULL_BATCH
    report = Report(folder, shape, planned, *limits)
    if as_json:
        typer.echo(json.dumps(report.document()))
    else:
        _show(report)
    if not planned.fits:
        raise typer.Exit(1)


def _card(vram_mib: int | None) -> int:
    size = card_bytes() if vram_mib is None else vram_mib * MIB
    if size is None:
        raise Misconfigured("is needed: nvidia-smi names no card here", field="--vram-mib")
    return size


def _show(report: Report) -> None:
    from rich.console import Console  # noqa: PLC0415 - 100 ms, and --json does not need it

    plan = report.plan
    Console().print(report.table())
    verdict = "Fits" if plan.fits else "Does not fit"
    typer.echo(f"{verdict}: {_layout(plan)}.")
    for remedy in report.remedies():
        typer.echo(f"  would fit: {remedy}")
    if not plan.fits and plan.recommended:
        best = plan.recommended
        typer.echo(
            f"  the largest that fits: --cache-mode {best.cache_mode} --context {best.context} "
            f"--batch {best.batch}"
        )
    rooms = ", ".join(f"{mode} {report.room(mode):,}" for mode in MODES)
    work = f"{report.batch} jobs of up to {report.context:,} tokens"
    typer.echo(f"With {work}, the card has room for so many tokens of cache: {rooms}.")


def _layout(plan: Plan) -> str:
    layout = (
        f"{plan.batch} jobs of {plan.context:,} tokens at once, a {plan.cache_mode} cache of "
        f"{plan.cache_tokens:,} tokens"
    )
    return layout if plan.max_dq_size is None else f"{layout}, max_dq_size {plan.max_dq_size:,}"
