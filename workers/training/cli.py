"""`forebay router`: train and measure the router; see its pace and set it. A file a subcommand."""

from __future__ import annotations

import typer

from workers import pace
from workers.training import doubtcommand, evalcommand, traincommand

app = typer.Typer(
    help="The router: train its model, measure it; see the pace, set it by hand.",
    no_args_is_help=True, rich_markup_mode=None, add_completion=False,
)  # fmt: skip
app.command("train")(traincommand.train)
app.command("train-doubt")(doubtcommand.train_doubt)
app.command("eval")(evalcommand.evaluate)
app.command("status")(pace.status)
app.command("override")(pace.override)
