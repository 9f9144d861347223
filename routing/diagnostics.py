"""What is wrong, in words: the findings of `forebay doctor`, and why Redis cannot be reached.

Nothing that Redis sent is repeated, since it may name keys.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal

from forebay.routing.errors import ForebayError

WITHIN_S = 9.0  # of all checks together, so that the command ends within ten seconds
BUSY = 3  # a load of so much for each core makes a check slow by itself

_CLOSED = "Connection closed by server"  # redis-py's words
_NO_AUTHORITY = "NO_CERTIFICATE_OR_CRL_FOUND"

Severity = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked, short and stable.
        state: `warn` works but should be mended; `fail` does not work.
        seen: what the check saw, with no secret in it.
        mend: what to do about it; empty if nothing needs to be done.
    """

    name: str
    state: Severity
    seen: str
    mend: str = ""


Probe = Callable[[], Iterable[Finding]]


def examine(probes: Iterable[Probe], within_s: float = WITHIN_S) -> Iterator[Finding]:
    """Yield the findings of all probes, in order, each as soon as it is there.

    The probes run at the same time, each on a thread of its own. A probe that raises becomes a
    finding itself, and so does a probe that takes longer than `within_s`; neither stops the others.
    """
    end = time.monotonic() + within_s
    for name, found in [_begin(probe) for probe in probes]:
        try:
            while (finding := found.get(timeout=max(0.0, end - time.monotonic()))) is not None:
                yield finding
        except Empty:
            yield _overdue(name, within_s)


def _overdue(name: str, within_s: float) -> Finding:
    """Return the finding of a check that has not ended; on a busy machine nothing need be wrong."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    seen = f"the check takes longer than {within_s:g} s"
    if load > BUSY * cores:
        seen = f"{seen}: the machine is busy (load {load:.0f}, {cores} cores)"
        return Finding(name, "warn", seen, "run `forebay doctor` again when it is less busy")
    return Finding(name, "fail", seen, "see whether what it asks answers: Redis, AWS or the disk")


def _begin(probe: Probe) -> tuple[str, SimpleQueue[Finding | None]]:
    """Begin a probe on a thread; return its name, and its findings with `None` at the end."""
    name = getattr(probe, "__name__", "check").replace("_", " ")
    found: SimpleQueue[Finding | None] = SimpleQueue()

    def run() -> None:
        for finding in _findings(probe, name):
            found.put(finding)
        found.put(None)

    threading.Thread(target=run, name=f"check-{name}", daemon=True).start()
    return name, found


def _findings(probe: Probe, name: str) -> Iterator[Finding]:
    try:
        yield from probe()
    except ForebayError as error:
        yield Finding(name, "fail", f"{error.code}: {error}", "mend what it names")
    except Exception as error:  # noqa: BLE001 - one broken probe must not hide the others
        seen = f"the check itself broke ({type(error).__name__})"
        yield Finding(name, "fail", seen, "report it, with the output of `forebay version`")


def why_unreached(error: Exception) -> str:
    """Return the reason that the errors behind an error of redis-py give; else its type."""
    for cause in _causes(error):
        if reason := _reason(cause):
            return reason
    if str(error).startswith(_CLOSED):
        return "it closed the connection; if it speaks TLS, say rediss://"
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(cause: BaseException) -> str | None:
    """Return what an error of the operating system or of TLS means; `None` for any other."""
    if isinstance(cause, ssl.SSLError):
        return _reason_of_tls(cause)
    if isinstance(cause, TimeoutError) and "handshake" in str(cause):
        return "no TLS in time; if it speaks none, say redis://"
    if isinstance(cause, socket.gaierror):
        return "its host has no address"
    if isinstance(cause, FileNotFoundError):
        return "a file that its URL names is missing"
    return os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else None


def _reason_of_tls(cause: ssl.SSLError) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {cause.verify_message}: see ssl_ca_certs"
    if cause.reason == _NO_AUTHORITY:
        return "the file of ssl_ca_certs holds no certificate"
    return f"no TLS, {cause.reason}; if it speaks none, say redis://"
