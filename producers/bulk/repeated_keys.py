"""Finds keys that repeat, in bounded memory."""

from __future__ import annotations

import logging
from array import array

from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)

#: How many keys are remembered, in 50 MB. Later keys are only compared with these.
MAX_KEYS_REMEMBERED = 2_700_000

#: A larger number of a row is remembered as this.
MAX_ROW = 2**32 - 1

_FIRST_SLOTS = 1024


class RepeatedKeys:
    """Remembers keys by a 64-bit hash, with the row that had each first.

    The first key that it has no room for is logged: a repeat of such a key is not found.

    Two different keys may have the same hash: with all 2,700,000 keys remembered, the probability
    that any two of them do is 1 in 5 million.
    """

    def __init__(self, max_keys: int = MAX_KEYS_REMEMBERED) -> None:
        self._max_keys = max_keys
        self._count = 0
        self._told = False
        self._hashes = array("Q", bytes(8 * _FIRST_SLOTS))
        self._rows = array("I", bytes(4 * _FIRST_SLOTS))

    def first_row(self, key: str, row: int) -> int | None:
        """Return the number of the earlier row with this key; remember the key if there is none."""
        mark = hash(key) & 0xFFFF_FFFF_FFFF_FFFF or 1  # 0 marks a free slot
        slot = _slot(self._hashes, mark)
        if self._hashes[slot]:
            return self._rows[slot]
        if self._count >= self._max_keys:
            self._tell(row)
            return None
        self._hashes[slot], self._rows[slot] = mark, min(row, MAX_ROW)
        self._count += 1
        if 3 * self._count > 2 * len(self._hashes):
            self._grow()
        return None

    def _tell(self, row: int) -> None:
        """Log once that keys are not remembered any more."""
        if not self._told:
            log.warning(
                "from row %d on, keys are compared with the first %d keys only", row, self._count,
                extra=event(Event.BULK_KEYS_FULL),
            )  # fmt: skip
        self._told = True

    def _grow(self) -> None:
        hashes, rows = self._hashes, self._rows
        self._hashes = array("Q", bytes(16 * len(hashes)))
        self._rows = array("I", bytes(8 * len(hashes)))
        for mark, row in zip(hashes, rows, strict=True):
            if mark:
                slot = _slot(self._hashes, mark)
                self._hashes[slot], self._rows[slot] = mark, row


def _slot(hashes: array[int], mark: int) -> int:
    """Return the slot that holds the hash, or the free one where it belongs."""
    mask = len(hashes) - 1
    slot = mark & mask
    while hashes[slot] not in (0, mark):
        slot = (slot + 1) & mask
    return slot
