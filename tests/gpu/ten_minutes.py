"""Learn the most from some minutes of a GPU: `python3 tests/gpu/run.py ten-minutes`.

1. Unpack what `make gpu-wheels` packed.
2. Run the pieces (`pieces.py`) in the order of their worth, each with a time limit.
3. Write what is known into results.md after each piece, so an end at any moment loses one piece.

A piece that fails is not waited for; a piece that needs it is left out. Every process that a piece
leaves behind is killed, since an engine would keep its memory of the card.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import platform
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import archives
import machine
from machine import HOME, PARTS, ROOT, attention, environment, prebuilt
from pieces import Piece, build, check, on_the_card, rehearsed

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl
_GRACE_S = 5.0  # for a piece to stop what it started
_LEAST_S = 10.0  # a piece with less time than this would learn nothing
_SHOWN_LINES = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a piece went: `ok`, `failed`, `over time`, `left out`, `in part` or `not reached`.

    The seconds of all cores tell a slow piece from a busy machine.
    """

    piece: Piece
    went: str
    seconds: float = 0.0
    cpu_s: float = 0.0
    said: str = ""

    @property
    def holds(self) -> bool:
        """Whether pieces that need this one can be tried."""
        return self.went == "ok"


class Results:
    """The file of results, written anew after each piece."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        for each in (folder, HOME):
            try:
                each.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SystemExit(
                    f"{each}: {error.strerror}; set --out and FOREBAY_GPU_HOME to folders that can "
                    "be written"
                ) from None
        self.folder = folder
        self.outcomes: list[Outcome] = []
        self._began, self._limit_s = time.monotonic(), limit_s
        self._header = f"# {card()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n{versions()}\n"

    def left_s(self) -> float:
        """Return the seconds that are left."""
        return self._limit_s - (time.monotonic() - self._began)

    def add(self, outcome: Outcome) -> None:
        """Add what a piece has shown; print it and write it."""
        self.outcomes.append(outcome)
        print(f"== {outcome.piece.name}: {outcome.went}, {outcome.seconds:.1f} s", flush=True)
        fresh = self.folder / "results.new"
        fresh.write_text(self._text())
        fresh.replace(self.folder / "results.md")

    def _text(self) -> str:
        used = self._limit_s - self.left_s()
        lines = [
            self._header,
            f"`tests/gpu/run.py ten-minutes`: {used:.0f} s of {self._limit_s:.0f}.",
        ]
        lines += [
            "",
            "| piece | result | seconds | of all cores | limit |",
            "|---|---|---|---|---|",
        ]
        for each in self.outcomes:
            about = f"{each.piece.title} (`{each.piece.name}`)"
            spent = f"{each.seconds:.1f} | {each.cpu_s:.1f} | {each.piece.limit_s}"
            lines.append(f"| {about} | {each.went} | {spent} |")
        return "\n".join([*lines, "", *(each.said for each in self.outcomes if each.said)]) + "\n"


def main(words: list[str]) -> int:
    """Run the pieces; return 1 if one of them failed."""
    given = arguments(words)
    adopt_orphans()
    results = Results(given.out, given.seconds)
    results.add(unpacked())
    pieces = rehearsed(given.out) if given.rehearse else prepared(given, results)
    names = [piece.name for piece in pieces]
    if unknown := set(given.pieces) - set(names):
        raise SystemExit(
            f"no such piece: {', '.join(sorted(unknown))}; there are {', '.join(names)}"
        )
    for piece in pieces:
        if not given.pieces or piece.name in given.pieces:
            results.add(attempted(piece, results))
    print(f"results: {given.out / 'results.md'}")
    return int(any(each.went in ("failed", "over time") for each in results.outcomes))


def prepared(given: argparse.Namespace, results: Results) -> list[Piece]:
    """Compile what was not brought, and return the pieces for the attention that works here.

    Pieces that are named are run without that.
    """
    by = attention()
    if not given.pieces:
        results.add(attempted(build(), results))
        # Without flash-attn the other pieces still say much.
        for by in dict.fromkeys((attention(), "torch")):
            results.add(attempted(check(by), results))
            if results.outcomes[-1].holds:
                break
    return on_the_card(given.out, by)


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="run.py ten-minutes")
    parser.add_argument("pieces", nargs="*", help="only these pieces")
    parser.add_argument("--seconds", type=float, default=570, help="for all pieces together")
    parser.add_argument("--out", type=Path, default=HOME / "results", help="folder of the results")
    parser.add_argument("--rehearse", action="store_true", help="what works without a GPU")
    given = parser.parse_args(words)
    given.out = given.out.resolve()
    return given


def unpacked() -> Outcome:
    """Unpack the archives that are complete."""
    began, before = time.monotonic(), cpu_seconds()
    wrong = archives.unpack([PARTS, machine.CARRIED], HOME)
    said = "".join(f"`{name}`: {why}\n" for name, why in wrong.items()) + kernels()
    piece = Piece("unpack", "Archives", 60, [])
    went = "in part" if wrong else "ok"
    return Outcome(piece, went, time.monotonic() - began, cpu_seconds() - before, said)


def kernels() -> str:
    """Return for which machine the kernels are that were brought, and for which they should be."""
    own = machine.built()
    there = {place.name: place for place in machine.BUILDS.glob("torch*")}
    found = "; ".join(f"{name} ({brought(place)})" for name, place in sorted(there.items()))
    lacks = "" if own.name in there else f"; this machine needs {own.name}, which is compiled here"
    return f"Kernels: {found or 'none'}{lacks}\n"


def brought(place: Path) -> str:
    """Return the parts of a build and the GPUs that it is for."""
    parts = (f"{name} {made}" for name, made in prebuilt.parts(place).items())
    return f"{', '.join(parts)}; for {' '.join(prebuilt.architectures(place) or ())}"


def attempted(piece: Piece, results: Results) -> Outcome:
    """Run a piece if it can be run, and return how that went."""
    broken = [each.piece.name for each in results.outcomes if not each.holds]
    lacks = [name for name in piece.needs if name in broken]
    if piece.absent or lacks:
        return Outcome(piece, f"left out: {piece.absent or 'needs ' + ', '.join(lacks)}")
    if piece.made and (piece.made / "config.json").exists():
        return Outcome(piece, "ok", said="")
    limit_s = min(piece.limit_s, results.left_s() - _GRACE_S)
    if limit_s < _LEAST_S:
        return Outcome(piece, "not reached")
    return ended(piece, limit_s, results.folder)


def ended(piece: Piece, limit_s: float, folder: Path) -> Outcome:
    """Run a piece to its end or its limit, and kill what it leaves behind."""
    print(f"== {piece.name}: at most {limit_s:.0f} s", flush=True)
    began, before = time.monotonic(), cpu_seconds()
    log = folder / "log.txt"
    with log.open("a+b") as file:
        file.write(f"\n===== {piece.name}\n".encode())
        file.flush()
        start = file.tell()
        code = outlived(piece, limit_s, file.fileno())
        file.seek(start)
        text = file.read().decode(errors="replace")
    went = {0: "ok", None: "over time"}.get(code, "failed")
    if went == "ok" and piece.made and not (piece.made / "config.json").exists():
        went = "failed"  # the converter exits with 0 after many of its errors
    seconds = time.monotonic() - began
    return Outcome(piece, went, seconds, cpu_seconds() - before, said(piece, text))


def cpu_seconds() -> float:
    """Return the seconds that this process and all that it has waited for took of all cores."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def outlived(piece: Piece, limit_s: float, output: int) -> int | None:
    """Return the exit code of a piece's program; `None` if it took too long."""
    words = [str(word) for word in piece.argv]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(piece.env), stdout=output, stderr=output,
        stdin=subprocess.DEVNULL, start_new_session=True,
    ) as program:  # fmt: skip
        try:
            return program.wait(limit_s)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGINT)  # pytest then prints what it has
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(_GRACE_S)
            return None
        finally:
            kill_descendants()


def adopt_orphans() -> None:
    """Become the parent of what pieces leave behind."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kill every process that descends from this one, and collect those that became its own."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def descendants(of: int) -> Iterator[int]:
    """Yield the children of a process, and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold anything; the state and the parent follow it.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
        yield from more


def said(piece: Piece, text: str) -> str:
    """Return what a piece has found out: its own section, or the end of what it printed."""
    if piece.section and piece.section.exists():
        section = piece.section.read_text().strip()
        piece.section.unlink()
        return section + "\n"
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-_SHOWN_LINES:]
    return "\n".join([f"## {piece.title}", "", "```text", *lines, "```", ""]) if lines else ""


def card() -> str:
    """Return the card's name and driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return f"no GPU, {os.cpu_count()} cores"
    argv = [tool, "--id=0", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a GPU, but nvidia-smi does not answer ({error})"
    return done.stdout.strip() or "a GPU that nvidia-smi does not show"


def versions() -> str:
    """Return the versions of Python and of the packages that matter."""
    names = ("triton", "numpy", "tokenizers", "safetensors", "transformers")
    packages = [f"{name} {found}" for name in names if (found := installed(name))]
    torch, cuda = machine.torch()
    python = platform.python_version()
    return ", ".join([f"Python {python}", f"torch {torch} for CUDA {cuda}", *packages])


def installed(name: str) -> str:
    """Return the version of an installed package, or an empty text."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
