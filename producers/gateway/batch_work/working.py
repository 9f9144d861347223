"""Works a batch or a bulk from where it was left: validate, answer, write the outputs."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forebay.producers.bulk.running.begin import begin, resume, retry
from forebay.producers.bulk.running.manifest import Manifest, folder_of
from forebay.producers.bulk.running.run import BulkRun
from forebay.producers.gateway.batch_work.line_format import Desk, LineFormat
from forebay.producers.gateway.batch_work.outputs import (
    ERRORS,
    OUTPUT,
    RESULTS,
    Outputs,
    Without,
    write_outputs,
)
from forebay.producers.gateway.batch_work.validation import ROWS, validate
from forebay.producers.gateway.batches.batch import Batch
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.files.file_store import FileStore
from forebay.routing.bulk.bulks import ENDED, Bulks
from forebay.routing.errors import CallerError, InvalidJob
from forebay.routing.ledger.ledger import Ledger

Still = Callable[[], object]
ENDS = ("completed", "failed", "expired", "cancelled")  # of a request


@dataclass(frozen=True)
class Workbench:
    """What a process needs to work batches.

    Attributes:
        ledger: where the rows wait.
        store: the records of the batches.
        files: where inputs and outputs are.
        forms: how the lines of each endpoint are read and answered.
        desk: returns what translating the lines of a batch needs.
        on_end: called with a batch that has ended; again, if this process dies meanwhile.
    """

    ledger: Ledger
    store: BatchStore
    files: FileStore
    forms: Mapping[str, LineFormat]
    desk: Callable[[Batch], Desk]
    on_end: Callable[[Batch], object]

    def work(self, batch_id: str, still: Still) -> bool:
        """Work a batch until it has ended; return `False` if it is paused.

        Raises:
            LetGo: This process is to stop; the batch goes on where it was left.
            ForebayError: The batch cannot go on now, such as with a full disk.
        """
        batch = self.store.find(batch_id)
        if batch is None:
            self.store.close(batch_id)
            return True
        ended: Batch | None = batch
        if not batch.ended:
            work = self._work_bulk if batch.terms.family == "bulk" else self._work_batch
            with self.files.writing():
                ended = work(batch, still)
        if ended:
            self.on_end(ended)
            self.store.close(batch_id)
        return ended is not None

    # --- batches ------------------------------------------------------------------------------

    def _work_batch(self, batch: Batch, still: Still) -> Batch:
        folder, form = self.files.batch_folder(batch.id), self.forms[batch.terms.endpoint]
        if not batch.in_progress_at:
            batch = self._validated(batch, folder, form, still)
        if not batch.ended:
            if batch.rows and not batch.finalizing_at:
                self._answer_rows(batch, folder, still)
            batch = self._finalized(batch, folder, form, still)
        shutil.rmtree(folder, ignore_errors=True)
        return batch

    def _validated(self, batch: Batch, folder: Path, form: LineFormat, still: Still) -> Batch:
        found = validate(folder, form, self.desk(batch), still)
        if found.errors:
            return self._set(batch, failed_at=time.time(), errors=found.errors)
        return self._set(
            batch, in_progress_at=time.time(), total=found.total, refused=found.refused,
            rows=found.rows,
        )  # fmt: skip

    def _answer_rows(self, batch: Batch, folder: Path, still: Still) -> None:
        """Answer the rows, all or until somebody cancels the batch, or its window has ended.

        Rows that another process has put on the ledger are cancelled there, and their answers
        collected.
        """
        bulks, results = Bulks(self.ledger), folder / RESULTS
        unbegun = self._cancelled(batch.id) and not _has_begun(results, batch.id)
        if bulks.state(batch.id) in ENDED or unbegun:
            return
        try:
            run = self._run(batch, results, folder / ROWS, {"key": "key"})
        except InvalidJob as error:
            if error.field == "deadline":  # the window ended before anybody began
                return
            raise
        with run:
            for _ in run.steps():
                still()
                self._note_progress(batch, run)
                if self._cancelled(batch.id):
                    bulks.set_state(batch.id, "cancelled")

    def _cancelled(self, batch_id: str) -> bool:
        found = self.store.find(batch_id)
        return found is not None and found.cancelling_at is not None

    def _note_progress(self, batch: Batch, run: BulkRun) -> None:
        done = run.record.counters.get("rows_done", 0)
        self.store.update(batch.id, rows_done=done, rows_over=run.record.over)

    def _finalized(self, batch: Batch, folder: Path, form: LineFormat, still: Still) -> Batch:
        if not batch.finalizing_at:
            batch = self._set(batch, finalizing_at=time.time())
        cancelled = bool(batch.cancelling_at) or Bulks(self.ledger).state(batch.id) == "cancelled"
        begun = _has_begun(folder / RESULTS, batch.id)
        without: Without = "cancelled" if cancelled else "lost" if begun else "expired"
        made = write_outputs(folder, batch.id, form, still, without=without)
        files = {name: self._kept(batch, folder / name) for name in made.written}
        counts = {name: made.counts[name] for name in ENDS}
        return self._set(
            batch, output_file=files.get(OUTPUT, ""), error_file=files.get(ERRORS, ""),
            tokens_in=made.tokens_in, tokens_out=made.tokens_out, **counts,
            **{_ending(batch, made): time.time()},
        )  # fmt: skip

    def _kept(self, batch: Batch, path: Path) -> str:
        """Keep an output as a file of the tenant, under the same id each time; return the id."""
        digest = hashlib.blake2b(f"{batch.id} {path.name}".encode(), digest_size=16).hexdigest()
        name = f"batch_{batch.id.partition('.')[2]}_{path.name}"
        file = self.files.add(
            batch.tenant, path, name=name, purpose="batch_output", file_id=f"file-{digest}",
            keep_s=batch.terms.keep_outputs_s,
        )  # fmt: skip
        return file.id

    # --- bulks --------------------------------------------------------------------------------

    def _work_bulk(self, batch: Batch, still: Still) -> Batch | None:
        state = Bulks(self.ledger).state(batch.id)
        if state in ENDED:
            return self._set(batch, completed_at=time.time())
        if state == "paused":
            return None
        folder = self.files.batch_folder(batch.id)
        try:
            run = self._run(batch, folder / RESULTS, folder / "input", batch.terms.options)
        except CallerError as error:  # of the rows or the options, so it would be the same again
            entry = {"code": error.code, "message": error.message, "param": error.field}
            return self._set(batch, failed_at=time.time(), errors=[{**entry, "line": None}])
        with run:
            for record in run.steps():
                still()
                if record.state == "paused":
                    return None
        return self._set(batch, completed_at=time.time())

    # --- both ---------------------------------------------------------------------------------

    def _run(self, batch: Batch, out: Path, rows: Path, options: Mapping[str, Any]) -> BulkRun:
        """Begin to answer the rows, or go on where another process was."""
        terms = batch.terms
        if terms.retries:
            out = folder_of(self.files.batch_folder(terms.retries) / RESULTS) / "retry.jsonl"
        if _has_begun(out, batch.id):
            return resume(self.ledger, batch.tenant, str(out))
        if terms.retries:
            return retry(self.ledger, batch.tenant, terms.retries, bulk_id=batch.id)
        limits: Any = {
            "out": out, "overwrite": True, "max_usd": terms.max_usd,
            "max_cost_usd": terms.max_cost_usd,
            "deadline": datetime.fromtimestamp(terms.expires, UTC) if terms.expires else None,
        }  # fmt: skip
        given = dict(options)
        limits |= {name: given.pop(name) for name in ("order", "source_format") if name in given}
        return begin(self.ledger, batch.tenant, rows, limits, given, bulk_id=batch.id)

    def _set(self, batch: Batch, **values: Any) -> Batch:
        self.store.update(batch.id, **values)
        return self.store.find(batch.id) or batch


def _has_begun(out: Path, bulk_id: str) -> bool:
    """Return whether some process has begun to answer the rows."""
    try:
        return Manifest.load(folder_of(out)).id == bulk_id
    except InvalidJob:
        return False


def _ending(batch: Batch, made: Outputs) -> str:
    """Return the field of the time at which a batch ended in this way."""
    if batch.cancelling_at:
        return "cancelled_at"
    return "expired_at" if made.counts["expired"] else "completed_at"
