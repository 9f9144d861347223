"""The commands `forebay pause` and `forebay resume`: hold back a lane, kind, tenant or model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated

import typer

from forebay.producers.cli import display
from forebay.producers.cli.operator.readers import open_reader
from forebay.producers.cli.options import Reason
from forebay.routing.terminal.options import Json, argument, tenant_option, ungrouped

PAUSE_HELP = """Hold back a lane, kind, tenant or model. Without a name, list them.

\b
  forebay pause bedrock                  make no call to Bedrock
  forebay pause bedrock --tenant acme    the same for one tenant
  forebay pause local                    local workers take no more jobs
  forebay pause route                    routers take no more jobs
  forebay pause acme                     begin no job of this tenant
  forebay pause summarize                hold jobs of this kind
  forebay pause anthropic.claude-x       do not call this model
  forebay pause                          list all pauses

While Bedrock is paused, its jobs wait or get a local answer, as `when_shut` of the policy says.
Jobs that run go on. Pauses are kept in Redis until `forebay resume`. A tenant or model whose name
is that of a lane or kind, or nearly so, is written tenant:NAME or model:NAME.
"""
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]*")

What = Annotated[
    str | None, argument("NAME", "A lane, kind, tenant or model. Without it, list them.")
]
Name = Annotated[str, argument("NAME", "What was paused.")]
ForTenant = Annotated[str | None, tenant_option("With bedrock: for this tenant only.")]

app = ungrouped()


@app.command(help=PAUSE_HELP)
def pause(  # noqa: D103 - its help says it
    name: What = None, *, tenant: ForTenant = None, reason: Reason = "", as_json: Json = False
) -> None:
    from forebay.routing.limits.pauses import Pauses  # noqa: PLC0415 - help answers at once

    pauses = Pauses(open_reader().redis)
    if name is not None:
        scope = scope_of(name, tenant)
        pauses.pause(scope, reason)
        _print("paused", scope, as_json=as_json)
        whose = scope.partition(":")[2]
        if scope.startswith(("tenant:", "bedrock:")) and not pauses.knows(whose):
            display.note(f"no tenant {whose} has submitted a job yet")
        return
    listed = pauses.all()
    if as_json:
        display.document([asdict(one) | {"since": display.iso(one.since)} for one in listed])
    elif listed:
        rows = [(one.scope, display.iso(one.since), one.reason) for one in listed]
        display.table(("PAUSED", "SINCE", "REASON"), rows)
    else:
        display.note("nothing is paused")


@app.command()
def resume(name: Name, *, tenant: ForTenant = None, as_json: Json = False) -> None:
    """Let go what `forebay pause` holds back."""
    from forebay.routing.limits.pauses import Pauses  # noqa: PLC0415 - help answers at once

    scope = scope_of(name, tenant)
    if Pauses(open_reader().redis).resume(scope):
        _print("resumed", scope, as_json=as_json)
    else:
        _print("was not paused", scope, as_json=as_json)


def scope_of(name: str, tenant: str | None) -> str:
    """Return the scope that a name on the command line stands for.

    Raises:
        BadParameter: A name other than bedrock stands beside `--tenant`, or the name is nearly
            that of a lane or kind.
    """
    from forebay.routing.base import KINDS  # noqa: PLC0415 - help answers at once
    from forebay.routing.limits.pauses import HOPS, SORTS  # noqa: PLC0415 - as above

    if tenant is not None:
        if name != "bedrock":
            hint = "must be bedrock beside --tenant; to pause all of a tenant, give its name alone"
            raise typer.BadParameter(hint, param_hint="'NAME'")
        return f"bedrock:{tenant}"
    if name.partition(":")[0] in SORTS and ":" in name:
        return name
    _check_typo(name, (*HOPS, *KINDS))
    sorts = (("lane", name in HOPS), ("kind", name in KINDS), ("tenant", _TENANT.fullmatch(name)))
    return f"{next((sort for sort, fits in sorts if fits), 'model')}:{name}"


def _check_typo(name: str, known: Sequence[str]) -> None:
    """Refuse a name that is probably a mistyped lane or kind: it would be taken for a tenant.

    Raises:
        BadParameter: The name is nearly one of the known ones.
    """
    close = get_close_matches(name, known, n=1, cutoff=0.8)
    if close and name not in known:
        hint = f"did you mean {close[0]}? For a tenant of that name: tenant:{name}"
        raise typer.BadParameter(hint, param_hint="'NAME'")


def _print(verb: str, scope: str, *, as_json: bool) -> None:
    display.result(
        {"scope": scope, "state": verb},
        f"{scope} {verb}" if verb.startswith("was") else f"{verb} {scope}",
        as_json=as_json,
    )
