"""Boosted regression trees, walked in plain Python: no numeric library where a router runs.

Packed as one record a node (feature, threshold or value, right child), compressed, in base64, so
that some hundred trees fit into a JSON file beside the code.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

_RECORD = struct.Struct("<bfh")
LEAF = -1  # in place of a feature
MAX_UNPACKED_BYTES = 4 * 1024 * 1024  # bytes that packed trees may unpack to


class Node(NamedTuple):
    """A split, or a leaf.

    Attributes:
        feature: place of the feature that is looked at; `LEAF` for a leaf.
        value: at most so much goes left, to the next node; of a leaf, what it says.
        right: place, in its tree, of the node to go to otherwise.
    """

    feature: int
    value: float
    right: int


class Forest:
    """The sum of trees; each is a list of nodes in which the left child follows its parent."""

    def __init__(self, trees: Iterable[Sequence[Node]]) -> None:
        """Raise `ValueError` where a node leads back, or out of its tree."""
        self.trees = tuple(tuple(tree) for tree in trees)
        for tree in self.trees:
            _check(tree)
        # Bare tuples are taken apart faster than those with names.
        self._bare = [[(node[0], node[1], node[2]) for node in tree] for tree in self.trees]

    def __call__(self, features: Sequence[float]) -> float:
        """What the trees say of these features."""
        total = 0.0
        for tree in self._bare:
            at = 0
            feature, value, right = tree[0]
            while feature >= 0:
                at = at + 1 if features[feature] <= value else right
                feature, value, right = tree[at]
            total += value
        return total

    def width(self) -> int:
        """How many features it looks at, at least."""
        return 1 + max((node.feature for tree in self.trees for node in tree), default=LEAF)

    def pack(self) -> str:
        """As text; numbers are rounded to 32 bits."""
        sizes = struct.pack(f"<H{len(self.trees)}H", len(self.trees), *map(len, self.trees))
        nodes = b"".join(_RECORD.pack(*node) for tree in self.trees for node in tree)
        return base64.b64encode(zlib.compress(sizes + nodes, 9)).decode()

    @classmethod
    def unpack(cls, packed: str) -> Self:
        """Read what `pack` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            data = zlib.decompressobj().decompress(
                base64.b64decode(packed, validate=True), MAX_UNPACKED_BYTES
            )
            (count,) = struct.unpack_from("<H", data)
            sizes = struct.unpack_from(f"<{count}H", data, 2)
            nodes = map(Node._make, _RECORD.iter_unpack(data[2 + 2 * count :]))
            trees = [[next(nodes) for _ in range(size)] for size in sizes]
        except (struct.error, zlib.error, binascii.Error, StopIteration) as error:
            raise ValueError("holds no packed trees") from error
        return cls(trees)


def _check(tree: Sequence[Node]) -> None:
    if not tree:
        raise ValueError("holds an empty tree")
    for at, node in enumerate(tree):
        if node.feature < LEAF or (node.feature != LEAF and not at + 1 < node.right < len(tree)):
            raise ValueError("holds a tree that leads nowhere")
