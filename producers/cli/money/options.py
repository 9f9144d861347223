"""The options of the commands about money."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.")]
Model = Annotated[str | None, typer.Option("--model", metavar="ID", help="Only this model.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE",
        help="Write to this file: its ending .csv, .parquet, .json or .jsonl chooses the format.",
    ),
]  # fmt: skip
PricesFile = Annotated[
    Path | None,
    typer.Option(
        "--prices", metavar="FILE",
        help="A price list. Default: FOREBAY_PRICES_FILE, else the packaged list.",
    ),
]  # fmt: skip
