"""The sources of packages that cannot be imported here, and classes made from them."""

from __future__ import annotations

import ast
import types
from importlib.metadata import distribution
from pathlib import Path


def source(package, path):
    """The text of a file of an installed package, which is not imported."""
    return Path(str(distribution(package).locate_file(f"{package}/{path}"))).read_text("utf-8")


def real(package, path, **imported):
    """All that a file of the package defines, from its source; what it imports is given."""
    body = [
        node
        for node in ast.parse(source(package, path)).body
        if not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    futures = ast.parse("from __future__ import annotations").body
    module = ast.Module(body=futures + body, type_ignores=[])
    torch = types.SimpleNamespace(half="half")
    space = {"torch": torch, "TYPE_CHECKING": False, **imported}
    exec(compile(module, path, "exec"), space)
    return types.SimpleNamespace(**space)


Exl2Filter = real("exllamav2", "generator/filters/base.py").ExLlamaV2Filter
Exl3Filter = real("exllamav3", "generator/filter/filter.py").Filter
