"""The environments of what benchmarks measure beside Forebay; `make peers` makes them."""

from __future__ import annotations

from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / ".peers"


def python_of(peer: str) -> str | None:
    """Return the Python of a peer's environment; `None` if it was not made."""
    python = PEERS / peer / "bin" / "python"
    return str(python) if (PEERS / peer / "installed").exists() else None
