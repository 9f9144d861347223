"""The benchmark of reading and writing runs, and prints a line for each format."""

import subprocess
import sys

import pytest

from local.fleet import ROOT

pytestmark = pytest.mark.slow


def test_the_benchmark_prints_a_line_for_each_format():
    command = [sys.executable, ROOT / "tests/benchmarks/bulk_io.py", "--rows", "5000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[3:]]
    assert [line[0] for line in lines] == ["jsonl", "csv", "tsv", "parquet"]
    assert all(float(line[3]) > 0 and len(line) == 9 for line in lines)
