"""Run exllamav2's converter: `python -m forebay.workers.engines.gpu.converter ARGS`.

The converter reads its arguments when it is imported, and may end the process, so it gets a process
of its own. The checks run again here, and put the compiled extension on the path.
"""

from __future__ import annotations

import runpy
import sys

from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu import probe

CONVERTER = "exllamav2.conversion.convert_exl2"
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
_FALLBACK = "--fallback"


def command(arguments: list[str], *, fallback: bool) -> list[str]:
    """Return the command line that converts; `fallback` takes the attention written in torch."""
    return [sys.executable, "-m", __name__, *([_FALLBACK] if fallback else []), *arguments]


def main() -> None:
    """Check this machine, then run the converter in this process."""
    arguments = sys.argv[1:]
    fallback = arguments[:1] == [_FALLBACK]
    try:
        probe.require(fallback=fallback)
    except EngineUnavailable as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNAVAILABLE)
    sys.argv = [CONVERTER, *arguments[fallback:]]
    runpy.run_module(CONVERTER, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
