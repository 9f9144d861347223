"""The options of the command line, one type each, so that a command reads as its signature."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="What `submit` printed.")]
TenantName = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Default: FOREBAY_TENANT, the job's, `default`."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the answer.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="Wait for so long at most."),
]
What = Annotated[str, typer.Argument(metavar="WHAT", help="A kind, a file, or -.")]
Texts = Annotated[list[str] | None, typer.Option("--text", help="The text; embed takes several.")]
File = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="The text, from a file or -.")
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME", help="classify: two or more.")
]
Schema = Annotated[
    str | None,
    typer.Option("--schema", metavar="FILE", help="extract, generate: a JSON Schema file."),
]
System = Annotated[str | None, typer.Option("--system", help="generate: the system message.")]
MaxWords = Annotated[int | None, typer.Option("--max-words", metavar="N", help="summarize.")]
Focus = Annotated[str | None, typer.Option("--focus", help="summarize: what matters most.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", metavar="N", help="generate.")]
Egress = Annotated[
    str | None,
    typer.Option("--egress", metavar="deny|allow", help="May it leave the building? Default: deny"),
]
Lane = Annotated[
    str | None,
    typer.Option("--lane", metavar="auto|local|bedrock", help="Pin it to a lane. Default: auto"),
]
Priority = Annotated[
    str | None,
    typer.Option(
        "--priority", metavar="interactive|bulk", help="interactive goes first, and is the default."
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline", metavar="WHEN", help="30s, 5m, 2h, 1d, or an ISO time with its zone."
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", help="No call that might cost more is made."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key: submitted again, the first job's id is printed."),
]
Cache = Annotated[bool, typer.Option("--cache", help="An exact earlier answer will do.")]
Meta = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=VALUE", help="Metadata of yours; may be repeated."),
]
Online = Annotated[
    bool, typer.Option("--online", help="Also ask AWS whether the credentials are good.")
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--patience", min=0, metavar="SECONDS",
        help="If Redis is away or full, try again for so long. Default: 0",
    ),
]  # fmt: skip
MaybeId = Annotated[str | None, typer.Argument(metavar="ID", help="A dead job; or give --all.")]
All = Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")]
Code = Annotated[
    str | None, typer.Option("--code", metavar="CODE", help="Only those that died of this.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="At most.")]
ShowContent = Annotated[bool, typer.Option("--content", help="Print what was asked, too.")]
DropDeadline = Annotated[bool, typer.Option("--drop-deadline", help="Replay without a deadline.")]
