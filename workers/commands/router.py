"""`forebay router`: train, evaluate and publish models; show and override the pacing."""

from __future__ import annotations

from forebay.routing.terminal.options import group
from forebay.workers.commands.learning import (
    evaluate,
    pace,
    publish,
    status,
    train,
    train_cascade,
    train_doubt,
)

app = group("Train, evaluate, publish the router model; set its pace.")

app.command("train")(train.train)
app.command("train-doubt")(train_doubt.train_doubt)
app.command("train-cascade")(train_cascade.train_cascade)
app.command("publish")(publish.publish)
app.command("eval")(evaluate.evaluate)
app.command("status")(status.status)
app.command("override")(pace.override)
