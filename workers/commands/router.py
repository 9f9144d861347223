"""`forebay router`: train and measure the router; see its pace and set it. A file a subcommand."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import typer

from forebay.routing.errors import Misconfigured
from forebay.workers.commands import router_eval, router_pace, router_train, router_train_doubt

app = typer.Typer(
    help="The router: train its model, measure it; see the pace, set it by hand.",
    no_args_is_help=True, rich_markup_mode=None, add_completion=False,
)  # fmt: skip


def _by_extra(command: Callable[..., None]) -> Callable[..., None]:
    """A command that needs the extra `router`, and says so where that is not installed."""

    @wraps(command)
    def run(**options: object) -> None:
        try:
            command(**options)
        except ImportError as error:
            needs = f"needs {error.name}: install the extra `router`"
            raise Misconfigured(needs, field="router") from error

    return run


app.command("train")(_by_extra(router_train.train))
app.command("train-doubt")(_by_extra(router_train_doubt.train_doubt))
app.command("eval")(_by_extra(router_eval.evaluate))
app.command("status")(router_pace.status)
app.command("override")(router_pace.override)
