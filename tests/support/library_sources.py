"""Classes from the sources of installed packages that cannot be imported without a GPU."""

from __future__ import annotations

import ast
import types
from importlib.metadata import distribution
from pathlib import Path


def source(package, path):
    """Return the text of a file of an installed package without importing the package."""
    return Path(str(distribution(package).locate_file(f"{package}/{path}"))).read_text("utf-8")


def real(package, path, **imported):
    """Return the names that a file of the package defines; `imported` stands for its imports."""
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
