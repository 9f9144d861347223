"""Blocking code on an event loop: while it waits there, other tasks run.

The ledger and the client are written once, as blocking code. `run_blocking` runs them for asyncio
in a greenlet, which hands each wait over to the loop (`wait_for`). No thread is involved.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, Generic, ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

P = ParamSpec("P")
T = TypeVar("T")

MAX_ITEMS_PER_TURN = 20  # items that `each` yields before other tasks get their turn


class _Call(greenlet):  # type: ignore[misc]  # greenlet has no types
    """A call of blocking code. Its parent is the greenlet of the task that awaits the call."""


async def run_blocking(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what blocking code returns; await for it what it passes to `wait_for`.

    What an awaited value raises, a cancellation included, is raised in the blocking code where it
    waits, so that its `except` and `finally` clauses run.
    """
    running = _Call(partial(call, *args, **kwargs))
    running.gr_context = getcurrent().gr_context
    cancels = _cancels()
    awaited = running.switch()
    while not running.dead:
        resume: Callable[[], Any]
        try:
            resume = partial(running.switch, await _or_cancelled(awaited, cancels))
        except BaseException as error:  # noqa: BLE001 - raised again in the blocking code
            cancels = _cancels()
            resume = partial(running.throw, error)
        running.parent = getcurrent()  # an eager task continues in another greenlet than it began
        awaited = resume()
    return cast("T", awaited)


def _cancels() -> int:
    """Return how often the cancellation of the running task was asked for."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


async def _or_cancelled(awaitable: Awaitable[T], cancels: int) -> T:
    """Await; raise a new cancellation that was swallowed, as `asyncio.wait_for` of 3.11 does."""
    value = await awaitable
    if _cancels() > cancels:
        raise asyncio.CancelledError
    return value


def on_event_loop() -> bool:
    """Return whether this code was called through `run_blocking`."""
    return isinstance(getcurrent(), _Call)


def wait_for(awaitable: Awaitable[T]) -> T:
    """Return the result of an awaitable. Only for code that was called through `run_blocking`."""
    return cast("T", getcurrent().parent.switch(awaitable))


def outcome(future: Future[T], timeout: float | None = None) -> T:
    """Return the result of a future. If the wait is given up, the future is cancelled.

    Raises:
        TimeoutError: The result did not come within `timeout` seconds.
    """
    if future.done():
        return future.result()
    try:
        if on_event_loop():
            return wait_for(_within(timeout, awaitable(future)))
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


def awaitable(future: Future[T]) -> asyncio.Future[T]:
    """Return a future of the running event loop for a future of threads.

    Each is cancelled with the other. `asyncio.wrap_future` would wake the loop by a system call,
    also if the future ends on the loop's own thread.
    """
    loop, here = asyncio.get_running_loop(), threading.get_ident()
    awaited: asyncio.Future[T] = loop.create_future()

    def pass_on(ended: Future[T]) -> None:
        if threading.get_ident() == here:
            _copy_end(ended, awaited)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_copy_end, ended, awaited)

    awaited.add_done_callback(lambda one: future.cancel() if one.cancelled() else None)
    future.add_done_callback(pass_on)
    return awaited


def _copy_end(ended: Future[T], awaited: asyncio.Future[T]) -> None:
    if awaited.done():
        return
    if ended.cancelled():
        awaited.cancel()
    elif (error := ended.exception()) is not None:
        awaited.set_exception(error)
    else:
        awaited.set_result(ended.result())


async def _within(limit_s: float | None, future: asyncio.Future[T]) -> T:
    async with asyncio.timeout(limit_s):
        return await future


def pause(seconds: float, unless: threading.Event | None = None) -> None:
    """Sleep; on a thread, not longer than until the event is set. A task is cancelled instead."""
    if on_event_loop():
        wait_for(asyncio.sleep(seconds))
    elif unless is not None:
        unless.wait(seconds)
    else:
        time.sleep(seconds)


class Background:
    """A function that runs beside its caller: on the caller's event loop, or else on a thread."""

    def __init__(self, function: Callable[[], None], name: str) -> None:
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        if on_event_loop():
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(run_blocking(function), name=name)
        else:
            self._thread = threading.Thread(target=function, daemon=True, name=name)
            self._thread.start()

    def is_alive(self) -> bool:
        """Return whether the function has not ended yet."""
        return (
            not self._task.done() if self._task else bool(self._thread and self._thread.is_alive())
        )

    def stop(self, ask: Callable[[], None], timeout: float) -> None:
        """End the function; called by the function itself, do nothing.

        Args:
            ask: makes a function on a thread return; a task is cancelled instead.
            timeout: seconds to wait for the thread.
        """
        if self._task:
            if self._task is not asyncio.current_task() and not self._task.done():
                self._task.cancel()
                wait_for(asyncio.wait([self._task]))
        elif self._thread and self._thread is not threading.current_thread():
            ask()
            self._thread.join(timeout)


def beside(call: Callable[[], T], name: str) -> Future[T]:
    """Run a call beside its caller, and return the future of what it returns."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whoever asks the future gets it
            future.set_exception(error)

    background = Background(run, name)
    future.add_done_callback(lambda _: background)  # a task that nobody refers to may vanish
    return future


class Mailbox(Generic[T]):
    """Things that any thread puts in and one caller takes out, the first first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._things: deque[T] = deque()
        self._arrival: Future[None] | None = None

    def put(self, thing: T) -> None:
        """Add a thing, and wake the caller that waits."""
        with self._lock:
            self._things.append(thing)
            arrival, self._arrival = self._arrival, None
        if arrival is not None and arrival.set_running_or_notify_cancel():
            arrival.set_result(None)

    def get(self, timeout: float | None = None) -> T:
        """Remove and return the first thing; wait for it if there is none.

        Raises:
            TimeoutError: Nothing came within `timeout` seconds.
        """
        with self._lock:
            if self._things:
                return self._things.popleft()
            self._arrival = arrival = Future[None]()
        outcome(arrival, timeout)
        return self.get(timeout)


class _BlockingIterator(Iterator[T]):
    """The items of an async iterable, for blocking code on the event loop."""

    def __init__(self, items: AsyncIterable[T]) -> None:
        self._items = aiter(items)

    def __next__(self) -> T:
        try:
            return wait_for(anext(self._items))
        except StopAsyncIteration:
            raise StopIteration from None


def blocking_items(items: Any) -> Any:
    """Return items that blocking code on the event loop can iterate, of any iterable."""
    return _BlockingIterator(items) if isinstance(items, AsyncIterable) else items


async def each(items: Iterator[T]) -> AsyncGenerator[T]:
    """Yield the items of blocking code; a generator is closed at the end."""
    end = object()
    try:
        for number in count(1):
            item = await run_blocking(next, items, end)
            if item is end:
                return
            yield cast("T", item)
            if number % MAX_ITEMS_PER_TURN == 0:
                await asyncio.sleep(0)
    finally:
        if isinstance(items, Generator):
            await run_blocking(items.close)
