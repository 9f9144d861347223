"""Makes the outputs of a batch of the results of its bulk, in the order of the input."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, get_args

from pydantic_core import from_json, to_json

from forebay.producers.gateway.batch_work.line_format import LineFormat, Unanswered
from forebay.producers.gateway.batch_work.validation import LINES
from forebay.producers.gateway.errors import Fault, fault_of
from forebay.routing.base import NANO
from forebay.routing.errors import ForebayError, InvalidJob, from_code, gist
from forebay.routing.jobs import Answer

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
    folder: Path, batch_id: str, form: LineFormat, still: Callable[[], object]
) -> Outputs:
    """Write the outputs into the folder of a batch. It may be done twice.

    Args:
        folder: where the lines of the input and the results of the bulk are.
        batch_id: the id of the batch.
        form: how the lines are answered.
        still: called after each line; it raises to stop.
    """
    made = Outputs()
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in (OUTPUT, ERRORS)}
        results = _lines(folder / RESULTS)
        for number, line in enumerate(_lines(folder / LINES), start=1):
            still()
            rows = [next(results, None) for _ in range(line.get("jobs", 0))]
            ended = _Ended(batch_id, number, line, rows)
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
        status: Any = wrong["status"] if isinstance(wrong, dict) else "cancelled"
        if status in get_args(Unanswered):
            return status, form.unanswered(line_id, custom_id, status)
        return "failed", form.failed(line_id, custom_id, fault_of(_error(wrong)))

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


def _error(row: Any) -> ForebayError:
    code = row["error"] or "bad_answer"
    return from_code(code, row["error_note"] or gist(code) or "there is no answer")


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


def _lines(path: Path) -> Iterator[Any]:
    """Yield the lines of a file of JSON, up to one that a crash cut short."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            try:
                yield from_json(raw)
            except ValueError:
                raise InvalidJob("the results of the batch are damaged") from None


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
