"""A retry: only failed and degraded rows again, whatever they come from and wherever they are."""

import io
import json
import sys

import pyarrow.parquet as pq
import pytest

from forebay.producers.bulk.outputs.open_output import open_output
from forebay.producers.bulk.outputs.stored import stored_rows
from forebay.producers.bulk.running.retry import better
from forebay.routing.errors import InvalidJob
from forebay.workers.cascade.answerer import Answerer

pytest_plugins = ["waterfall", "answering"]

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": ["number", "null"]}},
    "required": ["n"],
    "additionalProperties": False,
}
GOOD = [f'Bill n: {n}. [[echo: say={{"n": {n}}}]]' for n in (1, 2, 3)]
DEGRADED = 'Bill n: 4. [[echo: say={"n": null}]]'
BROKEN = "Bill n: 4. [[echo: say=nothing]]"
TEXTS = [GOOD[0], DEGRADED, GOOD[1], BROKEN, GOOD[2]]


def folder(tmp_path, texts):
    path = tmp_path / "texts"
    path.mkdir()
    for n, text in enumerate(texts):
        (path / f"{n}.txt").write_text(text)
    return path


def standard_input(monkeypatch, texts):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    stdin = io.TextIOWrapper(io.BytesIO(rows.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    return "-"


def say(monkeypatch, text):
    """Have the engine answer so from now on."""
    place = "forebay.workers.engines.batching.echo.Directives.answer"
    monkeypatch.setattr(place, lambda *_: text)


def answers(out, form):
    return {row["row"]: row["answer"] for row in stored_rows(out, form)}


@pytest.mark.parametrize("origin", ["folder", "standard input", "iterable"])
@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl"])
def test_rows_from_anywhere_are_answered_again_in_place(
    client, tmp_path, monkeypatch, origin, name
):
    out = tmp_path / name
    rows = {
        "folder": lambda: folder(tmp_path, TEXTS),
        "standard input": lambda: standard_input(monkeypatch, TEXTS),
        "iterable": lambda: iter(TEXTS),
    }[origin]()
    with client.bulk(rows, out=out, kind="extract", schema=SCHEMA) as bulk:
        first = bulk.wait(60)
    assert (first.done, first.degraded, first.failed) == (4, 1, 1)
    before = list(stored_rows(out, name[4:]))
    say(monkeypatch, '{"n": 4}')
    with client.retry_bulk(bulk.id) as again:
        assert again.wait(60).total == 2
    after = list(stored_rows(out, name[4:]))
    assert [row["row"] for row in after] == [1, 2, 3, 4, 5]
    assert [row["key"] for row in after] == [row["key"] for row in before]
    assert [after[at] for at in (0, 2, 4)] == [before[at] for at in (0, 2, 4)]
    assert [(row["status"], row["degraded"]) for row in after] == [("done", False)] * 5
    end = client.bulk_progress(bulk.id)
    assert (end.state, end.done, end.degraded, end.failed) == ("done", 5, 0, 0)
    with pytest.raises(InvalidJob, match="no row without"):
        client.retry_bulk(bulk.id)


@pytest.mark.parametrize("name", ["out.npy", "out.parquet"])
def test_embeddings_are_completed_in_place(client, tmp_path, monkeypatch, name):
    out, form = tmp_path / name, name[4:]
    real = Answerer.at_once

    def at_once(self, jobs):
        if any("poison" in job.request.texts for job in jobs):
            raise InvalidJob("is longer than the model reads", field="texts")
        return real(self, jobs)

    texts = [{"text": text} for text in ("a", "poison", "b", "poison", "c")]
    with monkeypatch.context() as patch:
        patch.setattr(Answerer, "at_once", at_once)
        with client.bulk(texts, out=out, kind="embed") as bulk:
            assert bulk.wait(60).failed == 2
    before = answers(out, form)
    with client.retry_bulk(bulk.id) as again:
        assert again.wait(60).total == 2
    after = answers(out, form)
    assert after.keys() == before.keys() == {1, 2, 3, 4, 5}
    assert {n: after[n] for n in (1, 3, 5)} == {n: before[n] for n in (1, 3, 5)}
    assert after[2]["vectors"] == after[4]["vectors"]
    assert len(after[2]["vectors"][0]) == len(after[1]["vectors"][0])
    assert client.bulk_progress(bulk.id).state == "done"
    assert not list(tmp_path.glob("*.new*"))


def test_embeddings_of_which_all_failed_are_completed(client, tmp_path, monkeypatch):
    out = tmp_path / "out.npy"

    def refuse(*_):
        raise InvalidJob("is longer than the model reads", field="texts")

    with monkeypatch.context() as patch:
        patch.setattr(Answerer, "at_once", refuse)
        with client.bulk(["a", "b"], out=out, kind="embed") as bulk:
            bulk.wait(60)
    with client.retry_bulk(bulk.id) as again:
        again.wait(60)
    assert all(len(answer["vectors"]) == 1 for answer in answers(out, "npy").values())


def test_a_row_never_loses_its_answer_to_a_retry():
    degraded = {"row": 3, "key": "k", "status": "done", "degraded": True}
    failed = {"row": 1, "key": None, "status": "failed", "degraded": False}
    mended = {"row": 1, "key": None, "status": "done", "degraded": False}
    assert better(degraded, failed) == degraded
    assert better(degraded, mended) == {**mended, "row": 3, "key": "k"}
    assert better({**failed, "row": 2}, failed)["row"] == 2
    assert better(degraded, None) == degraded


def test_the_rows_of_a_table_are_read_as_they_are_written(tmp_path):
    rows = [
        {"row": 1, "key": "ä", "status": "done", "answer": {"label": "x", "probability": 0.25},
         "degraded": False, "cost_usd": 0.5, "checks": [{"name": "a", "passed": True, "note": ""}],
         "tokens_in": 1, "tokens_out": 2, "reasons": ["bulk"]},
        {"row": 2, "key": None, "status": "failed", "answer": None, "degraded": False,
         "cost_usd": 0.0, "checks": [], "tokens_in": 0, "tokens_out": 0, "reasons": ["x"]},
        {"row": 3, "key": None, "status": "done", "degraded": False, "cost_usd": 0.0, "checks": [],
         "answer": {"vectors": [[0.1, 0.2], [0.3, 0.4]]}, "tokens_in": 0, "tokens_out": 0,
         "reasons": []},
    ]  # fmt: skip
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for path, source in ((first, rows), (second, stored_rows(first, "parquet"))):
        with open_output(path) as output:
            output.append(source)
            output.finish()
    assert pq.read_table(first).equals(pq.read_table(second))


@pytest.mark.parametrize("name", ["out.parquet", "out.npy", "out.jsonl", "out.csv"])
def test_an_output_that_was_replaced_by_something_else_is_refused(tmp_path, name):
    out = tmp_path / name
    out.write_text("something else\n")
    with pytest.raises(InvalidJob, match="cannot be read"):
        list(stored_rows(out, name[4:]))
