"""Making an EXL2 model of a Hugging Face one, with exllamav2's own converter.

It measures (quantizes every matrix a dozen ways and compares), chooses, quantizes and writes; hours
for a large model. It saves where it is every three minutes, so an interrupted run is taken up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from forebay.routing.errors import EngineUnavailable, Misconfigured, Unavailable
from forebay.workers.engines.gpu import converter, probe
from forebay.workers.engines.weights.headers import read_object
from forebay.workers.engines.weights.model_shape import Shape, read_shape

HEAD_BITS = (2, 3, 4, 5, 6, 8)  # those that the converter has a layout for
UNIT = 32  # rows of a matrix are quantized in units of so many
ROWS, LENGTH = 115, 2048  # of the calibration text that comes with exllamav2
DISK_RESERVE_BYTES = 256 << 20  # bytes of the disk that are left alone
_STOP_S = 60.0
_STDERR = 2  # stdout is for the result
_READERS = ("pandas", "fastparquet")  # imported by the converter, whatever it calibrates on
_STALE = "model.safetensors.index.json"  # copied along, and names files that are not there


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion.

    Attributes:
        source: folder of the model, FP16 or BF16 safetensors.
        target: folder to be made; it must not exist.
        work: folder of what is made on the way, gigabytes; an interrupted run goes on from it.
        bits: of a weight of the decoder layers, on average, scales included.
        head_bits: of the output head.
        calibration: text to calibrate on (parquet); without it exllamav2's own.
        measurement: `measurement.json` of an earlier conversion of the same model, which saves
            most of the time.
        fallback: take the attention written in torch.
    """

    source: Path
    target: Path
    work: Path
    bits: float
    head_bits: int = 6
    calibration: Path | None = None
    measurement: Path | None = None
    fallback: bool = False

    @property
    def part(self) -> Path:
        """What the target is called until it is whole."""
        return self.target.with_name(f".{self.target.name}.part")

    def arguments(self) -> list[str]:
        """Of the converter."""
        given = {"-c": self.calibration, "-m": self.measurement}
        files = [word for flag, path in given.items() if path for word in (flag, str(path))]
        return [
            "-i", str(self.source), "-o", str(self.work), "-cf", str(self.part),
            "-b", str(self.bits), "-hb", str(self.head_bits), *files,
        ]  # fmt: skip

    def check(self) -> Shape:
        """Find what would fail, before hours are spent. Returns the shape of the source.

        Raises:
            Misconfigured: Which path or option is wrong, and why.
            EngineUnavailable: This machine cannot convert.
        """
        if self.head_bits not in HEAD_BITS:
            raise Misconfigured("must be 2 to 6, or 8", field="--head-bits")
        shape = read_shape(self.source)
        _convertible(shape, self.source)
        self._vacant()
        self._resumable()
        for path in filter(None, (self.calibration, self.measurement)):
            if not path.is_file():
                raise Misconfigured("is no file", field=str(path))
        self._roomy(shape)
        self._runnable()
        return shape

    def run(self) -> Shape:
        """Convert; the converter's own progress goes to stderr. Returns the shape of the result.

        Raises:
            EngineUnavailable: The GPU or what is compiled for it went missing.
            Unavailable: The converter stopped; the same call goes on from where it was.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.part, ignore_errors=True)  # ours by its name, and never half a model
        code = _call(converter.command(self.arguments(), fallback=self.fallback))
        if code == converter.UNAVAILABLE:
            raise EngineUnavailable("this machine cannot convert; the reason is above")
        return self._finished(code)

    def _vacant(self) -> None:
        if self.target.exists():
            raise Misconfigured("exists; name a new folder", field=str(self.target))
        if self.work.resolve() in {self.source.resolve(), self.target.resolve()}:
            raise Misconfigured("must be a folder of its own", field=str(self.work))

    def _resumable(self) -> None:
        """The converter takes up whatever it finds, with the options that it finds."""
        if not (self.work / "job_new.json").exists():
            if self.work.exists() and any(self.work.iterdir()):
                raise Misconfigured("holds other things; name a new folder", field=str(self.work))
            return
        job = read_object(self.work / "job_new.json")
        asked = {"in_dir": str(self.source), "bits": self.bits, "head_bits": self.head_bits}
        asked |= {"compile_full": str(self.part)}
        wrong = [name for name, value in asked.items() if job.get(name) != value]
        if wrong or job.get("progress") == "finished":
            message = f"holds another conversion ({', '.join(wrong) or 'finished'}); delete it"
            raise Misconfigured(message, field=str(self.work))

    def _roomy(self, shape: Shape) -> None:
        for folder, bytes_needed in self._needs(shape):
            free = shutil.disk_usage(folder).free - DISK_RESERVE_BYTES
            if bytes_needed > free:
                message = f"has room for {free >> 20} MiB, {bytes_needed >> 20} MiB are needed"
                raise Misconfigured(message, field=str(folder))

    def _needs(self, shape: Shape) -> Iterator[tuple[Path, int]]:
        """Bytes needed on each disk, by an existing folder of it.

        The weights are there twice, by matrix and whole; the states of all calibration rows too,
        while new ones replace the old.
        """
        weights = int(shape.weights_bytes * max(self.bits, self.head_bits) / 16)
        states = 2 * ROWS * LENGTH * shape.hidden * (4 if shape.wide_residual else 2)
        needs = {self.work: weights + states, self.target: weights + shape.embedding_bytes}
        disks: dict[int, tuple[Path, int]] = {}
        for path, needed in needs.items():
            folder = next(one for one in path.absolute().parents if one.exists())
            disk = folder.stat().st_dev
            disks[disk] = (folder, needed + disks.get(disk, (folder, 0))[1])
        yield from disks.values()

    def _runnable(self) -> None:
        for finding in probe.examine_apart(fallback=self.fallback):
            if finding.state == "fail":
                raise EngineUnavailable(f"{finding.seen}; {finding.mend}")
        missing = [name for name in _READERS if find_spec(name) is None]
        if missing:
            raise EngineUnavailable(f"the converter needs more: pip install {' '.join(missing)}")

    def _finished(self, code: int) -> Shape:
        """The converter ends with 0 on many of its errors, so what it wrote decides."""
        if code or not (self.part / "config.json").exists():
            message = f"the converter ended with exit code {code}; the same command goes on"
            raise Unavailable(message, field=str(self.work))
        (self.part / _STALE).unlink(missing_ok=True)
        shape = read_shape(self.part)
        self.part.replace(self.target)
        return shape


def _convertible(shape: Shape, source: Path) -> None:
    if shape.format != "fp16":
        message = f"is quantized already ({shape.format}); convert the original"
        raise Misconfigured(message, field=str(source))
    if not (source / "tokenizer.json").is_file():
        raise Misconfigured("is missing, and needed", field=str(source / "tokenizer.json"))
    widths = {
        "hidden_size": shape.hidden, "intermediate_size": shape.intermediate,
        "all heads": shape.q_width, "all key heads": shape.kv_width,
    }  # fmt: skip
    for name, width in widths.items():
        if width % UNIT:
            message = f"{name} is {width}, no multiple of {UNIT}: exllamav2 cannot quantize it"
            raise Misconfigured(message, field=str(source / "config.json"))


def _call(argv: list[str]) -> int:
    """Run to the end; interrupted, wait until it has saved where it is."""
    process = subprocess.Popen(  # noqa: S603 - no shell, and paths the operator named
        argv, stdin=subprocess.DEVNULL, stdout=_STDERR, env=_environment()
    )
    with process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.terminate()
            raise


def _environment() -> dict[str, str]:
    """Without it, exllamav2's calibration would let each token see those after it."""
    return {**os.environ, "EXLLAMA_NO_SDPA": "1", "PYTHONUNBUFFERED": "1"}
