"""A file is left out unread only if each of its tests would be deselected."""

from __future__ import annotations

import pytest

from file_marks import TESTS, excluded_by, marks_of_file


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("pytestmark = pytest.mark.slow\n", {"slow"}),
        ("pytestmark = [pytest.mark.gpu, pytest.mark.slow]\n\nA = [\n1\n]\n", {"gpu", "slow"}),
        ("pytestmark = [\n    pytest.mark.slow,\n    pytest.mark.gpu,\n]\n", {"slow", "gpu"}),
        ("pytestmark = [pytest.mark.gpu]\nA = [\n@pytest.mark.slow\n]\n", {"gpu"}),
        ("@pytest.mark.slow\ndef test_a():\n    pytestmark = pytest.mark.gpu\n", set()),
    ],
)  # fmt: skip
def test_only_marks_of_the_whole_file_count(tmp_path, text, marks):
    path = tmp_path / "test_a.py"
    path.write_text(text)
    assert marks_of_file(path) == marks


def test_slow_files_in_folders_of_fleets_are_of_the_mark_fleets():
    assert marks_of_file(TESTS / "whole" / "test_journey.py") >= {"slow", "fleets"}
    assert "fleets" not in marks_of_file(TESTS / "workers" / "checks" / "test_bounded.py")


@pytest.mark.parametrize(
    ("expression", "marks"),
    [
        ("not fleets and not gpu", {"fleets", "gpu"}),
        ("slow and not gpu", {"gpu"}),
        ("slow", set()),
        ("", set()),
        ("not gpu or slow", set()),
        ("not (gpu and slow)", set()),
        ("not (not slow)", set()),
    ],
)
def test_an_expression_that_is_not_simple_leaves_out_no_file(expression, marks):
    assert excluded_by(expression) == marks
