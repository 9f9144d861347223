"""Says why Redis cannot be reached: what an operator can mend, and nothing that Redis sent."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

_CLOSED = "Connection closed by server"  # redis-py's words
_NO_AUTHORITY = "NO_CERTIFICATE_OR_CRL_FOUND"


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
