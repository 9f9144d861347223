"""Many jobs at once: the window of those under way, their answers in order or as they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from forebay.producers.handles import JobHandle
from forebay.producers.results import Completed, Submitted, answer_or_error, late, wait
from forebay.producers.submission import Submitter
from forebay.routing.errors import CallerError, ForebayError, InvalidJob, ResultTimeout
from forebay.routing.jobs import Answer, Job
from forebay.routing.store.event_loop import Mailbox, beside, on_event_loop, outcome

MAX_JOBS_UNDER_WAY = 2_000  # jobs that were submitted and whose answers were not yet yielded
JOBS_PER_ROUND_TRIP = 250  # jobs that are submitted at once
JOBS_PER_ROUND_TRIP_ON_LOOP = 20  # making more jobs at once would hold up the event loop

#: A job to submit, the handle of a job to wait for, or why the item is neither.
Made = Job | JobHandle[Any] | ForebayError


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An item whose answer was not yielded yet.

    Attributes:
        item: the request, job or handle as it was given.
        submitted: the job's handle and the future of its result, or the error in its place.
        known: the caller has the job's id; otherwise nobody has it but the window.
    """

    item: Any
    submitted: Submitted[Any] | ForebayError
    known: bool

    @property
    def handle(self) -> JobHandle[Any] | None:
        """The job's id; `None` if there is no job."""
        return None if isinstance(self.submitted, ForebayError) else self.submitted[0]

    @property
    def future(self) -> Future[Any] | None:
        """The future of the job's result; `None` if there is no job."""
        return None if isinstance(self.submitted, ForebayError) else self.submitted[1]

    def answer(self, timeout: float | None, *, tied: bool) -> Answer[Any] | ForebayError:
        """Wait for the answer, or the error in its place.

        Raises:
            ResultTimeout: There is none within `timeout` seconds.
        """
        if isinstance(self.submitted, ForebayError):
            return self.submitted
        try:
            return answer_or_error(wait(*self.submitted, timeout, tied=tied))
        except ForebayError as error:  # forgotten, unreadable, or refused by the caller's model
            error.job_id = error.job_id or str(self.submitted[0])
            return error


class Items:
    """The items of a map, turned into jobs as they are taken.

    An item that is no valid request becomes its error. An error that the iterable itself raises
    stands in the place of an item if the iterable goes on after it. If it does not, nobody knows
    which items are missing: `error` is what the map raises at its end.
    """

    def __init__(self, items: Iterable[Any], make: Callable[[Any], Made]) -> None:
        self._items = iter(items)
        self._make = make
        self._raised: CallerError | None = None  # by the iterable, which may or may not go on
        self.exhausted = False
        self.error: Exception | None = None

    def take(self, count: int) -> list[tuple[Any, Made]]:
        """Return the next items, at most one more than `count`, with what was made of them."""
        taken: list[tuple[Any, Made]] = []
        while len(taken) < count and not self.exhausted:
            taken += self._next()
        return taken

    def end(self, error: Exception | None) -> None:
        """Take no more items."""
        self.exhausted, self.error = True, self.error or error

    def finish(self) -> None:
        """Raise what ended the items too early, if anything did."""
        if self.error is not None:
            raise self.error

    def _next(self) -> list[tuple[Any, Made]]:
        raised, self._raised = self._raised, None
        before: list[tuple[Any, Made]] = [(None, raised)] if raised else []
        try:
            item = next(self._items)
        except StopIteration:
            self.end(raised)
            return []
        except CallerError as error:
            self._raised = error
            return before
        except Exception as error:  # noqa: BLE001 - raised again at the end of the map
            self.end(error)
            return before
        return [*before, (item, self._made(item))]

    def _made(self, item: Any) -> Made:
        try:
            return self._make(item)
        except ForebayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever an object raises that is no request
            refused = InvalidJob(f"cannot be read ({type(error).__name__})", field="request")
            refused.__cause__ = error
            return refused


class Window:
    """The jobs of one `map` that are under way, in the order of the items. Use it in a `with`.

    1. `fill` takes items and submits them.
    2. `entries` are the jobs whose answers were not yielded; whoever yields one removes it.
    3. `finish` raises what ended the items too early, after all answers were yielded.
    4. At the end of the `with` statement, or of the client, jobs that are left are cancelled if
       nobody else has their ids, and all of them if they are tied to the caller (`lost`). After a
       `ResultTimeout`, which names them, they go on unless they are tied.
    """

    def __init__(self, items: Items, submitter: Submitter, *, tied: bool) -> None:
        self.entries: deque[Entry] = deque()
        self.tied = tied
        self._items, self._submitter = items, submitter
        self._beginning: list[str] = []  # jobs whose submit was not answered

    def fill(self) -> list[Entry]:
        """Take and submit items until the window is full or no items are left; return the new."""
        new: list[Entry] = []
        count = _jobs_per_round_trip()
        while len(self.entries) <= MAX_JOBS_UNDER_WAY - count and not self._items.exhausted:
            self._submitter.check_open()
            batch = self._begun(self._items.take(count))
            self.entries += batch
            if self._items.error is None:
                self._beginning = []
            new += batch
        return new

    def _begun(self, taken: list[tuple[Any, Made]]) -> list[Entry]:
        valid = [made for _, made in taken if not isinstance(made, ForebayError)]
        self._beginning = [
            made.id
            for item, made in taken
            if isinstance(made, Job) and (self.tied or not _is_known(item))
        ]
        begun: Iterator[Submitted[Any] | ForebayError] = iter(())
        try:
            begun = iter(self._submitter.begin_all(valid) if valid else ())
        except ForebayError as error:  # Redis is away: the answers under way come first
            error.job_ids = tuple(made.id for made in valid if isinstance(made, Job))
            self._items.end(error)
            taken = [one for one in taken if isinstance(one[1], ForebayError)]
        return [
            Entry(item, made if isinstance(made, ForebayError) else next(begun), _is_known(item))
            for item, made in taken
        ]

    def answer(self, entry: Entry, timeout: float | None) -> Answer[Any] | ForebayError:
        """Wait for an entry's answer, or the error in its place. Remove the entry.

        Raises:
            ResultTimeout: There is none within `timeout` seconds.
            Unavailable: The client was closed.
        """
        answer = entry.answer(timeout, tied=self.tied)
        self._submitter.check_open()
        self.entries.remove(entry)
        return answer

    def finish(self) -> None:
        """Raise what kept the map from taking all items, if anything did."""
        if self._items.error is not None and not self.tied:
            self._beginning = []  # the error names them
        self._items.finish()

    def __enter__(self) -> Self:
        self._submitter.windows.add(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ResultTimeout):
            error.job_ids = tuple(str(entry.handle) for entry in self.entries if entry.handle)
            error.__cause__ = self._items.error
        left = () if isinstance(error, ResultTimeout) and not self.tied else self.lost()
        for entry in self.entries:
            if entry.future:
                entry.future.cancel()
        self._items.end(None)
        self.entries.clear()
        self._submitter.windows.discard(self)
        if left:
            self._submitter.cancel_all(left)

    def lost(self) -> list[str]:
        """Return the jobs that end with the map: nobody can ask for them, or they are tied."""
        under_way = [
            str(entry.handle)
            for entry in self.entries
            # A cancelled future means that the wait for the job was given up.
            if entry.future
            and (entry.future.cancelled() or not entry.future.done())
            and (self.tied or not entry.known)
        ]
        return under_way + self._beginning


def _jobs_per_round_trip() -> int:
    return JOBS_PER_ROUND_TRIP_ON_LOOP if on_event_loop() else JOBS_PER_ROUND_TRIP


def _is_known(item: Any) -> bool:
    """Return whether the caller has the id of an item's job."""
    return isinstance(item, Job | str)


def in_order(window: Window, timeout: float | None) -> Iterator[Answer[Any] | ForebayError]:
    """Yield the answers in the order of the items; a job that failed yields its error."""
    with window:
        window.fill()
        while window.entries:
            yield window.answer(window.entries[0], timeout)
            window.fill()
        window.finish()


def as_they_end(window: Window, timeout: float | None) -> Iterator[Completed[Any]]:
    """Yield the answers as the jobs end, each with its handle and its item."""
    ended: Mailbox[int] = Mailbox()
    under_way: dict[int, Entry] = {}
    with window:
        while True:
            for entry in window.fill():
                under_way[id(entry)] = entry
                _when_ended(entry, partial(ended.put, id(entry)))
            if not window.entries:
                break
            entry = under_way.pop(_first(ended, window, timeout))
            yield Completed(entry.handle, window.answer(entry, 0), entry.item)
        window.finish()


def _when_ended(entry: Entry, tell: Callable[[], None]) -> None:
    """Call a function that does not refer to the entry, which would then refer to itself."""
    if entry.future is None:
        tell()
    else:
        entry.future.add_done_callback(lambda _: tell())


def _first(ended: Mailbox[int], window: Window, timeout: float | None) -> int:
    try:
        return ended.get(timeout)
    except TimeoutError:
        raise late(str(window.entries[0].handle), tied=window.tied) from None


def submitted(items: Items, submitter: Submitter) -> Iterator[JobHandle[Any] | ForebayError]:
    """Submit the items and yield the handle of each job, or the error in its place.

    A batch is made and yielded while Redis takes in the batch before.
    """
    ahead: Future[tuple[list[JobHandle[Any] | ForebayError], ForebayError | None]] | None = None
    try:
        while ahead is not None or not items.exhausted:
            submitter.check_open()
            made = [made for _, made in items.take(_jobs_per_round_trip())]
            before, ahead = ahead, None
            if made:
                ahead = beside(partial(submitter.submit_all, made), "submit")
            if before is not None:
                handles, error = outcome(before)
                if error is not None:
                    items.end(error)
                yield from handles
        items.finish()
    finally:
        if ahead is not None:
            outcome(ahead)  # the jobs that were submitted ahead go on
