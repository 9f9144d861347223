# ruff: noqa: PLC0415 - a client that has no bulks pays nothing for them
"""The methods of a client that are about bulks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Unpack

from forebay.routing.errors import InvalidJob, NotFound
from forebay.routing.jobs import owner

if TYPE_CHECKING:
    from forebay.producers.access import Access
    from forebay.producers.bulk.handle import BulkHandle
    from forebay.producers.bulk.options import RowOptions, RowsLike
    from forebay.producers.bulk.running.progress import Progress
    from forebay.producers.bulk.sample import Estimate, Validation
    from forebay.producers.bulk.sources.source import Source
    from forebay.producers.bulk.templates.template import Template
    from forebay.routing.ledger.ledger import Ledger

LIMITS = frozenset({"deadline", "max_usd", "max_cost_usd"})


class BulkMethods:
    """Bulks of one tenant. A `Client` has these methods."""

    tenant: str
    _ledger: Ledger
    _access: Access

    def bulk(self, rows: RowsLike, **options: Unpack[RowOptions]) -> BulkHandle:
        """Answer many rows: a file, a folder of texts, standard input (`-`), or any iterable.

            with client.bulk("mails.csv", kind="classify", labels=["billing", "login"],
                             text_field="body", out="labels.csv") as bulk:
                bulk.wait()

        Args:
            rows: where the rows are. A generator is iterated over on a thread of its own, so that
                one that blocks holds up nothing else.
            options: see `RowOptions`.

        Raises:
            InvalidJob: An argument is wrong, or the output exists.
            Unavailable: Redis cannot be reached.
        """
        from forebay.producers.bulk.handle import BulkHandle
        from forebay.producers.bulk.options import BULK_OPTIONS
        from forebay.producers.bulk.running.begin import begin

        self._access.check_open()
        given: dict[str, Any] = {**options}
        of_bulk: Any = {name: given.pop(name) for name in BULK_OPTIONS & given.keys()}
        run = begin(self._ledger, self.tenant, rows, of_bulk, given)
        return BulkHandle(run, self._ledger, temporary=of_bulk.get("out") is None)

    def resume_bulk(self, which: str, rows: RowsLike | None = None) -> BulkHandle:
        """Go on with a bulk, with exactly the rows that have no result in its output.

        Args:
            which: the id of the bulk, its output or its folder.
            rows: the same input again, from its beginning, if it came from standard input or an
                iterable and was not read to its end. While the bulk is waited for, the rows that
                were read before are compared and skipped (`Progress.rereading`); other rows raise
                `InvalidJob` there. Or the file that was the input, if it has been moved.

        Raises:
            NotFound: There is no such bulk of this tenant.
            InvalidJob: It has ended, its input has changed, or its folder is gone. Or another
                process feeds it: then it goes on there if it was paused, and the error has its id.
            Unavailable: Redis cannot be reached.
        """
        from forebay.producers.bulk.handle import BulkHandle
        from forebay.producers.bulk.running.begin import resume

        self._access.check_open()
        if owner(which) is not None:
            self._check_own(which)
        return BulkHandle(resume(self._ledger, self.tenant, which, rows), self._ledger)

    def validate_bulk(self, rows: RowsLike, **options: Unpack[RowOptions]) -> Validation:
        """Read all rows as `bulk` would, and answer none; options of the output count for nothing.

        Raises:
            InvalidJob: An argument is wrong.
        """
        from forebay.producers.bulk.sample import validate

        with self._opened(rows, options) as (source, template):
            return validate(source, template)

    def sample_bulk(self, rows: RowsLike, count: int, **options: Unpack[RowOptions]) -> Estimate:
        """Answer `count` rows, chosen at random, and say what the whole will take.

        Raises:
            InvalidJob: An argument is wrong.
            Unavailable: Redis cannot be reached.
        """
        from forebay.producers.bulk.sample import estimate, jobs_of, validate

        if count < 1:
            raise InvalidJob("must be at least 1", field="count")
        with self._opened(rows, options) as (source, template):
            found = validate(source, template, sample=count)
        limits: Any = {name: options[name] for name in LIMITS & options.keys()}  # type: ignore[literal-required]
        with self.bulk(iter(jobs_of(found.sample)), **limits) as bulk:
            return estimate(found, iter(bulk))

    @contextmanager
    def _opened(self, rows: RowsLike, options: RowOptions) -> Iterator[tuple[Source, Template]]:
        """Open the rows, and make the template of a bulk that writes nothing."""
        from forebay.producers.bulk.options import BULK_OPTIONS
        from forebay.producers.bulk.sources.open_source import check_source, open_source
        from forebay.producers.bulk.templates.template import Template

        self._access.check_open()
        given: dict[str, Any] = {**options}
        form = given.get("source_format")
        of_rows = {name: value for name, value in given.items() if name not in BULK_OPTIONS}
        template = Template.of(**{**of_rows, "tenant": self.tenant})
        check_source(rows, form)
        source = open_source(rows, format=form)
        try:
            template.check(source)
            yield source, template
        finally:
            source.close()

    def retry_bulk(self, which: str) -> BulkHandle:
        """Answer the rows of a bulk again that failed or are degraded; replace them in its output.

        The output changes at the end. A degraded answer stays if the row gets none this time.

        Args:
            which: the id of the bulk, its output or its folder.

        Raises:
            NotFound: There is no such bulk of this tenant.
            InvalidJob: No row failed or is degraded, the bulk has not ended, the input has changed,
                or the output cannot be read.
            Unavailable: Redis cannot be reached.
        """
        from forebay.producers.bulk.handle import BulkHandle
        from forebay.producers.bulk.running.begin import retry

        self._access.check_open()
        if owner(which) is not None:
            self._check_own(which)
        return BulkHandle(retry(self._ledger, self.tenant, which), self._ledger)

    def bulks(self) -> list[Progress]:
        """Return how far the bulks of this tenant are, the newest first. They are kept 30 days."""
        from forebay.producers.bulk.handle import progress_of
        from forebay.routing.bulk.bulks import Bulks, jobs_ahead

        self._access.check_open()
        ahead = jobs_ahead(self._ledger)
        records = Bulks(self._ledger).list(self.tenant)
        return [progress_of(record, None, ahead) for record in records]

    def bulk_progress(self, which: str) -> Progress:
        """Return how far a bulk is, whichever process feeds it.

        Args:
            which: the id of the bulk, its output or its folder.

        Raises:
            NotFound: There is no such bulk of this tenant.
        """
        from forebay.producers.bulk.handle import progress_of
        from forebay.routing.bulk.bulks import Bulks, jobs_ahead

        record = Bulks(self._ledger).get(self._id_of(which))
        return progress_of(record, None, jobs_ahead(self._ledger))

    def set_bulk_state(
        self, which: str, state: Literal["paused", "running", "cancelled"]
    ) -> Progress:
        """Pause a bulk (`paused`), let it go on (`running`) or end it (`cancelled`).

        The process that feeds it, and the workers, notice within seconds.

        Args:
            which: the id of the bulk, its output or its folder.
            state: the new state.

        Raises:
            NotFound: There is no such bulk of this tenant.
            InvalidJob: The bulk has ended, or there is no such state.
        """
        from forebay.routing.bulk.bulks import Bulks

        bulk_id = self._id_of(which)
        if state not in {"paused", "running", "cancelled"}:
            raise InvalidJob("must be paused, running or cancelled", field="state")
        Bulks(self._ledger).set_state(bulk_id, state)
        return self.bulk_progress(bulk_id)

    def close(self) -> None:
        """Close the client."""
        raise NotImplementedError

    def _id_of(self, which: str) -> str:
        """Return the id of a bulk of this tenant; see `bulk_progress`."""
        from forebay.producers.bulk.running.begin import find

        self._access.check_open()
        if owner(which) is None:
            return find(self._ledger, self.tenant, which).id
        self._check_own(which)
        return which

    def _check_own(self, bulk_id: str) -> None:
        self._access.check_open()
        if owner(bulk_id) != self.tenant:
            raise NotFound("no such bulk of this tenant; see `forebay bulk list`", field="id")
