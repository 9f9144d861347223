"""CSV and TSV: what a spreadsheet shows is what was answered, and nothing runs in it."""

import csv

import pytest

from forebay.producers.bulk.outputs.columns import BAD_ROW_COLUMNS, of_bad_row
from forebay.producers.bulk.outputs.open_output import open_output
from forebay.producers.bulk.rows import BadRow, Position


def read(path, delimiter=","):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter, strict=True))


@pytest.mark.parametrize(
    ("answer", "cell", "probability"),
    [
        ({"label": "good", "probability": 0.9, "scores": {}}, "good", "0.9"),
        ({"label": "good", "probability": None}, "good", ""),
        ({"text": 'short, very\n"short"'}, 'short, very\n"short"', ""),
        ({"text": "a\r\nb\rc", "finish": "stop"}, "a\r\nb\rc", ""),
        ({"data": {"n": 1, "é": [None]}}, '{"n":1,"é":[null]}', ""),
        ({"vectors": [[0.5, 1.0]]}, '{"vectors":[[0.5,1.0]]}', ""),
        ({"answers": [{"name": "late"}]}, '{"answers":[{"name":"late"}]}', ""),
        (None, "", ""),
    ],
)
@pytest.mark.parametrize(("name", "delimiter"), [("out.csv", ","), ("out.tsv", "\t")])
def test_the_answer_is_the_cell_that_says_the_most(
    tmp_path, result, answer, cell, probability, name, delimiter
):
    with open_output(tmp_path / name) as output:
        output.append([result(1, answer)])
    (row,) = read(tmp_path / name, delimiter)
    assert (row["answer"], row["probability"]) == (cell, probability)
    assert (row["row"], row["degraded"], row["tokens_in"]) == ("1", "false", "20")
    assert row["reasons"] == '["easy"]'
    assert row["lane"] == ("local" if answer else "")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+49 30 1234", "'+49 30 1234"),
        ("-rm", "'-rm"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5", "-5"),
        ("+3.5e2", "+3.5e2"),
        ("'quoted'", "'quoted'"),
        ("a=b", "a=b"),
    ],
)
def test_a_text_that_would_run_as_a_formula_is_made_text(tmp_path, result, text, cell):
    with open_output(tmp_path / "out.csv") as output:
        output.append([result(1, {"text": text}, key=text, cost_usd=-5)])
    (row,) = read(tmp_path / "out.csv")
    assert (row["answer"], row["key"], row["cost_usd"]) == (cell, cell, "-5")


def test_a_file_has_one_header_wherever_it_is_resumed(tmp_path, result):
    path = tmp_path / "out.csv"
    with open_output(path) as output:
        first = output.append([result(1)])
        output.append([result(2)])
    with open_output(path, resume_at=first) as output:
        output.append([result(3)])
    assert [row["row"] for row in read(path)] == ["1", "3"]
    with open_output(path, resume_at=0) as output:
        output.append([result(4)])
    assert [row["row"] for row in read(path)] == ["4"]


def test_a_file_without_rows_has_a_header(tmp_path):
    with open_output(tmp_path / "out.csv", columns=("row", "key")) as output:
        output.finish()
        output.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"row,key\r\n"


@pytest.mark.parametrize("name", ["bad.csv", "bad.jsonl"])
def test_bad_rows_have_a_file_of_their_own(tmp_path, name):
    bad = BadRow(3, 5, "body", "is null: give it a value", Position(9, 3, 5), "k3", "rows.csv")
    broken = BadRow(4, 6, 12, "is not UTF-8 text", Position(19, 4, 6), None, "rows.csv")
    with open_output(tmp_path / name, columns=BAD_ROW_COLUMNS) as output:
        output.append(map(of_bad_row, [bad, broken]))
        output.finish()
    expected = {
        "bad.csv": "file,row,line,column,reason,key\r\n"
        "rows.csv,3,5,body,is null: give it a value,k3\r\n"
        "rows.csv,4,6,12,is not UTF-8 text,\r\n",
        "bad.jsonl": '{"file":"rows.csv","row":3,"line":5,"column":"body",'
        '"reason":"is null: give it a value","key":"k3"}\n'
        '{"file":"rows.csv","row":4,"line":6,"column":12,"reason":"is not UTF-8 text",'
        '"key":null}\n',
    }[name]
    assert (tmp_path / name).read_bytes().decode() == expected
