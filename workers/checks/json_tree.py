"""Walks over JSON documents, without recursion, so that no depth is too much."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

Path = tuple[Hashable, ...]


def nodes(document: Any) -> Iterator[Any]:
    """Yield the document and every part of it, in no particular order."""
    stack = [document]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, dict):
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def leaves(document: Any) -> Iterator[Any]:
    """Yield every value that is neither an object nor a list."""
    return (node for node in nodes(document) if not isinstance(node, dict | list))


def leaves_by_path(document: Any, *, max_depth: int) -> dict[Path, Any]:
    """Return the leaves under their paths: names of members and indexes of lists.

    An empty object or list is a leaf too, and so is a part that lies deeper than `max_depth`.
    """
    by_path: dict[Path, Any] = {}
    stack: list[tuple[Path, Any]] = [((), document)]
    while stack:
        path, node = stack.pop()
        if node and isinstance(node, dict | list) and len(path) < max_depth:
            parts = node.items() if isinstance(node, dict) else enumerate(node)
            stack += [((*path, name), part) for name, part in parts]
        else:
            by_path[path] = node
    return by_path
