"""Walk a JSON document: its nodes, leaves and texts.

No function here recurses, so a document that is nested too deep cannot exhaust the stack.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

Path = tuple[Hashable, ...]


def nodes(document: Any) -> Iterator[Any]:
    """Yield the document and every part of it, in document order."""
    stack = [document]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(_parts(node)))


def leaves(document: Any) -> Iterator[Any]:
    """Yield every value that is neither an object nor an array, in document order."""
    return (node for node in nodes(document) if not isinstance(node, dict | list | tuple))


def leaves_by_path(document: Any, *, max_depth: int) -> dict[Path, Any]:
    """Return the leaves under their paths: names of members and indexes of arrays.

    An empty object or array is a leaf as well, and so is a part whose path has `max_depth` steps.
    """
    by_path: dict[Path, Any] = {}
    stack: list[tuple[Path, Any]] = [((), document)]
    while stack:
        path, node = stack.pop()
        parts = _parts(node) if len(path) < max_depth else []
        if parts:
            names = node if isinstance(node, dict) else range(len(parts))
            stack += [((*path, name), part) for name, part in zip(names, parts, strict=True)]
        else:
            by_path[path] = node
    return by_path


def texts(document: Any) -> Iterator[str]:
    """Yield every name of a member, and every leaf except null as text, in document order."""
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack.extend(reversed([part for member in node.items() for part in member]))
        elif isinstance(node, list | tuple):
            stack.extend(reversed(node))
        elif node is not None:
            yield str(node)


def is_deeper_than(document: Any, levels: int) -> bool:
    """Return whether the document has more than this many levels. A scalar has one."""
    level = [document]
    for _ in range(levels):
        level = [part for node in level for part in _parts(node)]
    return bool(level)


def _parts(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, list | tuple) else []
