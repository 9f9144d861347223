"""The memory of this machine's card, from its driver; no CUDA library is loaded."""

from __future__ import annotations

import os
import shutil
import subprocess

_TIMEOUT_S = 20.0


def card_bytes() -> int | None:
    """Return the bytes of memory of the first card that CUDA would use; `None` without a card."""
    program = shutil.which("nvidia-smi")
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if program is None or not first:
        return None
    query = [program, f"--id={first}", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the driver's own program
            query, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    mib = done.stdout.strip()
    return int(mib) << 20 if mib.isdecimal() else None
