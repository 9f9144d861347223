"""Convert a Hugging Face model to EXL2, with exllamav2's own converter.

The converter measures (it quantizes every matrix a dozen ways and compares), chooses, quantizes and
writes, which takes hours for a large model. It saves its state every three minutes, so an
interrupted run goes on.
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

HEAD_BITS = (2, 3, 4, 5, 6, 8)  # for which the converter has a layout
ROWS_PER_UNIT = 32  # a matrix is quantized in units of so many rows
CALIBRATION_ROWS, ROW_TOKENS = 115, 2048  # of the calibration text in exllamav2
DISK_RESERVE_BYTES = 256 << 20  # bytes of the disk that stay free
_STOP_TIMEOUT_S = 60.0
_STDERR = 2  # for the converter's output, since stdout is for the result
_READERS = ("pandas", "fastparquet")  # the converter always imports them
_STALE_INDEX = "model.safetensors.index.json"  # copied from the source, with its file names


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion.

    Attributes:
        source: folder of the model, FP16 or BF16 safetensors.
        target: folder to make; it must not exist.
        work: folder for gigabytes of intermediate files; an interrupted run goes on from it.
        bits: average bits of a weight of the decoder layers, scales included.
        head_bits: bits of a weight of the output head.
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
        """The hidden name of the target until it is whole."""
        return self.target.with_name(f".{self.target.name}.part")

    def arguments(self) -> list[str]:
        """Return the arguments of the converter."""
        options = {"-c": self.calibration, "-m": self.measurement}
        files = [word for flag, path in options.items() if path for word in (flag, str(path))]
        return [
            "-i", str(self.source), "-o", str(self.work), "-cf", str(self.part),
            "-b", str(self.bits), "-hb", str(self.head_bits), *files,
        ]  # fmt: skip

    def check(self) -> Shape:
        """Check everything that would fail after hours, and return the shape of the source.

        Raises:
            Misconfigured: A path or an option is wrong.
            EngineUnavailable: This machine cannot convert.
        """
        if self.head_bits not in HEAD_BITS:
            raise Misconfigured("must be 2 to 6, or 8", field="--head-bits")
        shape = read_shape(self.source)
        _check_source(shape, self.source)
        self._check_folders()
        self._check_resumable()
        for path in filter(None, (self.calibration, self.measurement)):
            if not path.is_file():
                raise Misconfigured("is no file", field=str(path))
        self._check_disks(shape)
        self._check_machine()
        return shape

    def run(self) -> Shape:
        """Convert, and return the shape of the result; the converter's output goes to stderr.

        Raises:
            EngineUnavailable: The GPU or its compiled extension is missing.
            Unavailable: The converter stopped; the same call goes on where it was.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.part, ignore_errors=True)  # the name is ours, and it is no whole model
        code = _run_converter(converter.command(self.arguments(), fallback=self.fallback))
        if code == converter.UNAVAILABLE:
            raise EngineUnavailable("this machine cannot convert; the reason is above")
        return self._finish(code)

    def _check_folders(self) -> None:
        if self.target.exists():
            raise Misconfigured("exists; name a new folder", field=str(self.target))
        if self.work.resolve() in {self.source.resolve(), self.target.resolve()}:
            raise Misconfigured("must be a folder of its own", field=str(self.work))

    def _check_resumable(self) -> None:
        """Refuse the work folder of another conversion: the converter would go on with that one."""
        if not (self.work / "job_new.json").exists():
            if self.work.exists() and any(self.work.iterdir()):
                raise Misconfigured("holds other files; name a new folder", field=str(self.work))
            return
        job = read_object(self.work / "job_new.json")
        expected = {"in_dir": str(self.source), "bits": self.bits, "head_bits": self.head_bits}
        expected |= {"compile_full": str(self.part)}
        differing = [name for name, value in expected.items() if job.get(name) != value]
        if differing or job.get("progress") == "finished":
            message = f"holds another conversion ({', '.join(differing) or 'finished'}); delete it"
            raise Misconfigured(message, field=str(self.work))

    def _check_disks(self, shape: Shape) -> None:
        for folder, bytes_needed in self._disk_needs(shape):
            free = shutil.disk_usage(folder).free - DISK_RESERVE_BYTES
            if bytes_needed > free:
                message = f"has room for {free >> 20} MiB, {bytes_needed >> 20} MiB are needed"
                raise Misconfigured(message, field=str(folder))

    def _disk_needs(self, shape: Shape) -> Iterator[tuple[Path, int]]:
        """Yield an existing folder of each disk, and the bytes needed on it.

        The weights are written twice, by matrix and whole. So are the states of all calibration
        rows, while new ones replace the old.
        """
        weights = int(shape.weights_bytes * max(self.bits, self.head_bits) / 16)
        states = (
            2 * CALIBRATION_ROWS * ROW_TOKENS * shape.hidden * (4 if shape.wide_residual else 2)
        )
        needs = {self.work: weights + states, self.target: weights + shape.embedding_bytes}
        disks: dict[int, tuple[Path, int]] = {}
        for path, needed in needs.items():
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            disk = folder.stat().st_dev
            disks[disk] = (folder, needed + disks.get(disk, (folder, 0))[1])
        yield from disks.values()

    def _check_machine(self) -> None:
        for finding in probe.examine_apart(fallback=self.fallback):
            if finding.state == "fail":
                raise EngineUnavailable(f"{finding.seen}; {finding.mend}")
        missing = [name for name in _READERS if find_spec(name) is None]
        if missing:
            raise EngineUnavailable(
                f"the converter needs more packages: pip install {' '.join(missing)}"
            )

    def _finish(self, code: int) -> Shape:
        """Name the result; its files decide, since the converter exits with 0 after many errors."""
        if code or not (self.part / "config.json").exists():
            message = f"the converter ended with exit code {code}; the same command goes on"
            raise Unavailable(message, field=str(self.work))
        (self.part / _STALE_INDEX).unlink(missing_ok=True)
        shape = read_shape(self.part)
        self.part.replace(self.target)
        return shape


def _check_source(shape: Shape, source: Path) -> None:
    if shape.format != "fp16":
        message = f"is quantized already ({shape.format}); convert the original"
        raise Misconfigured(message, field=str(source))
    if not (source / "tokenizer.json").is_file():
        raise Misconfigured("is missing", field=str(source / "tokenizer.json"))
    widths = {
        "hidden_size": shape.hidden, "intermediate_size": shape.intermediate,
        "all heads": shape.q_width, "all key heads": shape.kv_width,
    }  # fmt: skip
    for name, width in widths.items():
        if width % ROWS_PER_UNIT:
            message = (
                f"{name} is {width}, no multiple of {ROWS_PER_UNIT}: exllamav2 cannot quantize it"
            )
            raise Misconfigured(message, field=str(source / "config.json"))


def _run_converter(argv: list[str]) -> int:
    """Run the converter to its end; if interrupted, wait until it has saved its state."""
    process = subprocess.Popen(  # noqa: S603 - no shell, and paths that the operator named
        argv, stdin=subprocess.DEVNULL, stdout=_STDERR, env=_environment()
    )
    with process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.terminate()
            raise


def _environment() -> dict[str, str]:
    """Switch off torch's attention, with which calibration lets each token see later tokens."""
    return {**os.environ, "EXLLAMA_NO_SDPA": "1", "PYTHONUNBUFFERED": "1"}
