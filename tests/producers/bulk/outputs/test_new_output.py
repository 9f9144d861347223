"""What is checked of a new output before anything is written."""

import pytest

from forebay.producers.bulk.outputs.new_output import check_apart, check_kind, check_new, path_of
from forebay.routing.errors import InvalidJob


@pytest.mark.parametrize("out", ["", "-"])
def test_an_output_is_a_file(out):
    with pytest.raises(InvalidJob, match="out: must be a file"):
        path_of(out)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x" * 300 + ".jsonl", "cannot be written: File name too long"), ("a\0b", "is not a valid")],
)
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name, reason):
    with pytest.raises(InvalidJob, match=reason):
        check_new([path_of(tmp_path / name)])


def test_an_array_of_vectors_holds_no_labels(tmp_path):
    check_kind(tmp_path / "out.npy", None, "embed")
    check_kind(tmp_path / "out.npy", None, None)
    with pytest.raises(InvalidJob, match=r"out\.npy: holds embeddings, and classify makes none"):
        check_kind(tmp_path / "out.npy", None, "classify")


@pytest.mark.parametrize("link", [False, True])
def test_the_input_is_no_output(tmp_path, link):
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text("{}\n")
    if link:
        out.hardlink_to(source)
    with pytest.raises(InvalidJob, match="is read by the bulk: write the results"):
        check_apart(source, [out if link else source])


def test_an_output_in_the_folder_of_the_rows_is_refused(tmp_path):
    (tmp_path / "rows" / "deep").mkdir(parents=True)
    check_apart(tmp_path / "rows", [tmp_path / "rows.jsonl"])
    with pytest.raises(InvalidJob, match="is in the folder of the rows, and would be read as one"):
        check_apart(tmp_path / "rows", [tmp_path / "rows" / "deep" / "out.jsonl"])
