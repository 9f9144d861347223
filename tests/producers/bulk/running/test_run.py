"""A bulk from its rows to its output, in this process."""

import asyncio
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.bulk.running.manifest import folder_of
from forebay.producers.bulk.running.run import BulkRun
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import InvalidJob, ResultTimeout, Unavailable, UnknownJob
from forebay.routing.jobs import Classify, Job, Summarize, new_id
from patience import until
from shards import work_shards

pytestmark = pytest.mark.slow

pytest_plugins = ["waterfall", "answering"]

LABELS = ["billing", "login", "other"]
CLASSIFY = {"kind": "classify", "labels": LABELS, "text_field": "body"}
WRONG = "what is it [[echo: say=nonsense]]"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in bodies(120)))
    return path


def bodies(count):
    return [{"id": f"k{n}", "body": f"{LABELS[n % 3]} {n}"} for n in range(count)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def labels(path):
    return [row["answer"]["label"] for row in lines(path)]


def test_a_file_becomes_a_file_in_the_order_of_its_rows(client, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    with client.bulk(rows, out=out, key="id", **CLASSIFY) as bulk:
        end = bulk.wait(60)
    assert (end.state, end.total, end.written, end.local) == ("done", 120, 120, 120)
    assert labels(out) == [LABELS[n % 3] for n in range(120)]
    assert [(row["row"], row["key"]) for row in lines(out)][:2] == [(1, "k0"), (2, "k1")]
    row = lines(out)[0]
    assert (row["status"], row["lane"], row["model"], row["degraded"]) == (
        "done", "local", "echo", False,
    )  # fmt: skip
    assert row["checks"] == [{"name": "label", "passed": True, "note": ""}]
    assert client.bulk_progress(bulk.id).state == "done"


def test_without_an_output_results_are_iterated_over_and_leave_nothing(client, lanes):
    with client.bulk(bodies(70), **CLASSIFY) as bulk:
        assert [row["answer"]["label"] for row in bulk] == [LABELS[n % 3] for n in range(70)]
    assert not bulk.out.parent.exists()


def test_rows_that_all_lack_the_column_are_one_error_and_not_nothing(client):
    with (
        client.bulk([{"subject": "login"}] * 3, **CLASSIFY) as bulk,
        pytest.raises(
            InvalidJob,
            match=r"none of them is a valid request; row 1: the row has no column 'body'",
        ),
    ):
        list(bulk)
    assert not bulk.out.parent.exists()
    with client.bulk([], **CLASSIFY) as bulk:
        assert list(bulk) == []


def test_an_iterable_holds_rows_requests_and_jobs_of_any_kind(client):
    mixed = [
        Summarize(text="one two three"), Classify(text="login", labels=LABELS),
        Job(tenant="acme", request=Classify(text="other", labels=LABELS)),
        {"kind": "embed", "texts": ["a"]}, {"kind": "dance"},
    ]  # fmt: skip
    with client.bulk(mixed) as bulk:
        found = list(bulk)
        progress = bulk.progress()
    assert [sorted(row["answer"]) for row in found] == [
        ["text"], ["label", "probability", "scores"], ["label", "probability", "scores"],
        ["vectors"],
    ]  # fmt: skip
    assert (progress.bad, progress.state) == (1, "incomplete")


def test_a_bad_row_is_written_down_with_line_and_column_and_stops_nothing(client, tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"body": "login"}\n{"body": 3}\n{not json\n{"body": "other"}\n')
    with client.bulk(path, out=out, **CLASSIFY) as bulk:
        assert bulk.wait(60).bad == 2
    assert labels(out) == ["login", "other"]
    assert [row["row"] for row in lines(out)] == [1, 4]
    first, second = lines(bulk.bad_rows)
    assert (first["line"], first["column"]) == (2, "body")
    assert second["line"] == 3


@pytest.mark.parametrize("given", ["file", "rows"])
def test_a_repeated_key_is_a_bad_row_also_after_a_resume(client, tmp_path, answering, given):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    again = [*bodies(100), {"id": "k3", "body": "login"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in again))
    source = path if given == "file" else again
    bulk = client.bulk(source, out=out, key="id", **CLASSIFY)
    iterator = iter(bulk)
    next(iterator)
    bulk.close()
    with client.resume_bulk(str(out), again if given == "rows" else None) as resumed:
        assert resumed.wait(60).bad == 1
    assert len(lines(out)) == 100
    (bad,) = lines(resumed.bad_rows)
    assert (bad["row"], Path(bad["file"]).name) == (
        101,
        "rows.jsonl" if given == "file" else "rows",
    )
    assert "repeats the key of row 4" in bad["reason"]


def test_a_detached_bulk_goes_on_where_it_was(client, rows, tmp_path, answering):
    out = tmp_path / "out.jsonl"
    bulk = client.bulk(rows, out=out, **CLASSIFY)
    next(iter(bulk))
    assert client.bulk_progress(bulk.id).fed
    bulk.close()
    assert not client.bulk_progress(bulk.id).fed
    assert 0 < len(lines(out)) < 120
    with out.open("a") as file:
        file.write('{"row": 99, "half')  # a crash after the last line of the journal
    with client.resume_bulk(bulk.id) as resumed:
        assert resumed.wait(60).state == "done"
    assert [row["row"] for row in lines(out)] == list(range(1, 121))


def test_an_input_that_changed_is_refused_with_what_changed(client, rows, tmp_path, answering):
    bulk = client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY)
    next(iter(bulk))
    bulk.close()
    with rows.open("a") as file:
        file.write('{"body": "more"}\n')
    with pytest.raises(InvalidJob, match=r"bytes more than .*: give it back its old") as refused:
        client.resume_bulk(bulk.id)
    assert str(refused.value).count(str(rows)) == 1


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_what_is_added_to_a_file_while_it_is_read_is_told_and_not_read(client, tmp_path, name):
    path, out = tmp_path / name, tmp_path / "out.jsonl"
    texts = [f"{LABELS[n % 3]} {n}" for n in range(120)]
    jsonl = name.endswith(".jsonl")
    rows = [json.dumps({"body": each}) for each in texts] if jsonl else ["body", *texts]
    path.write_text("\n".join(rows))  # the last line has no end, so more can be written on it
    bulk = client.bulk(path, out=out, **CLASSIFY)
    with path.open("a") as file:
        file.write(" and more\nlogin\n")
    with bulk:
        assert bulk.wait(60).total == 120
    assert "has 16 bytes more than the" in bulk.input_change
    assert [row["row"] for row in lines(out)] == list(range(1, 121))
    assert not bulk.bad_rows.exists()


def test_an_output_that_exists_is_refused_and_replaced_only_if_asked(client, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    with pytest.raises(InvalidJob, match="--overwrite"):
        client.bulk(rows, out=out, **CLASSIFY)
    assert out.read_text() == "precious\n"
    with client.bulk(rows, out=out, overwrite=True, **CLASSIFY) as bulk:
        bulk.wait(60)
    assert len(lines(out)) == 120


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"kind": "dance"}, "kind"),
        ({"kind": "classify", "labels": LABELS, "text_field": "nobody"}, "text_field"),
        ({**CLASSIFY, "order": "random"}, "order"),
        ({**CLASSIFY, "egress": "perhaps"}, "egress"),
        ({**CLASSIFY, "source_format": "xml"}, "format"),
        ({**CLASSIFY, "source_format": "items"}, "format"),
        ({**CLASSIFY, "labels": ["one"]}, "labels"),
        ({**CLASSIFY, "max_usd": float("inf")}, "max_usd"),
        ({**CLASSIFY, "max_usd": "1"}, "max_usd"),
        ({**CLASSIFY, "deadline": "06:00"}, "deadline"),
        ({**CLASSIFY, "out": 5}, "out"),
        ({**CLASSIFY, "key": 5}, "key"),
        ({**CLASSIFY, "text_field": ["body"]}, "text_field"),
        ({**CLASSIFY, "max_usd": float("nan")}, "max_usd"),
        ({**CLASSIFY, "max_cost_usd": -1.0}, "max_cost_usd"),
        ({**CLASSIFY, "deadline": timedelta(seconds=-1)}, "deadline"),
        ({**CLASSIFY, "deadline": datetime(2020, 1, 1, tzinfo=UTC)}, "deadline"),
        ({}, "kind"),
    ],
)
def test_a_wrong_option_is_named_and_leaves_nothing(client, rows, tmp_path, options, field):
    with pytest.raises(InvalidJob) as wrong:
        client.bulk(rows, **{"out": tmp_path / "new" / "out.jsonl", **options})
    assert wrong.value.field == field
    assert not (tmp_path / "new" / "out.jsonl.bulk").exists()
    assert client.bulks() == []


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("where", ["out", "bad"])
def test_an_input_is_never_overwritten_by_its_results(client, tmp_path, where, suffix):
    out = tmp_path / f"out{suffix}"
    source = out if where == "out" else tmp_path / "out.bad.jsonl"
    text = "".join(json.dumps(row) + "\n" for row in bodies(9))
    source.write_text(text)
    with pytest.raises(InvalidJob, match="is read by the bulk"):
        client.bulk(source, out=out, overwrite=True, source_format="jsonl", **CLASSIFY)
    assert source.read_text() == text


def test_a_file_of_labels_is_never_overwritten_by_results(client, rows, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('["billing", "login", "other"]')
    with pytest.raises(InvalidJob, match="is read by the bulk"):
        client.bulk(rows, out=path, overwrite=True, **{**CLASSIFY, "labels": path})
    assert path.read_text().startswith("[")


def test_the_bad_rows_of_another_bulk_are_not_overwritten(client, rows, tmp_path):
    (tmp_path / "out.bad.jsonl").write_text("precious\n")
    with pytest.raises(InvalidJob, match=r"out\.bad\.jsonl: exists"):
        client.bulk(rows, out=tmp_path / "out.csv", **CLASSIFY)


@pytest.mark.parametrize("source", ["empty.csv", "header.csv", "empty", "blank.jsonl"])
def test_an_input_without_rows_leaves_nothing_behind(client, tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("body\n")
    (tmp_path / "blank.jsonl").write_text("\n\n")
    before = sorted(tmp_path.iterdir())
    options = CLASSIFY | ({"text_field": None} if source == "empty" else {})
    with pytest.raises(InvalidJob, match="must have at least one"):
        client.bulk(tmp_path / source, out=tmp_path / "out.jsonl", **options)
    assert sorted(tmp_path.iterdir()) == before


def test_standard_input_without_rows_leaves_nothing_behind(client, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.touch()
    with empty.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with (
            client.bulk("-", out=tmp_path / "out.jsonl", **CLASSIFY) as bulk,
            pytest.raises(InvalidJob, match="standard input: is empty"),
        ):
            bulk.wait(60)
    assert list(tmp_path.glob("out*")) == []
    assert client.bulk_progress(bulk.id).state == "cancelled"


def test_a_bulk_that_cannot_begin_leaves_nothing_behind(client, rows, tmp_path, monkeypatch):
    def away(*_args):
        raise Unavailable("Redis cannot be reached", field="FOREBAY_REDIS_URL")

    with monkeypatch.context() as patch:
        patch.setattr("forebay.routing.bulk.bulks.Bulks.create", away)
        with pytest.raises(Unavailable):
            client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY)
    assert list(tmp_path.glob("out*")) == []
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        assert bulk.wait(60).state == "done"


def test_a_paused_bulk_rests_until_it_is_resumed(client, lanes, rows, tmp_path, answering):
    answering.rest()
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        with pytest.raises(ResultTimeout):
            bulk.wait(0.3)
        client.set_bulk_state(bulk.id, "paused")
        answering.go()
        with pytest.raises(ResultTimeout):
            bulk.wait(1.5)
        assert bulk.progress().state == "paused"
        assert bulk.progress().written == 0
        client.set_bulk_state(bulk.id, "running")
        parked = lanes.redis.zrange("fb:later", 0, -1)
        assert parked
        lanes.redis.zadd("fb:later", dict.fromkeys(parked, 0))  # as if their 10 s were over
        assert bulk.wait(60).state == "done"


def test_rows_count_while_their_shard_goes_on(client, lanes, rows, tmp_path, answering):
    answering.rest()
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        with pytest.raises(ResultTimeout):
            bulk.wait(0.3)
        work_shards(lanes, "route")
        claim = lanes.ledger.claim("local.default", shards=True)
        kept = [RowResult(status="done", content={"label": "other"})] * 3
        Shards(lanes.ledger).keep(claim, kept + [None] * (claim.record.rows - 3))
        with pytest.raises(ResultTimeout):
            bulk.wait(1.5)
        shown = client.bulk_progress(bulk.id)
        assert (shown.over, shown.done, shown.written) == (3, 0, 0)
        lanes.ledger.retry(claim, "engine_busy", counted=False)
        answering.go()
        assert bulk.wait(60).over == 120
    assert client.bulk_progress(bulk.id).over == 120


def test_a_cancelled_bulk_keeps_what_is_written_and_leaves_no_shard(client, lanes, tmp_path, rows):
    out = tmp_path / "out.jsonl"
    bulk = client.bulk(rows, out=out, **CLASSIFY)
    next(iter(bulk))
    bulk.cancel()
    assert bulk.wait(60).state == "cancelled"
    bulk.close()
    assert lines(out)
    states = {lanes.redis.hget(key, "state") for key in lanes.redis.keys("fb:job:acme.*")}
    assert states <= {b"cancelled", b"done"}
    with pytest.raises(InvalidJob, match="cancelled"):
        client.resume_bulk(bulk.id)


def test_a_cancelled_bulk_keeps_all_answers_so_far(client, lanes, tmp_path, rows, answering):
    """Also those of a shard that is cut short, and those of the shards that wait behind it."""
    answering.rest()
    out = tmp_path / "out.jsonl"
    with client.bulk(rows, out=out, **CLASSIFY) as bulk:
        with pytest.raises(ResultTimeout):
            bulk.wait(0.3)
        work_shards(lanes, "route")
        claim = lanes.ledger.claim("local.default", shards=True)
        first = RowResult(status="done", model="echo", content={"label": "billing"})
        Shards(lanes.ledger).keep(claim, [first] * 3 + [None] * 47)
        answering.go()
        until(lambda: Bulks(lanes.ledger).get(bulk.id).over == 70)
        bulk.cancel()
        end = bulk.wait(60)
    assert (end.state, end.done, end.cancelled, end.written) == ("cancelled", 73, 47, 120)
    written = [row["status"] for row in lines(out)]
    assert written == ["done"] * 3 + ["cancelled"] * 47 + ["done"] * 70


def test_rows_that_may_leave_are_answered_by_bedrock_within_the_budget(client, lanes, tmp_path):
    lanes.mock.answer = "other"
    many = [{"body": f"{WRONG} {n}"} for n in range(20)]
    options = {"egress": "allow", "max_usd": 0.01}
    with client.bulk(many, out=tmp_path / "out.jsonl", **options, **CLASSIFY) as bulk:
        end = bulk.wait(60)
    assert end.state == "incomplete"
    assert 0 < end.bedrock < 20
    assert 0 < end.spent_usd <= 0.01
    assert end.reserved_usd == 0
    found = lines(tmp_path / "out.jsonl")
    up = [row for row in found if row["lane"] == "bedrock"]
    assert len(up) == end.bedrock == end.mock
    assert all("stand_in" in row["reasons"] for row in up)
    assert sum(row["cost_usd"] for row in up) == pytest.approx(end.spent_usd)
    stayed = [row for row in found if row["lane"] != "bedrock"]
    assert all("budget_spent" in row["reasons"] for row in stayed)
    assert not any("stand_in" in row["reasons"] for row in stayed)


def test_rows_by_egress_of_their_own_travel_apart(client, lanes, tmp_path):
    lanes.mock.answer = "other"
    many = [{"body": WRONG, "may": "allow" if n % 2 else "deny"} for n in range(6)]
    with client.bulk(many, egress_column="may", **CLASSIFY) as bulk:
        found = list(bulk)
    assert [row["lane"] for row in found] == [None, "bedrock"] * 3
    assert len(lanes.mock.calls) == 3


def test_failed_rows_are_answered_again_in_place(client, lanes, rows, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    broken = [*bodies(5), {"id": "k5", "body": WRONG}, *bodies(3)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in broken))
    with client.bulk(rows, out=out, **CLASSIFY) as bulk:
        assert bulk.wait(60).failed == 1
    before = lines(out)
    monkeypatch.setattr("forebay.workers.engines.batching.echo.Directives.answer", lambda *_: None)
    with client.retry_bulk(bulk.id) as again:
        assert again.wait(60).total == 1
    assert again.out == out
    after = lines(out)
    assert after[5]["status"] == "done"
    assert [*after[:5], *after[6:]] == [*before[:5], *before[6:]]
    assert client.bulk_progress(bulk.id).state == "done"
    for which in (bulk.id, again.id):
        with pytest.raises(InvalidJob, match="no row without"):
            client.retry_bulk(which)


def broken_bulk(client, rows, out, count=3, **options):
    """Run a bulk whose last rows fail; return its id."""
    broken = [*bodies(5), *({"id": f"w{n}", "body": WRONG} for n in range(count))]
    rows.write_text("".join(json.dumps(row) + "\n" for row in broken))
    with client.bulk(rows, out=out, **options, **CLASSIFY) as bulk:
        bulk.wait(60)
    return bulk.id


def mended(monkeypatch):
    monkeypatch.setattr("forebay.workers.engines.batching.echo.Directives.answer", lambda *_: None)


def test_a_retry_that_was_detached_is_put_in_place_when_it_is_resumed(
    client, rows, tmp_path, monkeypatch, answering
):
    out = tmp_path / "out.jsonl"
    first = broken_bulk(client, rows, out)
    mended(monkeypatch)
    answering.rest()
    again = client.retry_bulk(first)
    with pytest.raises(ResultTimeout):
        again.wait(0.3)
    again.close()
    answering.go()
    with pytest.raises(InvalidJob, match=again.id):
        client.retry_bulk(first)
    with client.resume_bulk(again.id) as resumed:
        assert resumed.wait(60).state == "done"
    assert [row["status"] for row in lines(out)] == ["done"] * 8
    assert client.bulk_progress(first).state == "done"


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_table_is_completed_and_its_other_rows_stay_as_they_are(
    client, rows, tmp_path, monkeypatch, suffix
):
    out = tmp_path / f"out.{suffix}"
    first = broken_bulk(client, rows, out)
    before = out.read_text().splitlines()
    failed = [number for number, line in enumerate(before) if "bad_answer" in line]
    mended(monkeypatch)
    with client.retry_bulk(first) as again:
        assert again.wait(60).state == "done"
    after = out.read_text().splitlines()
    assert failed
    assert len(after) == len(before) == 9
    assert [n for n, line in enumerate(after) if line != before[n]] == failed
    assert "bad_answer" not in out.read_text()
    end = client.bulk_progress(first)
    assert (end.state, end.done, end.failed) == ("done", 8, 0)


def test_a_retry_that_was_cancelled_leaves_the_output_and_may_be_tried_again(
    client, rows, tmp_path, monkeypatch, answering
):
    out = tmp_path / "out.jsonl"
    first = broken_bulk(client, rows, out)
    before = out.read_bytes()
    mended(monkeypatch)
    answering.rest()
    with client.retry_bulk(first) as again:
        again.cancel()
        assert again.wait(60).state == "cancelled"
    assert out.read_bytes() == before
    answering.go()
    with client.retry_bulk(first) as last:
        last.wait(60)
    assert [row["status"] for row in lines(out)] == ["done"] * 8


def test_a_bulk_that_has_not_ended_is_not_retried(client, rows, tmp_path, answering):
    answering.rest()
    bulk = client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY)
    client.set_bulk_state(bulk.id, "paused")
    bulk.close()
    with pytest.raises(InvalidJob, match="paused"):
        client.retry_bulk(bulk.id)


def test_a_retry_spends_what_is_left_of_the_budget(client, rows, tmp_path, lanes):
    out = tmp_path / "out.jsonl"
    lanes.mock.answer = "other"
    first = broken_bulk(client, rows, out, count=20, egress="allow", max_usd=0.01)
    spent = client.bulk_progress(first).spent_usd
    with client.retry_bulk(first) as again:
        end = again.wait(60)
    assert end.max_usd == pytest.approx(0.01 - spent)
    assert spent + end.spent_usd <= 0.01


def test_what_a_retry_does_not_mend_leaves_a_bulk_incomplete(client, rows, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    rows.write_text(f'{{"body": "login"}}\n{{"body": 3}}\n{json.dumps({"body": WRONG})}\n')
    with client.bulk(rows, out=out, **CLASSIFY) as bulk:
        assert bulk.wait(60).state == "incomplete"
    mended(monkeypatch)
    with client.retry_bulk(bulk.id) as again:
        again.wait(60)
    end = client.bulk_progress(bulk.id)
    assert (end.state, end.bad, end.failed, end.done) == ("incomplete", 1, 0, 2)


def test_a_bulk_that_another_process_feeds_is_neither_replaced_nor_harmed(
    client, rows, tmp_path, answering
):
    out = tmp_path / "out.jsonl"
    answering.rest()
    with client.bulk(rows, out=out, **CLASSIFY) as bulk:
        with pytest.raises(InvalidJob, match="another process"):
            client.bulk(rows, out=out, overwrite=True, **CLASSIFY)
        bulk.close()
        answering.go()
        with client.resume_bulk(str(out)) as resumed:
            assert resumed.wait(60).state == "done"
    assert len(lines(out)) == 120


def test_an_iterable_that_was_not_read_to_its_end_is_given_again(client, tmp_path):
    out = tmp_path / "out.jsonl"

    def broken():
        yield from bodies(90)
        raise RuntimeError("the source broke")

    with (
        client.bulk(broken(), out=out, **CLASSIFY) as bulk,
        pytest.raises(RuntimeError, match="broke"),
    ):
        bulk.wait(60)
    with pytest.raises(InvalidJob, match="give it again"):
        client.resume_bulk(bulk.id)
    others = [{"id": "other", "body": "login"}] * 120
    with (
        client.resume_bulk(bulk.id, others) as resumed,
        pytest.raises(InvalidJob, match=r"rows: does not begin with the .* bytes that were read"),
    ):
        resumed.wait(60)
    with client.resume_bulk(bulk.id, bodies(120)) as resumed:
        assert resumed.wait(60).state == "done"
    assert [row["row"] for row in lines(out)] == list(range(1, 121))


def stopped_after(count):
    yield from bodies(count)
    raise RuntimeError("the source broke")


def test_rows_that_were_read_are_skipped_while_results_are_collected(client, tmp_path):
    out, comes, goes = tmp_path / "out.jsonl", threading.Event(), threading.Event()
    with client.bulk(stopped_after(400), out=out, **CLASSIFY) as bulk, pytest.raises(RuntimeError):
        bulk.wait(60)

    def again():
        comes.wait(60)
        yield from bodies(200)
        goes.wait(60)
        yield from bodies(500)[200:]

    try:
        with client.resume_bulk(bulk.id, again()) as resumed:
            assert resumed.progress().rereading == 0.0
            until_written(resumed, 400)
            assert resumed.progress().rereading == 0.0
            comes.set()
            while not (share := resumed.progress().rereading):
                a_moment(resumed)
            assert 0.4 < share < 0.6
            assert 0.4 < client.bulk_progress(bulk.id).rereading < 0.6
            goes.set()
            end = resumed.wait(60)
    finally:
        comes.set()
        goes.set()
    assert (end.state, end.rereading) == ("done", None)
    assert client.bulk_progress(bulk.id).rereading is None
    assert [row["row"] for row in lines(out)] == list(range(1, 501))


def until_written(bulk, count):
    while bulk.progress().written < count:
        a_moment(bulk)


def a_moment(bulk):
    with pytest.raises(ResultTimeout):
        bulk.wait(1.2)


def test_keys_that_were_read_are_read_again_while_results_are_collected(
    client, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr("forebay.producers.bulk.running.blocks.MAX_READ_S", -1)
    with rows.open("a") as file:
        file.write(json.dumps({"id": "k3", "body": "login"}) + "\n")
    out, seen = tmp_path / "out.jsonl", []
    bulk = client.bulk(rows, out=out, key="id", **CLASSIFY)
    next(iter(bulk))
    bulk.close()
    with client.resume_bulk(bulk.id) as resumed:
        assert resumed.progress().rereading == 0.0
        end = resumed.wait(60, on_progress=lambda each: seen.append(each.rereading))
    assert 0 < min(each for each in seen if each is not None) < 1
    assert (end.bad, end.rereading, seen[-1]) == (1, None, None)
    assert [row["row"] for row in lines(out)] == list(range(1, 121))


def test_rows_that_come_slowly_are_answered_meanwhile(client, monkeypatch):
    monkeypatch.setattr("forebay.producers.bulk.running.blocks.MAX_READ_S", 0.1)
    produced = []

    def slowly():
        for row in bodies(30):
            time.sleep(0.1)
            produced.append(row)
            yield row

    with client.bulk(slowly(), **CLASSIFY) as bulk:
        iterator = iter(bulk)
        next(iterator)
        assert len(produced) < 30
        assert sum(1 for _ in iterator) == 29


def test_a_pipe_that_stops_inside_a_row_holds_nothing_up(client, tmp_path, monkeypatch):
    read_end, write_end = os.pipe()
    stdin = os.fdopen(read_end)
    monkeypatch.setattr("sys.stdin", stdin)
    whole = "".join(json.dumps(row) + "\n" for row in bodies(60)).encode()
    os.write(write_end, whole[:-20])
    with stdin, client.bulk("-", out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        seen = []
        with pytest.raises(ResultTimeout):
            bulk.wait(2, on_progress=seen.append)
        assert len(seen) > 3
        assert seen[-1].written == 59
        client.set_bulk_state(bulk.id, "paused")
        with pytest.raises(ResultTimeout):
            bulk.wait(1.5)
        assert (bulk.progress().state, bulk.progress().rows_per_s) == ("paused", None)
        client.set_bulk_state(bulk.id, "running")
        os.write(write_end, whole[-20:])
        os.close(write_end)
        assert bulk.wait(60).written == 60
    assert [row["row"] for row in lines(tmp_path / "out.jsonl")] == list(range(1, 61))


def test_resuming_a_paused_bulk_lets_the_process_that_feeds_it_go_on(
    client, rows, tmp_path, answering
):
    answering.rest()
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        client.set_bulk_state(bulk.id, "paused")
        with pytest.raises(InvalidJob, match="goes on there"):
            client.resume_bulk(bulk.id)
        assert client.bulk_progress(bulk.id).state == "running"
        answering.go()
        assert bulk.wait(60).state == "done"


def test_results_that_are_iterated_over_without_a_block_leave_nothing(client):
    bulk = client.bulk(bodies(70), **CLASSIFY)
    assert len(list(bulk)) == 70
    assert not bulk.out.parent.exists()
    bulk = client.bulk(bodies(70), **CLASSIFY)
    for _ in bulk:
        break
    bulk.close()
    assert not bulk.out.parent.exists()


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.npy"])
def test_a_bulk_that_ended_before_its_first_result_is_resumed(client, rows, tmp_path, name):
    how = {"kind": "embed", "text_field": "body"}
    client.bulk(rows, out=tmp_path / name, **how).close()
    with client.resume_bulk(tmp_path / name) as bulk:
        assert bulk.wait(60).written == 120
    assert bulk.out.exists()


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.npy"])
def test_a_cancelled_bulk_leaves_an_output_that_can_be_read(client, tmp_path, answering, name):
    out = tmp_path / name
    texts = [{"text": f"{n}"} for n in range(120)]
    kind = "embed" if name.endswith("npy") else "summarize"
    bulk = client.bulk(texts, out=out, kind=kind)
    next(iter(bulk))
    bulk.cancel()
    assert bulk.wait(60).state == "cancelled"
    bulk.close()
    assert out.stat().st_size


def test_rows_that_went_up_are_forgotten_once_they_are_on_the_disk(client, lanes, tmp_path):
    lanes.mock.answer = "other"
    many = [{"body": f"{WRONG} {n}"} for n in range(4)]
    with client.bulk(many, out=tmp_path / "out.jsonl", egress="allow", **CLASSIFY) as bulk:
        assert bulk.wait(60).bedrock == 4
    assert not lanes.redis.keys("fb:job:*")
    assert not lanes.redis.keys("fb:answer:*")


def test_a_dry_run_answers_nothing_and_finds_every_bad_row(client, rows):
    with rows.open("a") as file:
        file.write('{"nobody": 1}\n')
    found = client.validate_bulk(rows, **CLASSIFY)
    assert (found.rows, found.bad) == (120, 1)
    assert found.first_bad[0].line == 121
    assert client.bulks() == []


def test_a_sample_says_what_the_whole_will_take_and_what_fails(client, tmp_path):
    many = [{"body": WRONG if n % 2 else "login"} for n in range(200)]
    found = client.sample_bulk(many, 40, **CLASSIFY)
    assert (found.rows, found.sampled) == (200, 40)
    assert found.whole_s == pytest.approx(200 / found.rows_per_s)
    assert 0.2 < found.failed < 0.8
    assert found.local == pytest.approx(1 - found.failed)
    assert found.errors == {"bad_answer": round(found.failed * 40)}
    assert [row["answer"] for row in found.examples["bad_answer"]] == [None] * 3


def test_rows_that_are_late_end_as_expired(client, answering):
    answering.rest()
    with client.bulk(bodies(3), deadline=timedelta(seconds=0.5), **CLASSIFY) as bulk:
        with pytest.raises(ResultTimeout):
            bulk.wait(0.8)
        answering.go()
        found = list(bulk)
    assert {(row["status"], row["error"]) for row in found} == {("expired", "expired")}


def test_what_redis_lost_is_fed_again(client, lanes, rows, tmp_path, answering, monkeypatch):
    monkeypatch.setattr("forebay.producers.bulk.running.arrivals.LOOK_AGAIN_S", 0.2)
    answering.rest()
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        with pytest.raises(ResultTimeout):
            bulk.wait(0.5)
        lanes.redis.flushall()
        answering.go()
        assert bulk.wait(60).state == "done"
    assert labels(tmp_path / "out.jsonl") == [LABELS[n % 3] for n in range(120)]


def test_an_end_that_redis_lost_again_is_waited_for(client, lanes, tmp_path, monkeypatch):
    lanes.mock.answer = "other"
    with (
        client.bulk([{"body": WRONG}], egress="allow", **CLASSIFY) as bulk,
        monkeypatch.context() as patch,
    ):
        patch.setattr(lanes, "work", lambda _: None)
        with pytest.raises(ResultTimeout):
            bulk.wait(1.5)
        (job_id,) = bulk._run._collector._jobs
        lanes.redis.xadd(bulk._run._arrivals.stream, {"id": job_id, "state": "done"})
        with pytest.raises(ResultTimeout):
            bulk.wait(0.5)
        patch.undo()
        (row,) = bulk
    assert (row["status"], row["lane"]) == ("done", "bedrock")


def test_a_full_disk_stops_the_bulk_and_it_goes_on_later(client, rows, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    bulk = client.bulk(rows, out=out, **CLASSIFY)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("forebay.producers.bulk.outputs.durable_file.os.write", full)
        with pytest.raises(Unavailable, match="full"):
            bulk.wait(60)
    bulk.close()
    with client.resume_bulk(bulk.id) as resumed:
        assert resumed.wait(60).state == "done"
    assert len(lines(out)) == 120


def test_another_tenant_sees_nothing_of_a_bulk(client, lanes, rows, tmp_path):
    from forebay.producers.client import Client  # noqa: PLC0415 - as a stranger

    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        bulk.wait(60)
    with Client(tenant="globex", redis=lanes.redis, settings=lanes.ledger.settings) as other:
        assert other.bulks() == []
        for ask in (other.bulk_progress, other.resume_bulk, other.retry_bulk):
            with pytest.raises(UnknownJob):
                ask(bulk.id)
        with pytest.raises(UnknownJob):
            other.set_bulk_state(bulk.id, "cancelled")
    with pytest.raises(UnknownJob):
        client.bulk_progress(new_id("acme"))


def test_results_are_forgotten_once_they_are_on_the_disk(client, lanes, rows, tmp_path):
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        bulk.wait(60)
    assert not lanes.redis.keys("fb:answer:*")
    assert not lanes.redis.keys("fb:job:*")
    assert folder_of(bulk.out).exists()
    assert Bulks(lanes.ledger).get(bulk.id).over == 120


def test_two_processes_cannot_feed_one_bulk(client, lanes, rows, tmp_path, answering):
    answering.rest()
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        with pytest.raises(InvalidJob, match="another process"):
            client.resume_bulk(bulk.id)
        assert isinstance(bulk._run, BulkRun)
        answering.go()
        bulk.wait(60)


def test_asyncio_has_the_same_bulks(client, lanes, rows, tmp_path):
    async def main():
        settings = lanes.ledger.settings.model_copy(update={"redis_url": url})
        async with AsyncClient(tenant="acme", settings=settings) as other:
            out = tmp_path / "out.jsonl"
            async with await other.bulk(rows, out=out, **CLASSIFY) as bulk:
                end = await bulk.wait(60)
            async with await other.bulk(bodies(30), **CLASSIFY) as iterated:
                found = [row["answer"]["label"] async for row in iterated]
            known = {each.id: each.state for each in await other.bulks()}
            assert known == {bulk.id: "done", iterated.id: "done"}
            with pytest.raises(InvalidJob):
                await other.bulk(rows, out=out, **CLASSIFY)
            return end, found, (await other.validate_bulk(rows, **CLASSIFY)).rows

    arguments = lanes.redis.connection_pool.connection_kwargs
    url = f"redis://{arguments['host']}:{arguments['port']}/0"
    end, found, valid = asyncio.run(main())
    assert (end.state, end.written, valid) == ("done", 120, 120)
    assert labels(tmp_path / "out.jsonl") == [LABELS[n % 3] for n in range(120)]
    assert found == [LABELS[n % 3] for n in range(30)]


def test_a_generator_that_blocks_holds_up_neither_progress_nor_collecting_nor_cancel(
    client, tmp_path
):
    goes = threading.Event()

    def rows():
        yield from bodies(60)
        goes.wait(120)
        yield from bodies(5)

    out = tmp_path / "out.jsonl"
    try:
        with client.bulk(rows(), out=out, **CLASSIFY) as bulk:
            while bulk.progress().written < 60:
                with pytest.raises(ResultTimeout):
                    bulk.wait(0.2)
            assert len(lines(out)) == 60
            bulk.cancel()
            began = time.monotonic()
            assert bulk.wait(60).state == "cancelled"
            assert time.monotonic() - began < 10
    finally:
        goes.set()


def test_asyncio_takes_rows_from_an_async_iterable(client, lanes, tmp_path):
    async def main():
        settings = lanes.ledger.settings.model_copy(update={"redis_url": url})
        goes = asyncio.Event()

        async def rows():
            for row in bodies(60):
                yield row
            await goes.wait()
            for row in bodies(5):
                yield row

        async def rows_after(never):
            await never.wait()
            yield

        async with AsyncClient(tenant="acme", settings=settings) as other:
            assert (await other.validate_bulk(bodies_later(7), **CLASSIFY)).rows == 7
            async with await other.bulk(rows(), out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
                async for row in bulk:
                    if row["row"] == 60:
                        break
            never = asyncio.Event()
            async with await other.resume_bulk(bulk.id, rows_after(never)) as bulk:
                with pytest.raises(ResultTimeout):
                    await bulk.wait(0.5)
                assert bulk.progress().rereading == 0.0
            goes.set()
            async with await other.resume_bulk(bulk.id, rows()) as bulk:
                assert (await bulk.wait(60)).state == "done"

    async def bodies_later(count):
        for row in bodies(count):
            yield row

    arguments = lanes.redis.connection_pool.connection_kwargs
    url = f"redis://{arguments['host']}:{arguments['port']}/0"
    asyncio.run(main())
    assert [row["row"] for row in lines(tmp_path / "out.jsonl")] == list(range(1, 66))


def test_an_output_that_is_removed_while_it_is_written_is_no_end(client, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    with client.bulk(rows, out=out, **CLASSIFY) as bulk:
        while not out.stat().st_size:
            bulk.next_rows()
        out.unlink()
        with pytest.raises(InvalidJob, match="was removed while it was written"):
            bulk.wait(60)
    assert client.bulk_progress(bulk.id).state == "running"
    with pytest.raises(InvalidJob, match="is gone: begin again with overwrite"):
        client.resume_bulk(bulk.id)


def test_a_bulk_that_was_moved_goes_on_where_it_is(client, rows, tmp_path):
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        bulk.next_rows()
    moved = tmp_path / "moved"
    moved.mkdir()
    for each in tmp_path.glob("out.*"):
        each.rename(moved / each.name)
    with client.resume_bulk(moved / "out.jsonl") as again:
        assert (again.id, again.out) == (bulk.id, moved / "out.jsonl")
        again.wait(60)
    assert labels(moved / "out.jsonl") == [LABELS[n % 3] for n in range(120)]
    assert [each.name for each in tmp_path.glob("out*")] == []
    assert client.bulk_progress(bulk.id).out == str(moved / "out.jsonl")


def test_an_input_that_was_moved_is_named_again_and_compared(client, rows, tmp_path):
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        bulk.next_rows()
    moved, other = rows.rename(tmp_path / "moved.jsonl"), tmp_path / "other.jsonl"
    other.write_text(moved.read_text().replace("login", "logon"))
    with pytest.raises(InvalidJob, match=r"rows\.jsonl: is gone: put it back, or name where it"):
        client.resume_bulk(bulk.id)
    with pytest.raises(InvalidJob, match=r"other\.jsonl: has other content than when"):
        client.resume_bulk(bulk.id, other)
    client.resume_bulk(bulk.id, moved).close()
    with client.resume_bulk(bulk.id) as again:  # it is remembered
        again.wait(60)
    assert labels(bulk.out) == [LABELS[n % 3] for n in range(120)]


def test_the_record_tells_the_truth_although_redis_lost_its_counts(
    client, lanes, rows, tmp_path, monkeypatch
):
    monkeypatch.setattr("forebay.producers.bulk.running.arrivals.LOOK_AGAIN_S", 0.2)
    with client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY) as bulk:
        while bulk.progress().written < 50:
            bulk.next_rows()
        lanes.redis.flushall()
        end = bulk.wait(60)
    assert (end.state, end.over, end.local, end.done) == ("done", 120, 120, 120)
    assert client.bulk_progress(bulk.id).local == 120


def test_bad_rows_of_a_bulk_without_a_file_can_be_read(client):
    with client.bulk(["one", 7, {"text": None}, "two"], kind="summarize") as bulk:
        assert [row["row"] for row in bulk] == [1, 4]
        assert [(bad.number, bad.column) for bad in bulk.first_bad] == [(2, None), (3, "text")]
        assert "is int; a row must be" in str(bulk.first_bad[0])


def test_a_handle_that_was_closed_says_so(client, rows, tmp_path):
    bulk = client.bulk(rows, out=tmp_path / "out.jsonl", **CLASSIFY)
    assert repr(bulk) == f"BulkHandle(id={bulk.id!r}, out={str(tmp_path / 'out.jsonl')!r})"
    bulk.close()
    for work in (bulk.wait, bulk.next_rows):
        with pytest.raises(InvalidJob, match="its handle was closed: `resume_bulk` goes on"):
            work()
    with client.bulk(bodies(9), **CLASSIFY) as bulk:
        pass
    with pytest.raises(InvalidJob, match="its handle was closed: it is cancelled"):
        next(iter(bulk))


def test_a_bulk_is_named_by_its_output_in_python_too(client, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    with client.bulk(rows, out=out, **CLASSIFY) as bulk:
        assert client.set_bulk_state(str(out), "paused").state == "paused"
        with pytest.raises(InvalidJob, match="state: must be paused, running or cancelled"):
            client.set_bulk_state(bulk.id, "stopped")
        assert client.set_bulk_state(str(out), "running").id == bulk.id
        bulk.wait(60)
    assert client.bulk_progress(str(out)).written == 120


@pytest.mark.parametrize("count", [0, -1])
def test_a_sample_has_a_row(client, rows, count):
    with pytest.raises(InvalidJob, match="count: must be at least 1"):
        client.sample_bulk(rows, count, **CLASSIFY)


def test_true_is_no_amount_of_dollars(client, rows):
    with pytest.raises(InvalidJob, match="max_usd: must be a number of dollars, not bool"):
        client.bulk(rows, max_usd=True, **CLASSIFY)
