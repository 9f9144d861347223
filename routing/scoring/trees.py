"""Gradient boosted regression trees, evaluated in plain Python.

A node is packed as one record (feature, threshold or value, right child). The records are
compressed, in base64, so that hundreds of trees fit into a JSON file beside the code.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

_RECORD = struct.Struct("<bfh")
LEAF = -1  # instead of the index of a feature
MAX_UNPACKED_BYTES = 4 * 1024 * 1024  # bytes that packed trees may unpack to


class Node(NamedTuple):
    """A split, or a leaf.

    Attributes:
        feature: index of the feature that is compared; `LEAF` for a leaf.
        value: the threshold of a split, or the output of a leaf. A feature at or below the
            threshold goes left, to the next node.
        right: index, in its tree, of the right child.
    """

    feature: int
    value: float
    right: int


class Forest:
    """A sum of trees. A tree is a list of nodes in which the left child follows its parent."""

    def __init__(self, trees: Iterable[Sequence[Node]]) -> None:
        """Raise `ValueError` if a node points backwards, or out of its tree."""
        self.trees = tuple(tuple(tree) for tree in trees)
        for tree in self.trees:
            _check(tree)
        # Plain tuples unpack faster than named tuples.
        self._plain = [[(node[0], node[1], node[2]) for node in tree] for tree in self.trees]

    def __call__(self, features: Sequence[float]) -> float:
        """Return the output of the trees for these features."""
        total = 0.0
        for tree in self._plain:
            at = 0
            feature, value, right = tree[0]
            while feature >= 0:
                at = at + 1 if features[feature] <= value else right
                feature, value, right = tree[at]
            total += value
        return total

    def width(self) -> int:
        """Return the number of features that the trees need."""
        return 1 + max((node.feature for tree in self.trees for node in tree), default=LEAF)

    def pack(self) -> str:
        """Return the trees as text; numbers are rounded to 32 bits."""
        sizes = struct.pack(f"<H{len(self.trees)}H", len(self.trees), *map(len, self.trees))
        nodes = b"".join(_RECORD.pack(*node) for tree in self.trees for node in tree)
        return base64.b64encode(zlib.compress(sizes + nodes, 9)).decode()

    @classmethod
    def unpack(cls, packed: str) -> Self:
        """Return the trees in a text that `pack` wrote.

        Raises:
            ValueError: The text holds no packed trees.
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
            raise ValueError("must hold packed trees") from error
        return cls(trees)


def _check(tree: Sequence[Node]) -> None:
    """Raise `ValueError` if a walk down the tree could fail to end at a leaf."""
    if not tree:
        raise ValueError("must hold no empty tree")
    for at, node in enumerate(tree):
        if node.feature < LEAF or (node.feature != LEAF and not at + 1 < node.right < len(tree)):
            raise ValueError(
                "must hold trees in which each right child comes after its left child, in its tree"
            )
