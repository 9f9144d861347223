"""Signed heads of the egress log, so that it can be proved later who said where the log ended.

A line has a day, the number and the hash of that day's last entry, and a signature by Ed25519.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from forebay.routing.books.egress_log import Head
from forebay.routing.errors import InvalidJob, Misconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

#: In front of what is signed, so that the signature holds for nothing else.
_ABOUT = "forebay egress head"
_HASH_DIGITS = 64  # of SHA-256, hexadecimal


class KeptHead(NamedTuple):
    """A head that was kept outside of Redis; `signature` is empty if it has none."""

    day: str
    head: Head
    signature: str

    @property
    def line(self) -> str:
        """The head as a line of a file."""
        end = f"{self.head.seq}:{self.head.hash}"
        return "  ".join(part for part in (self.day, end, self.signature) if part)

    def signed(self, key: Ed25519PrivateKey) -> KeptHead:
        """Return the head with a signature."""
        signature = b64encode(key.sign(_message(self.day, self.head))).decode()
        return self._replace(signature=signature)

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Return whether the signature is that of the key's owner."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        try:
            key.verify(b64decode(self.signature, validate=True), _message(self.day, self.head))
        except (InvalidSignature, ValueError):
            return False
        return True


def read_head(line: str) -> KeptHead:
    """Read a line of a file, or NUMBER:HASH alone.

    Raises:
        InvalidJob: The line is no head.
    """
    parts = line.split()
    at = next((number for number, part in enumerate(parts) if ":" in part), 0)
    seq, _, last = parts[at].partition(":") if parts else ("", "", "")
    if at > 1 or len(parts) > at + 2 or not seq.isdecimal() or len(last) != _HASH_DIGITS:
        raise InvalidJob("must be NUMBER:HASH, as `forebay egress heads` prints it")
    return KeptHead("".join(parts[:at]), Head(int(seq), last), "".join(parts[at + 1 :]))


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a key that signs.

    Raises:
        Misconfigured: The file is no private key of Ed25519 in PEM.
    """
    return cast("Ed25519PrivateKey", _key(path, "private", "--sign", password=None))


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a key that checks signatures.

    Raises:
        Misconfigured: The file is no public key of Ed25519 in PEM.
    """
    return cast("Ed25519PublicKey", _key(path, "public", "--public-key"))


def _key(path: Path, kind: str, option: str, **options: Any) -> object:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "signatures need the package cryptography: install the extra `encryption`"
        raise Misconfigured(hint, field=option) from None
    try:
        key: object = getattr(serialization, f"load_pem_{kind}_key")(path.read_bytes(), **options)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}", field=option) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key(path, kind, option) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        raise _no_key(path, kind, option)
    return key


def _no_key(path: Path, kind: str, option: str) -> Misconfigured:
    hint = f"{path} is no {kind} key of Ed25519 in PEM without a password: make one with openssl"
    return Misconfigured(hint, field=option)


def _message(day: str, head: Head) -> bytes:
    return f"{_ABOUT} {day} {head.seq}:{head.hash}".encode()
