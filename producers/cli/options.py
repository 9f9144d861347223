"""The options of the command line, one type each, so that a command reads as its signature."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The job id that `submit` printed.")]
TenantName = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="NAME",
        help="Act for this tenant. Default: as the job or FOREBAY_TENANT says, else `default`.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the answer.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=0, metavar="SECONDS", help="Wait for the answer, at most this long."
    ),
]
CancelOnExit = Annotated[
    bool,
    typer.Option(
        "--cancel-on-exit",
        help="Cancel the job if the wait ends without an answer: Ctrl-C, a signal, or --timeout.",
    ),
]
Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A job kind, a JSON file, or - for standard input.")
]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="The text of the job, as with --text."),
]
Texts = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="TEXT", help="The text of the job. May be repeated for embed."),
]
File = Annotated[
    str | None,
    typer.Option("--file", metavar="FILE", help="Read the text from this file, or - for stdin."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME", help="classify: a label to choose from. Repeat it."),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--question",
        metavar="QUESTION",
        help="decide: 'NAME: a question' for yes or no, 'NAME [a|b|c]: ...' for a choice, "
        "'NAME [1..5]: ...' or 'NAME [low<mid<high]: ...' for a score. `unsure` may be the last "
        "option: 'NAME [unsure]: ...'. Or the question as JSON. Repeat it.",
    ),
]
Choices = Annotated[
    list[str] | None,
    typer.Option(
        "--choice",
        metavar="QUESTION=A,B",
        help="decide: a question and its options, such as 'urgent?=yes,no'. Repeat it.",
    ),
]
QuestionsFile = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help="decide: questions from a file: a JSON array, or one line as for --question each.",
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="FILE|JSON", help="decide: a JSON object or list in place of the text."
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="FILE|JSON",
        help="extract, generate: the answer's JSON Schema, as a file (- for stdin) or as '{...}'.",
    ),
]
System = Annotated[
    str | None, typer.Option("--system", metavar="TEXT", help="generate: the system message.")
]
MaxWords = Annotated[
    int | None, typer.Option("--max-words", metavar="N", help="summarize: the longest summary.")
]
Focus = Annotated[
    str | None,
    typer.Option("--focus", metavar="TEXT", help="summarize: what the summary should focus on."),
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", help="generate: the longest answer.")
]
Egress = Annotated[
    str | None,
    typer.Option(
        "--egress",
        metavar="deny|allow",
        help="Whether the content may be sent to Bedrock. Default: deny",
    ),
]
Lane = Annotated[
    str | None,
    typer.Option(
        "--lane", metavar="auto|local|bedrock", help="Pin the job to a lane. Default: auto"
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="The only model that may answer, in the lane of --lane."
    ),
]
Priority = Annotated[
    str | None,
    typer.Option(
        "--priority",
        metavar="interactive|bulk",
        help="interactive jobs go before bulk jobs. Default: interactive",
    ),
]
Deadline = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="WHEN",
        help="Expire the job then: 30s, 5m, 2h or 1d from now, or an ISO time with a time zone.",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", help="Make no call that might cost more than this."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Idempotency key: submitting it again prints the id of the first job.",
    ),
]
Cache = Annotated[
    bool, typer.Option("--cache", help="Accept the stored answer of an identical earlier job.")
]
Meta = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=VALUE", help="Metadata of your own. May be repeated."),
]
Online = Annotated[
    bool, typer.Option("--online", help="Also ask AWS whether the credentials are valid.")
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--patience", min=0, metavar="SECONDS",
        help="If Redis is down or full, retry for this long. Default: 0",
    ),
]  # fmt: skip
IdOrFleet = Annotated[
    str | None, typer.Argument(metavar="ID", help="The id of a job. Without it: the whole fleet.")
]
MaybeId = Annotated[
    str | None, typer.Argument(metavar="ID", help="The id of a dead job. Or give --all.")
]
All = Annotated[bool, typer.Option("--all", help="All dead jobs not yet replayed.")]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="List at most N.")
]
ShowContent = Annotated[
    bool, typer.Option("--content", help="Also print the job's content: what was submitted.")
]
DropDeadline = Annotated[bool, typer.Option("--drop-deadline", help="Replay without a deadline.")]
Counts = Annotated[
    bool, typer.Option("--counts", help="Only count them, by code, tenant and kind.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it: what is buried cannot be replayed.")]
Interval = Annotated[
    float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="Look again so often.")
]
Rounds = Annotated[
    int | None, typer.Option("--rounds", min=1, metavar="N", help="Stop after looking so often.")
]
