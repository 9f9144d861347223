"""Calls that can be stopped: `call` runs a function in a process that is killed past its budget.

Python cannot interrupt a regular expression or a validator, and such a call may hold the
interpreter lock for ever. So work on content of a caller or of a model whose cost is not known to
be small is done by warm processes beside the worker. Content reaches them by a pipe; it is never in
their arguments or their environment.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from forebay.routing.errors import Lost
from forebay.workers.isolation.frames import frame
from forebay.workers.isolation.limits import MAX_IDLE, MAX_PROCESSES, WALL_S, Crowded, OverBudget
from forebay.workers.isolation.process import IsolatedProcess
from forebay.workers.isolation.shares import Shares

P = ParamSpec("P")
R = TypeVar("R")

_WAIT_S = 0.1  # how late a call that waits for a process notices that it was cancelled


@dataclass
class Scope:
    """The calls of one job, which are cancelled together; its tenant, if it is known."""

    tenant: str = ""
    cancelled: bool = False
    process: IsolatedProcess | None = None


class _Block:
    """A block of a thread whose calls `Pool.cancel` of a key stops. Each job enters some."""

    __slots__ = ("_key", "_pool", "_scope")

    def __init__(self, pool: Pool, key: str) -> None:
        self._pool, self._key = pool, key

    def __enter__(self) -> None:
        """Let the calls be stopped from now on."""
        self._scope = self._pool.enter(self._key)

    def __exit__(self, *_: object) -> None:
        """Let no call be stopped any more."""
        self._pool.leave(self._key, self._scope)


class Pool:
    """Warm processes, and the scopes of the jobs that use them. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[IsolatedProcess] = []
        self._count = 0
        self._shares = Shares()
        self._scopes: dict[str, Scope] = {}
        self._current = threading.local()

    def run(self, function: Callable[..., R], call: bytes, wall_s: float) -> R:
        """Make a call in a free process; see `call`."""
        scope: Scope = getattr(self._current, "scope", None) or Scope(self._tenant())
        process = self._take(function.__module__, scope)
        try:
            ending, value = self._in_scope(scope, process, call, wall_s)
        finally:
            self._give_back(process, scope)
        if ending == "returned":
            result: R = value
            return result
        raise value if ending == "raised" else RuntimeError(value)

    def cancellable(self, key: str) -> AbstractContextManager[None]:
        """Let `cancel` of this key stop the calls of this thread in this block.

        The key begins with the tenant and a dot, as the id of a job does.
        """
        return _Block(self, key)

    def enter(self, key: str) -> Scope:
        """Have the calls of this thread belong to a new scope, until the thread leaves it."""
        current = self._current
        current.tenant = key.partition(".")[0]
        scope = self._scopes[key] = current.scope = Scope(current.tenant)
        return scope

    def leave(self, key: str, scope: Scope) -> None:
        """Leave a scope that this thread has entered."""
        self._current.scope = None
        self._current.tenant = ""
        if self._scopes.get(key) is scope:
            del self._scopes[key]

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let no `cancel` stop the calls of this thread in this block."""
        scope = getattr(self._current, "scope", None)
        self._current.scope = None
        try:
            yield
        finally:
            self._current.scope = scope

    def cancel(self, key: str) -> None:
        """Stop the call of a scope, and let it begin no other; unknown keys are ignored."""
        with self._changed:
            scope = self._scopes.get(key)
            if scope is not None:
                scope.cancelled = True
                if scope.process is not None:
                    scope.process.kill()

    def close(self) -> None:
        """End the idle processes."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._count -= len(idle)
        for process in idle:
            process.end()

    def _tenant(self) -> str:
        """Return the tenant whose job this thread works; empty if it works none."""
        tenant: str = getattr(self._current, "tenant", "")
        return tenant

    def _in_scope(
        self, scope: Scope, process: IsolatedProcess, call: bytes, wall_s: float
    ) -> tuple[str, Any]:
        with self._changed:
            if scope.cancelled:
                raise Lost
            scope.process = process
        try:
            return process.call(call, wall_s, lambda: self._slow_down(scope))
        except OverBudget:
            if scope.cancelled:
                raise Lost from None
            raise
        finally:
            with self._changed:
                scope.process = None

    def _take(self, module: str, scope: Scope) -> IsolatedProcess:
        """Return an idle process, or a new one; wait while there are too many already."""
        with self._changed:
            self._await_share(scope)
            self._shares.use(scope.tenant)
            if self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.end()
            else:
                self._count += 1
        try:
            return IsolatedProcess(module)
        except BaseException:
            self._forget(scope)
            raise

    def _await_share(self, scope: Scope) -> None:
        """Wait until the scope's tenant may use a process, and there is one.

        Raises:
            Crowded: Calls of the tenant take too long, and this one waited long enough.
            Lost: The scope was cancelled.
        """
        began = time.monotonic()
        while not (self._is_any_free() and self._shares.is_free(scope.tenant)):
            if time.monotonic() - began > self._shares.patience_s(scope.tenant):
                raise Crowded("other checks of this tenant take too long")
            self._changed.wait(_WAIT_S)
            if scope.cancelled:
                raise Lost

    def _is_any_free(self) -> bool:
        return bool(self._idle) or self._count < MAX_PROCESSES

    def _slow_down(self, scope: Scope) -> None:
        """Give the scope's tenant fewer processes for a while: one of its calls computes long."""
        with self._changed:
            self._shares.slow_down(scope.tenant)

    def _give_back(self, process: IsolatedProcess, scope: Scope) -> None:
        with self._changed:
            if process.alive and len(self._idle) < MAX_IDLE:
                self._idle.append(process)
                self._shares.give_back(scope.tenant)
                self._changed.notify_all()
                return
        process.end()
        self._forget(scope)

    def _forget(self, scope: Scope) -> None:
        with self._changed:
            self._count -= 1
            self._shares.give_back(scope.tenant)
            self._changed.notify_all()


_pool = Pool()
_direct = False  # this process is an isolated one itself


def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of a module in a process that is killed past the budget.

    Raises:
        OverBudget: The call took too much time or memory. `Crowded` if it was not even begun.
        Lost: `cancel` stopped the call.
        ForebayError: What the function raises.
        RuntimeError: The function raised something else; the message names its type and place.
    """
    return call_within(WALL_S, function, *args, **kwargs)


def call_within(wall_s: float, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function as `call` does, with another limit in seconds of wall time."""
    if _direct:
        return function(*args, **kwargs)
    try:
        request = frame((function, args, kwargs))
    except (RecursionError, MemoryError):
        raise OverBudget("cannot be checked") from None
    return _pool.run(function, request, wall_s)


def cancellable(key: str) -> AbstractContextManager[None]:
    """Let `cancel` of this key stop the calls that this thread makes in the block."""
    return _pool.cancellable(key)


def shielded() -> AbstractContextManager[None]:
    """Let no `cancel` stop the calls that this thread makes in the block.

    An answer that is paid for is read even if its job is lost, so that it can be kept.
    """
    return _pool.shielded()


def cancel(key: str) -> None:
    """Stop the calls of a block that is `cancellable`; they raise `Lost`."""
    _pool.cancel(key)


def call_directly() -> None:
    """Make every further call in this process, because this process is an isolated one."""
    global _direct  # noqa: PLW0603 - a property of the process
    _direct = True


def _forget_pool() -> None:
    """Begin anew in a forked process: the processes are its parent's."""
    global _pool  # noqa: PLW0603 - a property of the process
    _pool = Pool()


@atexit.register
def _close_pool() -> None:
    """End the idle processes, which would notice the end of this one a moment later."""
    _pool.close()


os.register_at_fork(after_in_child=_forget_pool)
