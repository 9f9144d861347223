"""Prompts and outcomes as CSV and JSON Lines: the same values, and errors that name the line."""

import csv
import gzip
import io
import json

import pytest

from forebay.routing.errors import Misconfigured
from forebay.workers.training.data.columns import columns

ROWS = [
    {"uid": 1, "model": "a", "score": 1.0, "pred": 'say "yes",\nor no'},
    {"uid": "x", "model": "b", "score": 0, "pred": ""},
    {"uid": "ü", "model": "b", "score": 0.25, "pred": "7"},
]
NAMES = ("uid", "model", "score", "pred")


def as_csv(rows, delimiter=",", newline="\n"):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline)
    writer.writerows([NAMES, *(row.values() for row in rows)])
    return text.getvalue()


def as_json(rows, newline="\n"):
    return "".join(json.dumps(row) + newline for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", as_csv(ROWS).encode()),
        ("a.CSV", as_csv(ROWS, newline="\r\n").encode("utf-8-sig")),
        ("a.tsv", as_csv(ROWS, delimiter="\t").encode()),
        ("a.csv.gz", gzip.compress(as_csv(ROWS).encode(), mtime=0)),
        ("a.jsonl", as_json(ROWS).encode()),
        ("a.ndjson", as_json(ROWS, newline="\r\n\r\n").encode("utf-8-sig")),
        ("a.jsonl.gz", gzip.compress(as_json(ROWS).encode(), mtime=0)),
    ],
)
def test_each_format_gives_the_same_values(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    table = columns(tmp_path / name, ["uid", "model", "score"], optional=["pred", "tier"])
    assert table["uid"] == ["1", "x", "ü"]
    assert table["score"] == [1.0, 0.0, 0.25]
    assert [pred or None for pred in table["pred"]] == ['say "yes",\nor no', None, "7"]
    assert "tier" not in table


def test_true_and_false_are_scores(tmp_path):
    (tmp_path / "a.csv").write_text("uid,model,score\n1,a,True\n2,a,false\n")
    (tmp_path / "a.jsonl").write_text('{"uid": 1, "model": "a", "score": true}\n')
    assert columns(tmp_path / "a.csv", ["score"])["score"] == [1.0, 0.0]
    assert columns(tmp_path / "a.jsonl", ["score"])["score"] == [1.0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"uid,model,score\n", "has no rows"),
        ("a.csv", b"id,model,score\n1,a,1\n", r"has no column 'uid' \(it has id, model, score\)"),
        ("a.csv", b"uid,uid\n1,2\n", "line 1: names column 'uid' twice"),
        ("a.csv", b"uid,model,score\n1,a\n", "line 2: has 2 cells, not 3 as the header"),
        ("a.csv", b'uid,model,score\n1,"a,1\n', "line 2: a quote is not closed"),
        ("a.csv", b"uid,model,score\n1,a,1\n2,a,high\n", "line 3: column 'score' must be a number"),
        ("a.csv", b"uid,model,score\n1,a,-1\n", "line 2: column 'score' .* it is -1.0 .model a"),
        ("a.csv", b"uid,model,score\n1,a,nan\n", "line 2: column 'score' must be a number of 0"),
        ("a.csv", b"uid,model,score\n1,a,\n", "line 2: column 'score' .* it is empty"),
        ("a.csv", b"uid,model,score\n1,,1\n", "line 2: column 'model' is empty in 1 of 1 rows"),
        ("a.csv", "uid,model,score\n1,ä,1\n".encode("latin-1"), "is not UTF-8"),
        ("a.csv", "uid,model,score\n1,a,1\n".encode("utf-16"), "is not UTF-8"),
        ("a.csv.gz", b"uid,model,score\n", "is not gzip, or is cut short"),
        (
            "a.csv.gz",
            gzip.compress(as_csv(ROWS).encode(), mtime=0)[:30],
            "is not gzip, or is cut short",
        ),
        ("a.jsonl", b'{"uid": 1, "model"\n', "line 1: is not JSON"),
        ("a.jsonl", b"\n[1]\n", "line 2: is not a JSON object"),
        ("a.jsonl", b'{"uid": {}, "model": "a", "score": 1}\n', "line 1: column 'uid' must"),
        ("a.jsonl", b'{"uid": 1, "model": "a", "score": []}\n', "line 1: column 'score' must be"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_error_that_names_the_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=message) as caught:
        columns(path, ["uid", "model", "score"])
    assert caught.value.field == str(path)
