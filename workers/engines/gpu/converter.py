"""exllamav2's own converter in a process of its own: `python -m forebay.workers.engines.gpu.converter ARGS`.

It reads its arguments when it is imported and ends the process as it likes, so it is never imported
elsewhere. What `forebay gpu build` made is put on the path first, and every check repeated here.
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
    """The command line that converts; `fallback` takes the attention written in torch."""
    return [sys.executable, "-m", __name__, *([_FALLBACK] if fallback else []), *arguments]


def main() -> None:
    """Check, then be the converter."""
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
