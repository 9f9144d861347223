"""Makes the outputs of a batch of the results of its bulk, in the order of the input."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, get_args

from pydantic_core import from_json, to_json

from forebay.producers.gateway.batch_work.line_format import LineFormat, Unanswered
from forebay.producers.gateway.batch_work.validation import LINES
from forebay.producers.gateway.errors import INTERNAL, Fault, fault_of
from forebay.routing.base import NANO
from forebay.routing.errors import from_code, gist
from forebay.routing.jobs import Answer

LOST = INTERNAL._replace(message="the result of this request was lost; send the request again")
Without = Literal["cancelled", "expired", "lost"]
RESULTS, OUTPUT, ERRORS = "results.jsonl", "output.jsonl", "errors.jsonl"


@dataclass
class Outputs:
    """The outputs of a batch.

    Attributes:
        counts: requests by how they ended: `completed`, `failed`, `expired`, `cancelled`.
        tokens_in, tokens_out: of all answers.
        written: the files that have lines: `OUTPUT`, `ERRORS`.
    """

    counts: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    written: Counter[str] = field(default_factory=Counter)


def write_outputs(
    folder: Path,
    batch_id: str,
    form: LineFormat,
    still: Callable[[], object],
    *,
    without: Without = "lost",
) -> Outputs:
    """Write the outputs into the folder of a batch. It may be done twice.

    Args:
        folder: where the lines of the input and the results of the bulk are.
        batch_id: the id of the batch.
        form: how the lines are answered.
        still: called after each line; it raises to stop.
        without: what became of requests without a result: the batch was cancelled, its window
            ended before anybody began with it, or their results were lost.
    """
    made = Outputs()
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in (OUTPUT, ERRORS)}
        results = _Results(folder / RESULTS)
        lines = stack.enter_context((folder / LINES).open("rb"))
        for number, raw in enumerate(lines, start=1):
            still()
            line = from_json(raw)
            rows = [results.take(f"{number}.{i}") for i in range(line.get("jobs", 0))]
            ended = _Ended(batch_id, number, line, rows, without)
            end, text = ended.as_line(form)
            made.counts[end] += 1
            made.tokens_in += ended.tokens("tokens_in")
            made.tokens_out += ended.tokens("tokens_out")
            name = ERRORS if form.errors_apart and end != "completed" else OUTPUT
            files[name].write(to_json(text, inf_nan_mode="null") + b"\n")
            made.written[name] += 1
        for file in files.values():
            _to_disk(file)
    return made


@dataclass(frozen=True, slots=True)
class _Ended:
    """A request that has ended: its line of `lines.jsonl`, and the results of its rows."""

    batch_id: str
    number: int
    line: dict[str, Any]
    rows: list[dict[str, Any] | None]
    without: Without

    def tokens(self, name: str) -> int:
        return sum(row[name] for row in self.rows if row)

    def as_line(self, form: LineFormat) -> tuple[str, Any]:
        """Return how the request ended, and its line of the output."""
        line_id, custom_id = self._id("line"), self.line["id"]
        if "fault" in self.line:
            return "failed", form.failed(line_id, custom_id, Fault(*self.line["fault"]))
        wrong = next((row for row in self.rows if row is None or row["status"] != "done"), ...)
        if wrong is ...:
            body = form.response(self._answers(), self.line["told"])
            return "completed", form.answered(line_id, custom_id, without_job(body))
        status: Any = self.without if wrong is None else wrong["status"]
        if status in get_args(Unanswered):
            return status, form.unanswered(line_id, custom_id, status)
        fault = LOST if wrong is None else _fault(wrong)
        return "failed", form.failed(line_id, custom_id, fault)

    def _answers(self) -> list[Answer]:
        kind = self.line["kind"]
        return [
            _answer(self._job_id(number), kind, row)
            for number, row in enumerate(self.rows)
            if row is not None
        ]

    def _id(self, what: str) -> str:
        name = f"{self.batch_id} {self.number} {what}"
        return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()

    def _job_id(self, number: int) -> str:
        """Return an id for an answer, the same each time; the row was no job of its own."""
        return f"{self.batch_id.partition('.')[0]}.{self._id(str(number))}"


def _answer(job_id: str, kind: str, row: dict[str, Any]) -> Answer:
    """Return the answer of a row, as if it had been submitted alone."""
    fields = {
        name: row[name]
        for name in ("lane", "model", "revision", "degraded", "checks", "reasons", "tokens_in",
                     "tokens_out")
    }  # fmt: skip
    return Answer.model_validate(
        {
            **fields, "id": job_id, "kind": kind, "egress": row.get("egress", "deny"),
            "status": "done", "cost_nusd": round(row["cost_usd"] * NANO),
            "content": {**row["answer"], "kind": kind},
        }
    )  # fmt: skip


def _fault(row: dict[str, Any]) -> Fault:
    if (code := row["error"]) is None:
        return INTERNAL._replace(message="this request failed, and nothing says why")
    return fault_of(from_code(code, row["error_note"] or gist(code) or "there is no answer"))


def without_job(body: Any) -> Any:
    """Return a response without ids of jobs: the rows of a batch are no jobs of their own."""
    if isinstance(body, list):
        return [without_job(item) for item in body]
    if not isinstance(body, dict):
        return body
    own = body.get("forebay")
    if not isinstance(own, dict):
        choices = {"choices": without_job(body["choices"])} if "choices" in body else {}
        return {**body, **choices}
    kept = {name: value for name, value in own.items() if name not in {"job_id", "egress"}}
    return {**without_job({**body, "forebay": None}), "forebay": kept}


class _Results:
    """The results of the rows, which are read once, in the order of the rows."""

    def __init__(self, path: Path) -> None:
        self._results = _readable(path)
        self._next = next(self._results, None)

    def take(self, key: str) -> dict[str, Any] | None:
        """Return the result of the row of this key; `None` if the file does not have it."""
        found = self._next
        if found is None or found["key"] != key:
            return None
        self._next = next(self._results, None)
        return found


def _readable(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the results that can be read: a crash, or a bad disk, may spoil some."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            with suppress(ValueError):
                yield from_json(raw)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
