"""The options of the command line, one type each, so that a command reads as its signature."""

from __future__ import annotations

from typing import Annotated

from forebay.routing.terminal.options import argument, flag, option

Id = Annotated[str, argument("ID", "The job id that `submit` printed.")]
TenantName = Annotated[
    str | None,
    option(
        "--tenant",
        "NAME",
        "Act for this tenant. Default: as the job or FOREBAY_TENANT says, else `default`.",
    ),
]
Wait = Annotated[bool, flag("--wait", "Wait for the answer.")]
Timeout = Annotated[
    float | None, option("--timeout", "SECONDS", "Wait for the answer, at most this long.", min=0)
]
CancelOnExit = Annotated[
    bool,
    flag(
        "--cancel-on-exit",
        "Cancel the job if the wait ends without an answer: Ctrl-C, a signal, or --timeout.",
    ),
]
Source = Annotated[str, argument("SOURCE", "A job kind, a JSON file, or - for standard input.")]
Words = Annotated[list[str] | None, argument("TEXT", "The text of the job, as with --text.")]
Texts = Annotated[
    list[str] | None, option("--text", "TEXT", "The text of the job. May be repeated for embed.")
]
File = Annotated[
    str | None, option("--file", "FILE", "Read the text from this file, or - for stdin.")
]
Labels = Annotated[
    list[str] | None, option("--label", "NAME", "classify: a label to choose from. Repeat it.")
]
Questions = Annotated[
    list[str] | None,
    option(
        "--question",
        "QUESTION",
        "decide: 'NAME: a question' for yes or no, 'NAME [a|b|c]: ...' for a choice, "
        "'NAME [1..5]: ...' or 'NAME [low<mid<high]: ...' for a score. `unsure` may be the last "
        "option: 'NAME [unsure]: ...'. Or the question as JSON. Repeat it.",
    ),
]
Choices = Annotated[
    list[str] | None,
    option(
        "--choice",
        "QUESTION=A,B",
        "decide: a question and its options, such as 'urgent?=yes,no'. Repeat it.",
    ),
]
QuestionsFile = Annotated[
    str | None,
    option(
        "--questions",
        "FILE",
        "decide: questions from a file: a JSON array, or one line as for --question each.",
    ),
]
State = Annotated[
    str | None,
    option("--state", "FILE|JSON", "decide: a JSON object or list in place of the text."),
]
Schema = Annotated[
    str | None,
    option(
        "--schema",
        "FILE|JSON",
        "extract, generate: the answer's JSON Schema, as a file (- for stdin) or as '{...}'.",
    ),
]
System = Annotated[str | None, option("--system", "TEXT", "generate: the system message.")]
MaxWords = Annotated[int | None, option("--max-words", "N", "summarize: the longest summary.")]
Focus = Annotated[
    str | None, option("--focus", "TEXT", "summarize: what the summary should focus on.")
]
MaxTokens = Annotated[int | None, option("--max-tokens", "N", "generate: the longest answer.")]
Egress = Annotated[
    str | None,
    option("--egress", "deny|allow", "Whether the content may be sent to Bedrock. Default: deny"),
]
Lane = Annotated[
    str | None, option("--lane", "auto|local|bedrock", "Pin the job to a lane. Default: auto")
]
Model = Annotated[
    str | None, option("--model", "NAME", "The only model that may answer, in the lane of --lane.")
]
Priority = Annotated[
    str | None,
    option(
        "--priority",
        "interactive|bulk",
        "interactive jobs go before bulk jobs. Default: interactive",
    ),
]
Deadline = Annotated[
    str | None,
    option(
        "--deadline",
        "WHEN",
        "Expire the job then: 30s, 5m, 2h or 1d from now, or an ISO time with a time zone.",
    ),
]
MaxCost = Annotated[
    float | None, option("--max-cost", "USD", "Make no call that might cost more than this.")
]
Key = Annotated[
    str | None,
    option("--key", "KEY", "Idempotency key: submitting it again prints the id of the first job."),
]
Cache = Annotated[bool, flag("--cache", "Accept the stored answer of an identical earlier job.")]
Meta = Annotated[
    list[str] | None, option("--meta", "KEY=VALUE", "Metadata of your own. May be repeated.")
]
Online = Annotated[bool, flag("--online", "Also ask AWS whether the credentials are valid.")]
Patience = Annotated[
    float | None,
    option(
        "--patience", "SECONDS", "If Redis is down or full, retry for this long. Default: 0", min=0
    ),
]
IdOrFleet = Annotated[str | None, argument("ID", "The id of a job. Without it: the whole fleet.")]
MaybeId = Annotated[str | None, argument("ID", "The id of a dead job. Or give --all.")]
All = Annotated[bool, flag("--all", "All dead jobs not yet replayed.")]
Limit = Annotated[int, option("--limit", "N", "List at most N.", min=1, max=10_000)]
ShowContent = Annotated[
    bool, flag("--content", "Also print the job's content: what was submitted.")
]
DropDeadline = Annotated[bool, flag("--drop-deadline", "Replay without a deadline.")]
Counts = Annotated[bool, flag("--counts", "Only count them, by code, tenant and kind.")]
Yes = Annotated[bool, flag("--yes", "Do it: what is buried cannot be replayed.")]
Interval = Annotated[float, option("--interval", "SECONDS", "Look again so often.", min=0.2)]
Rounds = Annotated[int | None, option("--rounds", "N", "Stop after looking so often.", min=1)]
Reason = Annotated[str, option("--reason", "TEXT", "Why, for others to read.")]
