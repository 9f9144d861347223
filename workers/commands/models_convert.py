"""`forebay models convert`: exllamav2's converter, with its traps looked for first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from forebay.workers.engines.vram.card import card_bytes
from forebay.workers.engines.vram.planner import plan
from forebay.workers.engines.weights.model_shape import Shape
from forebay.workers.models.conversion import Conversion

Source = Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="FP16 or BF16 safetensors.")]
Target = Annotated[Path, typer.Argument(metavar="NEW_DIR", help="Must not exist.")]
Bits = Annotated[float, typer.Option(min=2, max=8, help="Of a weight, on average.")]
HeadBits = Annotated[int, typer.Option(help="Of the output head: 2 to 6, or 8.")]
Work = Annotated[Path | None, typer.Option(help="What is made on the way; else NEW_DIR.work.")]
Calibration = Annotated[
    Path | None, typer.Option(help="Text to calibrate on, as parquet; else exllamav2's own.")
]
Measurement = Annotated[
    Path | None, typer.Option(help="measurement.json of an earlier conversion of this model.")
]
Check = Annotated[bool, typer.Option("--check", help="Only look whether it can be done.")]
Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]


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
    """Make an EXL2 model of one in FP16 or BF16. With exllamav2's converter.

    Takes minutes to hours, and gigabytes beside the model (--work). Interrupted, the same command
    goes on where it was. Needs what `forebay gpu check` asks for. The work folder may be deleted
    afterwards; its measurement.json makes other sizes of the same model quick (--measurement).
    """
    from forebay.routing.settings import read  # noqa: PLC0415 - slow, like the settings
    from forebay.workers.engines.settings import EngineSettings  # noqa: PLC0415

    place = target.absolute()
    job = Conversion(
        source.absolute(), place, (work or place.with_name(f"{place.name}.work")).absolute(),
        bits, head_bits, _absolute(calibration), _absolute(measurement),
        fallback=read(EngineSettings).attention == "torch",
    )  # fmt: skip
    shape = job.check()
    said = {"model": str(place), "converted": not check}
    if not check:
        shape = job.run()
        said |= _result(shape)
    if as_json:
        typer.echo(json.dumps(said))
    else:
        typer.echo("it can be done" if check else _line(said))


def _absolute(path: Path | None) -> Path | None:
    return path and path.absolute()


def _result(shape: Shape) -> dict[str, Any]:
    card = card_bytes()
    fits = None if card is None else plan(shape, card).fits
    return {"bits": round(shape.bits, 3), "weights_bytes": shape.weights_bytes, "fits": fits}


def _line(said: dict[str, Any]) -> str:
    fits = {True: "; fits this card", False: "; does not fit this card", None: ""}[said["fits"]]
    return f"{said['model']}: {said['bits']:.2f} bits a weight{fits}"
