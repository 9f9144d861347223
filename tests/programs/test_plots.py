"""The plots of the results: every one is shown, and is drawn from a file of figures."""

import json
import re
import subprocess
import sys

import pytest

from local.fleet import ROOT

pytestmark = pytest.mark.slow

FOLDER = ROOT / "tests" / "benchmarks"
SUBMITS = {
    "one at a time": {"celery": 1, "forebay": 2},
    "many at once": {"celery": 3, "forebay": 9},
}


def drawn(tmp_path, figures):
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(figures))
    subprocess.run([sys.executable, FOLDER / "plots.py", file, tmp_path / "plots"], check=True)
    return sorted(path.name for path in (tmp_path / "plots").iterdir())


def test_a_file_of_figures_is_drawn_and_what_has_no_plot_is_passed_over(tmp_path):
    assert drawn(tmp_path, {"clients": {"submits": SUBMITS}, "spans": {}}) == ["clients.svg"]
    assert "many at once" in (tmp_path / "plots" / "clients.svg").read_text()


def test_every_plot_that_can_be_drawn_is_shown_in_the_results():
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import plots; print(*plots.DRAWN)"
    names = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    shown = re.findall(r"\(plots/(\w+)\.svg\)", (FOLDER / "RESULTS.md").read_text())
    assert sorted(shown) == sorted(names)
