"""Walk a JSON document: its nodes, keys, texts and leaves.

No function here recurses, so a document that is nested too deep cannot exhaust the stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]


def nodes(root: Any) -> Iterator[Any]:
    """Yield every node, `root` first, in document order."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(_children(node)))


def keys(root: Any) -> Iterator[str]:
    """Yield every key of every object in the document."""
    for node in nodes(root):
        if isinstance(node, dict):
            yield from node


def texts(root: Any) -> Iterator[str]:
    """Yield every key, and every value except null as text, in document order."""
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            pending.extend(reversed([part for item in node.items() for part in item]))
        elif isinstance(node, list | tuple):
            pending.extend(reversed(node))
        elif node is not None:
            yield str(node)


def leaves(root: Any, max_depth: int) -> Iterator[tuple[Path, Any]]:
    """Yield each leaf with its path, in document order.

    An empty object or array is a leaf, and so is any node whose path has `max_depth` parts.
    """
    pending: list[tuple[Path, Any]] = [((), root)]
    while pending:
        path, node = pending.pop()
        if len(path) < max_depth and (children := _children(node)):
            names = node if isinstance(node, dict) else range(len(children))
            named = [((*path, name), child) for name, child in zip(names, children, strict=True)]
            pending.extend(reversed(named))
        else:
            yield path, node


def is_deeper_than(root: Any, levels: int) -> bool:
    """Return whether the document has more than this many levels. A scalar has one."""
    level = [root]
    for _ in range(levels):
        level = [child for node in level for child in _children(node)]
    return bool(level)


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, list | tuple) else []
