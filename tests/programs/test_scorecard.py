"""`make bench`: its list is whole, and it says which figures were missed and what failed."""

import re
import shlex
import subprocess
import sys

import pytest

from local.fleet import ROOT

FOLDER = ROOT / "tests" / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def found():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.pop(0)


@pytest.fixture(scope="module")
def bars():
    import bars  # noqa: PLC0415 - found by the path above

    return bars


@pytest.fixture
def ended(bars, monkeypatch, capfd):
    """Return what runs benchmarks, and returns the exit status and the lines of the last table."""
    import scorecard  # noqa: PLC0415 - found by the path above

    def run(*benchmarks):
        monkeypatch.setattr(scorecard, "BENCHMARKS", benchmarks)
        monkeypatch.setattr(sys, "argv", ["scorecard.py"])
        with pytest.raises(SystemExit) as end:
            scorecard.main()
        last = capfd.readouterr().out.split("\n\n")[-1]
        return end.value.code, last.splitlines()[1:]

    return run


def spans(bars, *held):
    return bars.Benchmark("spans", "--spans 10 --runs 1", held)


def test_every_program_is_run_or_left_out_for_a_reason(bars):
    names = [each.name for each in bars.BENCHMARKS] + list(bars.LEFT_OUT)
    assert sorted(names) == sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.slow
def test_a_benchmark_that_fails_is_an_error_and_the_next_one_still_runs(bars, ended):
    fails = bars.Benchmark("router", "/no/such/file.parquet", ())
    code, lines = ended(fails, spans(bars, bars.Bar("a span", lambda of: of["recorded"])))
    assert code == 1
    assert re.match(r"router +ended with exit status 1 +FAILED", lines[0])
    assert re.match(r"spans +a span +[\d.,]+ x +none$", lines[1])


@pytest.mark.slow
def test_a_benchmark_that_takes_too_long_is_stopped_and_an_error(bars, ended, monkeypatch):
    import scorecard  # noqa: PLC0415 - found by the path above

    monkeypatch.setattr(scorecard, "LIMIT_S", 0.1)
    code, lines = ended(bars.Benchmark("spans", "--spans 1000000000", ()))
    assert (code, len(lines)) == (1, 1)
    assert re.match(r"spans +took more than 0 s +FAILED", lines[0])


@pytest.mark.slow
def test_a_missed_bar_and_an_absent_peer_are_no_errors_but_an_absent_figure_is(bars, ended):
    of = bars.Bar("a span", lambda of: of["recorded"], "≤", 0, "us")
    absent = [bars.Bar("beside it", lambda of, key=key: of[key], "≥", 1) for key in ("rq", "no")]
    code, lines = ended(spans(bars, of, of._replace(sign="≥"), absent[0]))
    assert code == 0
    assert [line.split()[-1] for line in lines] == ["MISSED", "met", "rq"]
    assert ended(spans(bars, absent[1]))[0] == 1


@pytest.mark.slow
def test_every_benchmark_takes_the_options_of_its_short_form(bars, tmp_path):
    """argparse names all options that it does not know: here only the last one."""
    pipes = {"stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen(
            [
                *(sys.executable, FOLDER / f"{each.name}.py", *shlex.split(each.short)),
                *("--json", tmp_path / "file", "--unknown"),
            ],
            **pipes,
        )
        for each in bars.BENCHMARKS
    ]
    said = [process.communicate()[1].splitlines()[-1] for process in started]
    assert {line.partition(" error: ")[2] for line in said} == {"unrecognized arguments: --unknown"}


def test_a_peer_is_measured_if_its_environment_is_complete(bars, tmp_path, monkeypatch):
    import environments  # noqa: PLC0415 - found by the path above

    monkeypatch.setattr(environments, "PEERS", tmp_path)
    (tmp_path / "litellm").mkdir()
    assert environments.python_of("litellm") is None
    (tmp_path / "litellm" / "installed").touch()
    assert environments.python_of("litellm") == str(tmp_path / "litellm" / "bin" / "python")


def test_the_results_begin_with_every_bar(bars):
    """A bar that is changed is changed in both, and no row of the page is held to nothing."""
    first = (FOLDER / "RESULTS.md").read_text().partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.split("|")] for line in first.splitlines() if "|" in line
    ]
    told = {(row[1], row[3]) for row in rows[2:]}
    assert told == {(bar.what, str(bar)) for each in bars.BENCHMARKS for bar in each.bars}
