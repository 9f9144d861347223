# ruff: noqa: PLC0415 - a client that has no bulks pays nothing for them
"""The methods of a client that are about bulks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forebay.routing.errors import UnknownJob
from forebay.routing.jobs import owner

if TYPE_CHECKING:
    from os import PathLike

    from forebay.producers.access import Access
    from forebay.producers.bulk.handle import BulkHandle
    from forebay.producers.bulk.running.begin import Deadline, SourceLike
    from forebay.producers.bulk.running.manifest import Order
    from forebay.producers.bulk.running.progress import Progress
    from forebay.routing.base import Egress, Kind
    from forebay.routing.bulk.bulks import BulkState
    from forebay.routing.ledger.ledger import Ledger


class BulkMethods:
    """Bulks of one tenant. A `Client` has these methods."""

    tenant: str
    _ledger: Ledger
    _access: Access

    def bulk(
        self,
        rows: SourceLike,
        *,
        kind: Kind | None = None,
        out: str | PathLike[str] | None = None,
        source_format: str | None = None,
        out_format: str | None = None,
        order: Order = "input",
        egress: Egress = "deny",
        deadline: Deadline = None,
        max_usd: float | None = None,
        max_cost_usd: float | None = None,
        overwrite: bool = False,
        **template: Any,
    ) -> BulkHandle:
        """Answer many rows: a file, a folder of texts, standard input (`-`), or any iterable.

            with client.bulk("tickets.csv", kind="classify", labels=["billing", "login"],
                             text_field="body", out="labels.csv") as bulk:
                bulk.wait()

        Args:
            rows: where the rows are.
            kind: the kind of all requests; `None` if each row is a request or a job already.
            out: the file of the results: `.jsonl`, `.csv`, `.parquet`, or `.npy` for embeddings.
                Without it, iterate over the handle; nothing is left when it is closed.
            source_format: the format of the rows, if the file's name does not tell.
            out_format: the format of the output, if its name does not tell.
            order: `input`: results have the order of the rows; `any`: as they come.
            egress: `allow` if the rows may leave the building.
            deadline: rows that are not answered by then end as expired.
            max_usd: what the bulk may cost on Bedrock; then rows keep their local answers.
            max_cost_usd: what one row may cost on Bedrock.
            overwrite: replace an output that exists.
            template: how a row becomes a request: `text_field`, `text`, `system`, `user`, `key`,
                `egress_column`, and the fields that all requests share, such as `labels`.

        Raises:
            InvalidJob: An argument is wrong, or the output exists.
            Unavailable: Redis cannot be reached.
        """
        from forebay.producers.bulk.handle import BulkHandle
        from forebay.producers.bulk.running.begin import begin

        self._access.check_open()
        run = begin(
            self._ledger, self.tenant, rows, out=out, source_format=source_format,
            out_format=out_format, order=order, deadline=deadline, max_usd=max_usd,
            max_cost_usd=max_cost_usd, overwrite=overwrite, kind=kind, egress=egress, **template,
        )  # fmt: skip
        return BulkHandle(run, self._ledger, temporary=out is None)

    def resume_bulk(self, which: str) -> BulkHandle:
        """Go on with a bulk, with exactly the rows that have no result in its output.

        Args:
            which: the id of the bulk, its output or its folder.

        Raises:
            UnknownJob: There is no such bulk of this tenant.
            InvalidJob: It has ended, its input has changed, or its folder is gone.
            Unavailable: Redis cannot be reached.
        """
        from forebay.producers.bulk.handle import BulkHandle
        from forebay.producers.bulk.running.begin import resume

        self._access.check_open()
        if owner(which) is not None:
            self._check_own(which)
        return BulkHandle(resume(self._ledger, self.tenant, which), self._ledger)

    def bulks(self) -> list[Progress]:
        """Return how far the bulks of this tenant are, the newest first. They are kept 30 days."""
        from forebay.producers.bulk.handle import progress_of
        from forebay.producers.bulk.running.progress import Rate
        from forebay.routing.bulk.bulks import Bulks

        self._access.check_open()
        return [progress_of(record, Rate()) for record in Bulks(self._ledger).list(self.tenant)]

    def bulk_progress(self, bulk_id: str) -> Progress:
        """Return how far a bulk is, whichever process feeds it.

        Raises:
            UnknownJob: There is no such bulk of this tenant.
        """
        from forebay.producers.bulk.handle import progress_of
        from forebay.producers.bulk.running.progress import Rate
        from forebay.routing.bulk.bulks import Bulks

        self._check_own(bulk_id)
        return progress_of(Bulks(self._ledger).get(bulk_id), Rate())

    def set_bulk_state(self, bulk_id: str, state: BulkState) -> Progress:
        """Pause a bulk (`paused`), let it go on (`running`) or end it (`cancelled`).

        The process that feeds it, and the workers, notice within seconds.

        Raises:
            UnknownJob: There is no such bulk of this tenant.
            InvalidJob: The bulk has ended.
        """
        from forebay.routing.bulk.bulks import Bulks

        self._check_own(bulk_id)
        Bulks(self._ledger).set_state(bulk_id, state)
        return self.bulk_progress(bulk_id)

    def _check_own(self, bulk_id: str) -> None:
        self._access.check_open()
        if owner(bulk_id) != self.tenant:
            raise UnknownJob("no such bulk of this tenant", field="id")
