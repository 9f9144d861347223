"""`forebay router`: train and evaluate the router model; show and override its pacing."""

from __future__ import annotations

import typer

from forebay.workers.commands import router_eval, router_pace, router_train, router_train_doubt

app = typer.Typer(
    help="Train and evaluate the router model; override its pacing.",
    no_args_is_help=True, rich_markup_mode=None, add_completion=False,
)  # fmt: skip

app.command("train")(router_train.train)
app.command("train-doubt")(router_train_doubt.train_doubt)
app.command("eval")(router_eval.evaluate)
app.command("status")(router_pace.status)
app.command("override")(router_pace.override)
