"""The options of the commands about money."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from forebay.routing.terminal.options import option, tenant_option

Tenant = Annotated[str | None, tenant_option("Only this tenant.")]
Model = Annotated[str | None, option("--model", "ID", "Only this model.")]
Out = Annotated[
    Path | None,
    option(
        "--out",
        "FILE",
        "Write to this file: its ending .csv, .parquet, .json or .jsonl chooses the format.",
    ),
]
PricesFile = Annotated[
    Path | None,
    option(
        "--prices", "FILE", "A price list. Default: FOREBAY_PRICES_FILE, else the packaged list."
    ),
]
