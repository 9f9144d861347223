"""Measure how fast a bulk reads rows, makes requests of them, and writes results.

    python tests/benchmarks/bulk_io.py            (--rows 1000000)

"Bare" is the same file read by the standard library, or by pyarrow. Each figure comes from a
process of its own. Rates count CPU seconds, because the disk and other work on the machine come
between; memory is the resident size at each quarter of the rows and at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

from forebay.producers.bulk.outputs.open_output import open_output  # noqa: E402
from forebay.producers.bulk.rows import TemplatedRow  # noqa: E402
from forebay.producers.bulk.sources.open_source import open_source  # noqa: E402
from forebay.producers.bulk.templates.template import Template  # noqa: E402
from forebay.producers.bulk.validated import validated_rows  # noqa: E402

FORMATS = ("jsonl", "csv", "tsv", "parquet")
BODY = "The parcel, which was due on Monday, never came, and nobody answers the phone"
SHARD_ROWS = 500
SHARDS_PER_APPEND = 8  # each append waits for the disk


class Measured(NamedTuple):
    """What one process measured.

    Attributes:
        rows: how many rows it saw.
        rate: rows per second of CPU time.
        memory: MiB resident at each quarter of the rows.
        finish_s: CPU seconds to finish the output.
    """

    rows: int
    rate: float
    memory: list[int]
    finish_s: float = 0.0


def main() -> None:
    """Print one line for each format."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--stage", nargs=2, help="measure one stage of one file; for itself")
    options = parser.parse_args()
    if options.stage:
        stage, path = options.stage
        print(json.dumps(STAGES[stage](Path(path), options.rows)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.rows:,} rows of {len(BODY)} characters; rows per second of CPU time")
        print("| format | bare | read | ratio | to requests | µs | to results | finish | MiB |")
        print("|---|---|---|---|---|---|---|---|---|")
        for form in FORMATS:
            path = Path(folder, f"rows.{form}")
            _make(path, options.rows)
            _print(form, {stage: _measure(stage, path, options.rows) for stage in STAGES})
            path.unlink()


def _print(form: str, found: dict[str, Measured]) -> None:
    bare, read, requests, results = (found[stage] for stage in STAGES)
    ratio, per_row = read.rate / bare.rate, 1e6 / requests.rate
    rates = f"{bare.rate:,.0f} | {read.rate:,.0f} | {ratio:.2f} | {requests.rate:,.0f}"
    memory = " → ".join(map(str, results.memory))
    finish = f"{results.finish_s:.1f} s"
    print(f"| {form} | {rates} | {per_row:.1f} | {results.rate:,.0f} | {finish} | {memory} |")


def _measure(stage: str, path: Path, rows: int) -> Measured:
    command = [sys.executable, __file__, "--rows", str(rows), "--stage", stage, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Measured(*json.loads(done.stdout))


def _make(path: Path, rows: int) -> None:
    records = ((f"row-{number}", BODY, "en") for number in range(rows))
    names = ("id", "body", "language")
    if path.suffix == ".parquet":
        _make_parquet(path, names, rows)
        return
    with path.open("w", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(
                json.dumps(dict(zip(names, each, strict=True))) + "\n" for each in records
            )
            return
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(names)
        writer.writerows(records)


def _make_parquet(path: Path, names: tuple[str, ...], rows: int) -> None:
    import pyarrow as pa  # noqa: PLC0415 - no memory for the other formats
    import pyarrow.parquet as pq  # noqa: PLC0415

    with pq.ParquetWriter(path, pa.schema([(name, pa.string()) for name in names])) as writer:
        for start in range(0, rows, 100_000):
            ids = [f"row-{number}" for number in range(start, min(start + 100_000, rows))]
            columns = [ids, [BODY] * len(ids), ["en"] * len(ids)]
            writer.write_table(pa.table(dict(zip(names, columns, strict=True))))


def _bare(path: Path, total: int) -> Measured:
    return _counted(_bare_rows(path), total)


def _bare_rows(path: Path) -> Iterator[Any]:
    """Yield rows as the standard library, or pyarrow, reads them."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415 - no memory for the other formats

        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with path.open(newline="") as file:
        if path.suffix == ".jsonl":
            yield from map(json.loads, file)
        else:
            yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")


def _read(path: Path, total: int) -> Measured:
    return _counted(open_source(path).rows(), total)


def _requests(path: Path, total: int) -> Measured:
    return _counted(_request_rows(path), total)


def _request_rows(path: Path) -> Iterator[TemplatedRow]:
    template = Template.of("classify", labels=["late", "broken"], text_field="body", key="id")
    for row in validated_rows(open_source(path), template):
        if not isinstance(row, TemplatedRow):
            raise SystemExit(f"a good row was refused: {row}")
        yield row


def _results(path: Path, total: int) -> Measured:
    """Read, make requests, and write a made-up result of each to an output of the same format."""
    output = open_output(path.with_name(f"results{path.suffix}"))
    waiting: list[dict[str, Any]] = []

    def written() -> Iterator[TemplatedRow]:
        for row in _request_rows(path):
            waiting.append(_result(row))
            if len(waiting) >= SHARD_ROWS * SHARDS_PER_APPEND:
                output.append(waiting)
                waiting.clear()
            yield row
        output.append(waiting)

    measured = _counted(written(), total)
    before = time.process_time()
    output.finish()
    output.path.unlink()
    memory = [*measured.memory, _resident_mib()]
    return measured._replace(memory=memory, finish_s=time.process_time() - before)


def _result(row: TemplatedRow) -> dict[str, Any]:
    return {
        "row": row.number, "key": row.key, "status": "done", "lane": "local", "model": "echo",
        "answer": {"kind": "classify", "label": "late", "probability": 0.93, "scores": {}},
        "revision": "r1", "degraded": False, "cost_usd": 0.0, "tokens_in": 20, "tokens_out": 1,
        "checks": [{"name": "label", "passed": True, "note": ""}], "reasons": ["easy"],
    }  # fmt: skip


def _counted(rows: Iterable[Any], total: int) -> Measured:
    """Take all rows, and look at the memory at each quarter."""
    memory, seen, quarter = [], 0, max(1, total // 4)
    before = time.process_time()
    for seen, _ in enumerate(rows, start=1):
        if not seen % quarter:
            memory.append(_resident_mib())
    if seen != total:
        raise SystemExit(f"{seen} rows of {total}")
    return Measured(seen, seen / (time.process_time() - before), memory)


def _resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


STAGES: dict[str, Callable[[Path, int], Measured]] = {
    "bare": _bare,
    "read": _read,
    "requests": _requests,
    "results": _results,
}

if __name__ == "__main__":
    main()
