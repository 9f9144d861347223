"""`forebay router`: train, evaluate and publish models; show and override the pacing."""

from __future__ import annotations

import typer

from forebay.workers.commands.learning import (
    evaluate,
    pace,
    publish,
    status,
    train,
    train_cascade,
    train_doubt,
)

app = typer.Typer(
    help="Train, evaluate, publish the router model; set its pace.",
    no_args_is_help=True, rich_markup_mode=None, add_completion=False,
)  # fmt: skip

app.command("train")(train.train)
app.command("train-doubt")(train_doubt.train_doubt)
app.command("train-cascade")(train_cascade.train_cascade)
app.command("publish")(publish.publish)
app.command("eval")(evaluate.evaluate)
app.command("status")(status.status)
app.command("override")(pace.override)
