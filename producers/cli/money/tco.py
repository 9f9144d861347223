# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The command `forebay tco`: the cost of a machine of one's own beside the frontier's price."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from forebay.producers.cli import display
from forebay.producers.cli.money.break_even import BreakEven, FrontierPrice, Machine
from forebay.producers.cli.money.options import PricesFile
from forebay.producers.cli.money.tco_figures import document, rows
from forebay.routing.terminal.options import Json, option, ungrouped

HELP = """Say what tokens cost on your own machine, and when it pays.

\b
  forebay tco --hardware 2200 --watts 350 --tokens-per-s 1900
  forebay tco --hardware 215000 --life 3 --watts 10200 --kwh 0.115 \\
      --tokens-per-s 20000 --utilisation 0.9 --output-share 0.1

Tokens are those of prompts and answers together. `forebay report` says how many you have a day, and
`make test-gpu STAGE=bench` or the workers' metrics how many a second your machine makes.
"""

Hardware = Annotated[float, option("--hardware", "USD", "Price of the machine.")]
Life = Annotated[float, option("--life", "YEARS", "How long it is used.")]
Watts = Annotated[float, option("--watts", "WATTS", "What it draws, day and night.")]
Kwh = Annotated[float, option("--kwh", "USD", "Price of a kilowatt-hour.")]
Upkeep = Annotated[float, option("--upkeep", "USD", "Space, repair and people, in a year.")]
Rate = Annotated[float, option("--tokens-per-s", "N", "Measured with full batches, in and out.")]
Utilisation = Annotated[float, option("--utilisation", "SHARE", "Share of the day it is so busy.")]
OutputShare = Annotated[
    float, option("--output-share", "SHARE", "Share of the tokens that are answers.")
]
Model = Annotated[str, option("--model", "ID", "The frontier's model.")]
FrontierUsd = Annotated[
    float | None, option("--frontier-usd", "USD", "Price of a million tokens, instead of --model.")
]
Html = Annotated[Path | None, option("--html", "FILE", "Also write a page with a plot.")]

app = ungrouped()


@app.command(help=HELP)
def tco(  # noqa: D103 - its help says it
    *,
    hardware: Hardware,
    watts: Watts,
    tokens_per_s: Rate,
    life: Life = 3.0,
    kwh: Kwh = 0.15,
    upkeep: Upkeep = 0.0,
    utilisation: Utilisation = 0.5,
    output_share: OutputShare = 0.2,
    model: Model = "anthropic.claude-haiku-5-5",
    frontier_usd: FrontierUsd = None,
    prices: PricesFile = None,
    html: Html = None,
    as_json: Json = False,
) -> None:
    _check(hardware=hardware, watts=watts, kwh=kwh, upkeep=upkeep, frontier_usd=frontier_usd or 0)
    _check(above_zero=True, life=life, tokens_per_s=tokens_per_s, utilisation=utilisation)
    _check(shares=True, utilisation=utilisation, output_share=output_share)
    machine = Machine(hardware, life, watts, kwh, tokens_per_s, utilisation, upkeep)
    against = f"${frontier_usd:g} a million tokens" if frontier_usd is not None else model
    if frontier_usd is None:
        frontier_usd = frontier_price(model, prices).blended(output_share)
    found = BreakEven(machine, frontier_usd)
    if html is not None:
        from forebay.producers.cli.money.files.tables import replace_file
        from forebay.producers.cli.money.pages.tco_page import page

        replace_file(html, page(found, against).encode(), "--html")
    if as_json:
        display.document(document(found))
        return
    for name, value in rows(found, against).items():
        display.text(f"{name:32}  {value}")


def frontier_price(model: str, prices: Path | None) -> FrontierPrice:
    """Return the list price of a model, for short prompts and in the default tier.

    Raises:
        NoPrice: The model has none.
    """
    from forebay.producers.cli.money.books import read_prices
    from forebay.routing.limits.prices import Usage

    listed, thousand = read_prices(prices), 1_000
    of_input, of_output = Usage(input=thousand), Usage(output=thousand)
    return FrontierPrice(*(listed.cost(model, used) / 1e6 for used in (of_input, of_output)))


def _check(*, above_zero: bool = False, shares: bool = False, **values: float) -> None:
    """Raise an error that names the option whose value is out of range."""
    for name, value in values.items():
        fits = math.isfinite(value) and (value > 0 if above_zero else value >= 0)
        if not fits or (shares and value > 1):
            low = "above 0" if above_zero else "0 or more"
            hint = "must be from 0 to 1" if shares else f"must be {low}"
            raise typer.BadParameter(hint, param_hint=f"--{name.replace('_', '-')}")
