"""Seal contents for Redis: compressed, and encrypted if there are keys (Fernet).

The first byte of a sealed content names its form: `z` is compressed, `f` compressed and then
encrypted. A process can read `z`, and `f` if it has the key; it writes `f` if it has a key. So keys
can be introduced, changed and removed while jobs are waiting.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forebay.routing.errors import Misconfigured
from forebay.routing.settings import Settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MAX_BYTES = 64 * 1024 * 1024  # of one content, unpacked; a forged content cannot fill the memory
SMALL_BYTES = 4 * 1024  # of a content for which zlib needs little memory, and a third of the time
_SMALL_WINDOW = 12  # zlib's wbits: 2 ** 12 = SMALL_BYTES
_SMALL_MEMORY = 5  # zlib's memLevel: 24 KiB together with the window, instead of 256
_ZLIB, _FERNET = b"z", b"f"
_KEYS = "FOREBAY_CONTENT_KEYS"


@dataclass(frozen=True, slots=True)
class Seal:
    """Closes contents and opens them again. Without keys it compresses and does not encrypt."""

    _keys: MultiFernet | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Seal:
        """Return the seal that the settings ask for.

        Raises:
            Misconfigured: A key is not a Fernet key, or the package cryptography is missing.
        """
        if settings.content_keys is None:
            return cls()
        return cls(_fernet(settings.content_keys.get_secret_value()))

    def close(self, data: bytes) -> bytes:
        """Return the content as it is stored."""
        packed = _packed(data)
        if self._keys is None:
            return _ZLIB + packed
        # Fernet returns base64, which would take a third more of Redis' memory.
        return _FERNET + urlsafe_b64decode(self._keys.encrypt(packed))

    def open(self, sealed: bytes) -> bytes:
        """Return the content that was closed.

        Raises:
            ValueError: `close` did not make these bytes, or they unpack to more than `MAX_BYTES`.
            Misconfigured: The content is encrypted, and none of the keys opens it.
        """
        match sealed[:1]:
            case b"z":
                return _unpacked(sealed[1:])
            case b"f":
                return _unpacked(self._decrypted(sealed[1:]))
        raise ValueError("a content of an unknown form")

    def _decrypted(self, token: bytes) -> bytes:
        if self._keys is None:
            raise Misconfigured("a stored content needs a key, and none is set", field=_KEYS)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - an extra: only with keys

        try:
            return self._keys.decrypt(urlsafe_b64encode(token))
        except InvalidToken:
            raise Misconfigured("none of the keys opens a stored content", field=_KEYS) from None


PLAIN = Seal()


def _fernet(keys: str) -> MultiFernet:
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "needs the package cryptography: install the extra `encryption`"
        raise Misconfigured(hint, field=_KEYS) from None
    try:
        return MultiFernet([Fernet(_strict_base64(key.strip())) for key in keys.split(",")])
    except ValueError:  # its message may quote the key
        hint = "must be Fernet keys (32 bytes in URL-safe base64), separated by commas"
        raise Misconfigured(hint, field=_KEYS) from None


def _strict_base64(key: str) -> str:
    """Return the key, or raise ValueError: Fernet itself ignores characters that are not base64."""
    b64decode(key, altchars=b"-_", validate=True)
    return key


def _packed(data: bytes) -> bytes:
    if len(data) > SMALL_BYTES:
        return zlib.compress(data, level=1)
    compressor = zlib.compressobj(1, zlib.DEFLATED, _SMALL_WINDOW, _SMALL_MEMORY)
    return compressor.compress(data) + compressor.flush()


def _unpacked(packed: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(packed, MAX_BYTES)
    except zlib.error:
        raise ValueError("a damaged content") from None
    if not decompressor.eof:
        raise ValueError("a content that is cut off or too large")
    return data
