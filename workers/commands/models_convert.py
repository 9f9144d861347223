"""`forebay models convert`: exllamav2's converter, after a check of all that would fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from forebay.routing.terminal.options import Json, argument, flag
from forebay.workers.engines.vram.card import card_bytes
from forebay.workers.engines.vram.planner import plan
from forebay.workers.engines.weights.model_shape import Shape
from forebay.workers.models.conversion import Conversion

Source = Annotated[Path, argument("MODEL_DIR", "FP16 or BF16 safetensors.")]
Target = Annotated[Path, argument("NEW_DIR", "Must not exist.")]
Bits = Annotated[
    float, typer.Option(metavar="BITS", min=2, max=8, help="Bits of a weight, on average.")
]
HeadBits = Annotated[
    int, typer.Option(metavar="BITS", help="Bits of the output head: 2 to 6, or 8.")
]
Work = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for intermediate files, or NEW_DIR.work.")
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Text to calibrate on, as parquet; without it exllamav2's own."
    ),
]
Measurement = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="measurement.json of an earlier conversion of this model."),
]
Check = Annotated[bool, flag("--check", "Only check whether it can be done.")]


def convert(
    source: Source,
    target: Target,
    *,
    bits: Bits,
    head_bits: HeadBits = 6,
    work: Work = None,
    calibration: Calibration = None,
    measurement: Measurement = None,
    check: Check = False,
    as_json: Json = False,
) -> None:
    """Convert a model from FP16 or BF16 to EXL2. Runs exllamav2's converter.

    Takes minutes to hours, and gigabytes beside the model (--work). If it is interrupted, the same
    command goes on where it was. Needs a machine that passes `forebay gpu check`. The work folder
    may be deleted afterwards; its measurement.json speeds up conversions of the same model to
    other sizes (--measurement).
    """
    from forebay.routing.settings import read  # noqa: PLC0415 - slow to import, like the settings
    from forebay.workers.engines.settings import EngineSettings  # noqa: PLC0415

    place = target.absolute()
    job = Conversion(
        source.absolute(), place, (work or place.with_name(f"{place.name}.work")).absolute(),
        bits, head_bits, _absolute(calibration), _absolute(measurement),
        fallback=read(EngineSettings).attention == "torch",
    )  # fmt: skip
    shape = job.check()
    result = {"model": str(place), "converted": not check}
    if not check:
        shape = job.run()
        result |= _sizes(shape)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo("it can be done" if check else _line(result))


def _absolute(path: Path | None) -> Path | None:
    return path and path.absolute()


def _sizes(shape: Shape) -> dict[str, Any]:
    card = card_bytes()
    fits = None if card is None else plan(shape, card).fits
    return {"bits": round(shape.bits, 3), "weights_bytes": shape.weights_bytes, "fits": fits}


def _line(result: dict[str, Any]) -> str:
    fits = {True: "; fits this card", False: "; does not fit this card", None: ""}[result["fits"]]
    return f"{result['model']}: {result['bits']:.2f} bits a weight{fits}"
