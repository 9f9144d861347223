"""Every format: rows survive a crash up to a known size, and nothing is overwritten unasked."""

import csv
import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.producers.bulk.outputs.open_output import open_output
from forebay.routing.errors import InvalidJob

WRITE = """
import sys
from forebay.producers.bulk.outputs.open_output import open_output
output = open_output(sys.argv[1], resume_at=int(sys.argv[2]))
row = int(sys.argv[3])
while True:
    size = output.append({"row": row + index, "error_note": "x" * 500} for index in range(20))
    row += 20
    print(size, row, flush=True)
"""

FORMATS = ["out.jsonl", "out.csv", "out.tsv", "out.parquet", "out.npy"]


def numbers(path):
    """Return the numbers of the rows in a finished file, in their order."""
    if path.suffix == ".parquet":
        return pq.read_table(path)["row"].to_pylist()
    if path.suffix == ".npy":
        path = path.with_name(path.name + ".jsonl")
    if path.suffix == ".jsonl":
        return [json.loads(line)["row"] for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return [int(row["row"]) for row in csv.DictReader(file, delimiter=delimiter)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30)
@given(
    batches=st.lists(st.lists(st.integers(1, 50), max_size=4), min_size=1, max_size=6),
    data=st.data(),
)
def test_each_row_is_there_once_wherever_the_writer_died(
    tmp_path_factory, result, name, batches, data
):
    path = tmp_path_factory.mktemp("out") / name
    size, done = 0, 0
    for _ in range(data.draw(st.integers(1, 4))):
        with open_output(path, resume_at=size) as output:
            going_on = data.draw(st.integers(done, len(batches)))
            for batch in batches[done:going_on]:
                size = output.append([result(number) for number in batch])
            done = going_on
            if done < len(batches) and data.draw(st.booleans()):
                output.append([result(99)])  # lost, because its size was never noted
    with open_output(path, resume_at=size) as output:
        for batch in batches[done:]:
            output.append([result(number) for number in batch])
        output.finish()
    assert numbers(path) == [number for batch in batches for number in batch]


@pytest.mark.parametrize("name", FORMATS)
def test_an_output_that_exists_is_refused_unless_it_is_overwritten(tmp_path, result, name):
    path = tmp_path / name
    for number in (1, 2):
        with open_output(path, overwrite=number == 2) as output:
            output.append([result(number)])
            output.finish()
        with pytest.raises(InvalidJob, match="exists already: resume its bulk, or overwrite it"):
            open_output(path)
        assert numbers(path) == [number]


@pytest.mark.parametrize("name", ["out.parquet", "out.npy"])
def test_an_unfinished_output_is_refused_unless_it_is_resumed_or_overwritten(
    tmp_path, result, name
):
    path = tmp_path / name
    with open_output(path) as output:
        size = output.append([result(1)])
    assert [each.name for each in tmp_path.iterdir()] == [f"{name}.part"]
    with pytest.raises(InvalidJob, match=rf"{name}\.part: exists already"):
        open_output(path)
    with open_output(path, resume_at=size) as output:
        output.finish()
    assert numbers(path) == [1]


@pytest.mark.parametrize("name", ["out.parquet", "out.npy"])
def test_an_old_file_stays_until_the_new_one_is_finished(tmp_path, result, name):
    path = tmp_path / name
    with open_output(path) as output:
        output.append([result(1)])
        output.finish()
    with open_output(path, overwrite=True) as output:
        output.append([result(2)])
        assert numbers(path) == [1]
        output.finish()
    assert numbers(path) == [2]


@pytest.mark.parametrize("name", ["out.parquet", "out.npy"])
def test_a_finished_output_is_not_appended_to(tmp_path, result, name):
    path = tmp_path / name
    with open_output(path) as output:
        size = output.append([result(1)])
        output.finish()
    with open_output(path, resume_at=size) as output:
        with pytest.raises(InvalidJob, match="is finished: nothing can be appended"):
            output.append([result(2)])
        output.finish()
    assert numbers(path) == [1]


@pytest.mark.parametrize("name", FORMATS)
def test_closing_and_finishing_twice_does_nothing(tmp_path, result, name):
    output = open_output(tmp_path / name)
    output.append([result(1)])
    output.finish()
    output.finish()
    output.close()
    output.close()
    assert numbers(tmp_path / name) == [1]


@pytest.mark.parametrize("name", ["out", "out.xlsx", "out.json"])
def test_a_name_without_a_known_format_is_refused(tmp_path, name):
    with pytest.raises(InvalidJob, match=r"has no known format: end it with one of \.jsonl"):
        open_output(tmp_path / name)
    with open_output(tmp_path / name, format="jsonl") as output:
        output.append([{"row": 1}])


def test_a_row_of_json_lines_has_all_columns_in_their_order(tmp_path, result):
    answer = {"data": {"ratio": float("nan"), "name": "é\u2028"}}
    with open_output(tmp_path / "out.jsonl") as output:
        output.append([{**result(1, answer), "extra": "left out"}, {"row": 2}])
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().split("\n")[:2])
    answer["data"]["ratio"] = None
    assert first == result(1, answer)
    assert list(second) == list(result(2))
    assert second["status"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_each_row_is_there_once_after_many_kills(tmp_path, name):
    path, size, row = tmp_path / name, 0, 1
    for pause in (0.0, 0.03, 0.01, 0.07):
        command = [sys.executable, "-c", WRITE, str(path), str(size), str(row)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = writer.stdout.readline()
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].splitlines()
        whole = [line for line in (first, *rest) if len(line.split()) == 2]
        size, row = map(int, whole[-1].split())
    with open_output(path, resume_at=size) as output:
        output.append([{"row": row}])
        output.finish()
    assert numbers(path) == list(range(1, row + 1))
