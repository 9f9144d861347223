"""The window of `map`: the jobs that it has submitted and whose answers it has not yielded yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Any, Generic, NamedTuple, Self, TypeVar

from forebay.producers.arguments import checked_requests
from forebay.producers.options import Options, make_job
from forebay.producers.results import Result, Submitted, failure, wait
from forebay.routing.errors import ForebayError, InvalidJob, ResultTimeout
from forebay.routing.jobs import Answer, Answerable, Job

JOBS_PER_ROUND_TRIP = 250  # jobs that `map` submits at once
MAX_JOBS_UNDER_WAY = 2_000  # jobs that `map` has submitted and not yet yielded

ContentT = TypeVar("ContentT")


class _Entry(NamedTuple):
    """A job under way. `known` tells whether the caller has its id, or only the window has it."""

    submitted: Submitted[Any] | ForebayError
    known: bool


class Window(Generic[ContentT]):
    """The jobs of one `map` that are under way, in the order of the requests.

    1. `fill` takes requests and submits them; it talks to Redis.
    2. `first` is the job whose answer comes next; `drop_first` goes on to the next job.
    3. `leave` forgets the jobs, which go on; `cancel` ends those that nobody could ask for, also
       while another thread fills the window: an asyncio task can be cancelled then.
    """

    def __init__(
        self,
        requests: Iterable[Answerable[ContentT]],
        make_job: Callable[[Answerable[Any]], Job],
        submit: Callable[[list[Job]], list[Submitted[Any] | ForebayError]],
        cancel: Callable[[str], bool],
    ) -> None:
        """`submit` submits jobs in one round trip, `cancel` ends one job."""
        self._requests = iter(requests)
        self._make_job, self._submit, self._cancel = make_job, submit, cancel
        self._entries: deque[_Entry] = deque()
        self._exhausted = False
        self._filling = Lock()

    @classmethod
    def of(
        cls,
        requests: Iterable[Answerable[ContentT]],
        tenant: str,
        options: Options,
        submit: Callable[[list[Job]], list[Submitted[Any] | ForebayError]],
        cancel: Callable[[str], bool],
    ) -> Self:
        """Return the window of a tenant's requests, which all have the same options.

        Raises:
            InvalidJob: The requests are none, or the options hold an idempotency key.
        """
        if options.get("idempotency_key") is not None:
            hint = "is for one job, and `map` submits many: give each Job its own key"
            raise InvalidJob(hint, field="idempotency_key")
        requests = checked_requests(requests)
        return cls(requests, lambda request: make_job(request, tenant, options), submit, cancel)

    @property
    def has_room(self) -> bool:
        """Whether `fill` would take more requests."""
        room = len(self._entries) <= MAX_JOBS_UNDER_WAY - JOBS_PER_ROUND_TRIP
        return room and not self._exhausted

    def fill(self) -> None:
        """Take and submit requests until the window is full or no requests are left."""
        with self._filling:
            while self.has_room:
                requests = list(islice(self._requests, JOBS_PER_ROUND_TRIP))
                if not requests:
                    self._exhausted = True
                    return
                submitted = self._submit([self._make_job(request) for request in requests])
                known = (isinstance(request, Job) for request in requests)
                self._entries.extend(map(_Entry, submitted, known))

    @property
    def first(self) -> Submitted[ContentT] | ForebayError | None:
        """The next job, or the error that refused it; `None` if no job is left."""
        return self._entries[0].submitted if self._entries else None

    def drop_first(self) -> None:
        """Remove the first job, whose answer is there."""
        self._entries.popleft()

    def leave(self, error: ResultTimeout) -> None:
        """Forget the jobs, which go on, and write their ids into the error."""
        error.job_ids = tuple(str(handle) for handle, _ in self._jobs())
        self._forget()

    def cancel(self) -> None:
        """Cancel the jobs that were made from bare requests: nobody else has their ids."""
        self._exhausted = True
        with self._filling:
            ids = [
                entry.submitted[0]
                for entry in self._entries
                if not entry.known
                and not isinstance(entry.submitted, ForebayError)
                # A cancelled future means that the wait for the job was given up.
                and (entry.submitted[1].cancelled() or not entry.submitted[1].done())
            ]
            self._forget()
        try:
            for job_id in ids:
                self._cancel(job_id)
        except ForebayError:  # Redis is away, or the client is closed: the jobs go on
            return

    def _jobs(self) -> Iterator[Submitted[ContentT]]:
        for submitted, _ in self._entries:
            if not isinstance(submitted, ForebayError):
                yield submitted

    def _forget(self) -> None:
        for _, future in self._jobs():
            future.cancel()
        self._entries.clear()


def answers(
    window: Window[ContentT], timeout: float | None
) -> Iterator[Answer[ContentT] | ForebayError]:
    """Yield the answers of a window in order; a job that failed yields its error."""
    try:
        window.fill()
        while (submitted := window.first) is not None:
            if isinstance(submitted, ForebayError):
                answer: Answer[ContentT] | ForebayError = submitted
            else:
                answer = answer_or_error(wait(*submitted, timeout))
            window.drop_first()
            yield answer
            window.fill()
    except ResultTimeout as error:
        window.leave(error)
        raise
    finally:
        window.cancel()


def answer_or_error(result: Result[ContentT]) -> Answer[ContentT] | ForebayError:
    """Return the answer, or the error that the receipt describes."""
    return result if isinstance(result, Answer) else failure(result)
