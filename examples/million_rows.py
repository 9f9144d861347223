"""Summarize every row of a file, however long: the rows are streamed and never all in memory.

    python examples/million_rows.py tickets.jsonl summaries.jsonl

Each line of the input is an object with "id" and "text". Each line of the output has the same "id"
and a "summary", or an "error" in its place, also for a row that cannot be asked: its text is
missing or empty. If the program is stopped, its jobs are cancelled; start it again with the same
files, and only rows that are not in the output are submitted.
"""

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from forebay import Client, ForebayError


def rows(path: Path, skip: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file after the first `skip` of them."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number >= skip:
                yield json.loads(line)


def main(source: Path, target: Path) -> int:
    """Write a line for each row, in order; return how many rows have no summary."""
    failed = 0
    with Client(tenant="support", patience=600) as client, target.open("a+") as output:
        output.seek(0)
        done = sum(1 for _ in output)
        # Dictionaries, not `Summarize(...)`: they are checked by `map`, which yields what is wrong.
        requests = (
            {"kind": "summarize", "max_words": 30, "text": row.get("text")}
            for row in rows(source, done)
        )
        answers = client.map(
            requests, priority="bulk", deadline=timedelta(days=2), cancel_on_exit=True
        )
        for row, answer in zip(rows(source, done), answers, strict=True):
            line: dict[str, object] = {"id": row["id"]}
            if isinstance(answer, ForebayError):
                failed += 1
                line["error"] = f"{answer.code}: {answer}"
            elif answer.content.kind == "summarize":
                line["summary"] = answer.content.text
            output.write(json.dumps(line) + "\n")
    return failed


if __name__ == "__main__":
    match sys.argv[1:]:
        case [source, target]:
            sys.exit(1 if main(Path(source), Path(target)) else 0)
    sys.exit("usage: python examples/million_rows.py INPUT.jsonl OUTPUT.jsonl")
