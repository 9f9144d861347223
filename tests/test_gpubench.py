"""The GPU's benchmark, with the echo engine in the GPU's place: all of it but the model runs."""

import re
import subprocess
import sys

import pytest

from fleet import ROOT

BENCHMARKS = ROOT / "tests" / "benchmarks"
PROGRAM = BENCHMARKS / "gpu.py"


@pytest.fixture(scope="module")
def gpuload():
    sys.path.insert(0, str(BENCHMARKS))
    import gpuload  # noqa: PLC0415 - a program's module, found by the line above

    yield gpuload
    sys.path.pop(0)


def program(*words):
    argv = [sys.executable, str(PROGRAM), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


def test_fleet_and_generator_are_measured_side_by_side(tmp_path):
    out = tmp_path / "results.md"
    words = "--engine echo --echo-delay 0.002 --concurrency 1 2 --rounds 1 --tokens 8 --words 20"
    done = program(*words.split(), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text().strip() == done.stdout.strip()
    rows = re.findall(
        r"^\| (\d+) \| (own|shared) \| [\d,]+ \| [\d,]+ \| ([\d.]+) \|$", done.stdout, re.MULTILINE
    )
    assert [row[:2] for row in rows] == [
        ("1", "own"),
        ("2", "own"),
        ("1", "shared"),
        ("2", "shared"),
    ]
    lowest = min(float(row[2]) for row in rows)
    assert f"Lowest ratio {lowest:.3f}" in done.stdout
    assert 0 < lowest < 2


def test_a_model_is_named_where_there_is_one():
    done = program("--engine", "exl2")
    assert done.returncode == 2
    assert "a model is needed" in done.stderr


def test_prompts_are_the_same_for_both_and_no_two_are_equal(gpuload):
    loads = [gpuload.Load(n, shared, 2, 40, 8) for n in (2, 4) for shared in (True, False)]
    prompts = [prompt for load in loads for prompt in load.prompts()]
    assert prompts == [prompt for load in loads for prompt in load.prompts()]
    assert len(set(prompts)) == len(prompts) == 24
    own, shared = loads[1].prompts(), loads[0].prompts()
    assert len({prompt[:100] for prompt in own}) == 4
    assert len({prompt[:100] for prompt in shared}) == 1


def test_an_error_of_one_job_ends_the_measurement(gpuload):
    def ask(_):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        gpuload.offer(gpuload.Load(3, False, 2, 8, 8), ask)
