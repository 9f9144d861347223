"""`forebay spend`: every call with its tokens and its price, in each format, and against a bill."""

import csv
import io
import json
import sys
from datetime import UTC, datetime

import pytest

from egress import HAIKU
from forebay.routing.limits.prices import Prices, Usage

COST = Prices.load().cost(HAIKU, Usage(1_000, 100))


def test_a_list_shows_the_newest_calls_and_keeps_the_mock_apart(forebay, calls):
    calls("a", "b")
    calls("c", state="open")
    calls("d", stand_in=True)
    code, out, err = forebay("spend", "list", "--limit", "3")
    rows = out.splitlines()
    assert (code, len(rows)) == (0, 4)
    assert rows[1].split()[:1] == ["d"]
    assert rows[1].endswith("mock")
    assert f"4 calls, ${2 * COST / 1e9:.6f} settled, $1.000000 reserved" in err
    assert "which is no money" in err


def test_calls_that_redis_has_removed_are_told_of(forebay, calls, redis):
    calls("a", "b")
    for command in (("spend", "list"), ("report",)):
        assert "MISSING" not in forebay(*command)[2]
    redis.xtrim("fb:books:calls", maxlen=1, approximate=False)
    for command in (("spend", "list"), ("report",)):
        assert "are MISSING here: Redis keeps about FOREBAY_BOOKS_CALLS" in forebay(*command)[2]
        assert "MISSING" not in forebay(*command, "--since", "0s")[2], "none of this time is"
    assert json.loads(forebay("report", "--json")[1])["calls_from"].startswith("20")


def test_a_list_can_be_narrowed(forebay, calls):
    calls("a")
    calls("b", tenant="beta")
    calls("c", model="amazon.nova-micro-v1:0")
    for option, value, ids in (
        ("--tenant", "beta", ["b"]),
        ("--model", HAIKU, ["b", "a"]),
        ("--until", "1h", []),
        ("--since", "2020-01-01", ["c", "b", "a"]),
    ):
        since = () if option == "--since" else ("--since", "2h")
        _, out, _ = forebay("spend", "list", *since, option, value, "--json")
        assert [call["id"] for call in json.loads(out)["calls"]] == ids


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet"])
def test_an_export_holds_every_call_in_each_format(forebay, calls, tmp_path, form):
    calls("a", "b")
    calls("c", state="open")
    path = tmp_path / f"calls.{form}"
    assert forebay("spend", "export", "--out", str(path))[0] == 0
    rows = read(path, form)
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert [int(row["settled_nusd"]) for row in rows] == [COST, COST, 0]
    first = rows[0]
    assert (first["job"], first["tenant"], first["model"]) == ("acme.a", "acme", HAIKU)
    assert (int(first["tokens_in"]), int(first["tokens_out"])) == (1_000, 100)
    assert first["prices"] == Prices.load().version


def read(path, form):
    if form == "parquet":
        from pyarrow import parquet  # noqa: PLC0415 - of this format only

        return parquet.read_table(path).to_pylist()
    text = path.read_text()
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    return json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]


def test_with_json_an_export_prints_one_document(forebay, calls, tmp_path):
    calls("a", "b")
    out = ["--out", str(tmp_path / "calls.csv")]
    assert [each["id"] for each in json.loads(forebay("spend", "export", "--json")[1])] == [
        "a",
        "b",
    ]
    assert json.loads(forebay("spend", "export", "--json", *out)[1]) == {"written": 2}
    calls("c")
    assert json.loads(forebay("spend", "export", "--json", "--append", *out)[1]) == {"added": 1}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_appended_export_holds_each_closed_call_once(forebay, calls, tmp_path, form):
    path = tmp_path / f"calls.{form}"
    for names in (("a",), ("b", "c"), ()):
        calls(*names)
        assert forebay("spend", "export", "--append", "--out", str(path))[0] == 0
    assert [row["id"] for row in read(path, form)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("args", "name", "message"),
    [
        (["--format", "xml"], "--format", "must be csv, parquet, json or jsonl"),
        (["--out", "calls.xml"], "--out", "must end in csv, parquet, json or jsonl"),
        (["--format", "parquet"], "--out", "Parquet is not text"),
        (["--append"], "--out", "is needed with --append"),
        (["--append", "--out", "x.json"], "--append", "takes .csv or .jsonl files"),
        (["--since", "soon"], "--since", "must be a span like 2h"),
        (["--since", "1h", "--until", "2h"], "--since", "must be earlier than --until"),
        (["--out", "/nowhere/calls.csv"], "--out", "cannot be written"),
    ],
)
def test_a_mistake_is_one_error_that_names_the_option(forebay, calls, args, name, message):
    calls("a")
    code, out, err = forebay("spend", "export", *args)
    assert (code, out) == (2, "")
    assert name in err
    assert message in " ".join(err.split())


def test_parquet_without_pyarrow_names_the_extra(forebay, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = forebay("spend", "export", "--out", str(tmp_path / "calls.parquet"))
    assert code == 2
    assert "install the extra `parquet`" in err


def test_a_file_that_is_no_export_is_not_appended_to(forebay, calls, tmp_path):
    calls("a")
    path = tmp_path / "calls.csv"
    for text, message in (("hello\n", "does not end with a row"), ("entry,x", "is cut off")):
        path.write_text(text)
        code, _, err = forebay("spend", "export", "--append", "--out", str(path))
        assert (code, path.read_text()) == (2, text)
        assert message in err


def test_calls_are_repriced_by_another_list_and_no_book_changes(forebay, calls, tmp_path):
    calls("a", "b")
    calls("m", stand_in=True)
    prices = tmp_path / "prices.toml"
    prices.write_text(
        "date = 2027-01-01\ngeography = { region = 1 }\n"
        f'models."{HAIKU}".bands = [{{ above = 0, input = 1, output = 2 }}]\n'
    )
    before = forebay("spend", "list", "--json")
    _, out, _ = forebay("spend", "reprice", "--prices", str(prices), "--json")
    found = json.loads(out)["models"][HAIKU]
    assert (found["calls"], found["booked_usd"]) == (2, 2 * COST / 1e9)
    assert found["repriced_usd"] == pytest.approx(2 * 0.0012)
    assert "1 call of the mock left out" in forebay("spend", "reprice")[2]
    assert forebay("spend", "list", "--json") == before


def invocation(call):
    return {
        "timestamp": "2099-01-01T00:00:00Z", "modelId": HAIKU, "requestId": f"r-{call}",
        "requestMetadata": {"forebay-call": call},
        "input": {"inputTokenCount": 1_000}, "output": {"outputTokenCount": 100},
    }  # fmt: skip


def test_the_book_is_reconciled_with_bedrocks_log_and_unknown_outcomes_are_settled(
    forebay, calls, tmp_path
):
    calls("a")
    calls("b", state="open")
    log = tmp_path / "log.json"
    log.write_text(json.dumps([invocation("a"), invocation("b")]))
    code, out, _ = forebay("spend", "reconcile", str(log))
    assert code == 1
    assert "unknown_outcome  b" in out
    code, out, err = forebay("spend", "reconcile", str(log), "--apply")
    assert (code, out) == (0, "")
    assert "1 call of unknown outcome settled" in err
    assert "the book and the bill agree" in err
    _, out, _ = forebay("spend", "list", "--json")
    assert {call["state"] for call in json.loads(out)["calls"]} == {"settled"}


def cur(path, nusd, day, *, form="csv"):
    rows = {
        "line_item_usage_start_date": [day, day], "line_item_product_code": ["7g37n5ae0m", "Amaz"],
        "line_item_unblended_cost": [f"{nusd / 1e9:.9f}", "9"],
        "product": ['{"product_name": "Claude Haiku 5.5 (Amazon Bedrock Edition)"}', "{}"],
    }  # fmt: skip
    if form == "parquet":
        import pyarrow as pa  # noqa: PLC0415 - of this format only
        from pyarrow import parquet  # noqa: PLC0415 - of this format only

        start = [datetime.fromisoformat(day) for day in rows["line_item_usage_start_date"]]
        parquet.write_table(pa.table(rows | {"line_item_usage_start_date": start}), path)
        return
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        writer.writerows(zip(*rows.values(), strict=True))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_book_is_reconciled_with_all_parts_of_a_cost_report(forebay, calls, tmp_path, form):
    calls("a", "b")
    today = datetime.now(UTC).date().isoformat()
    folder = tmp_path / "cur"
    folder.mkdir()
    for part in "12":
        cur(folder / f"part-{part}.{form}", COST, today, form=form)
    code, out, err = forebay("spend", "reconcile", str(folder))
    assert (code, out) == (0, "")
    assert "the book and the bill agree" in err
    code, out, _ = forebay("spend", "reconcile", str(folder / f"part-1.{form}"), "--json")
    (one,) = json.loads(out)["differences"]
    assert (code, one["what"], one["about"]) == (1, "dollars", today)
    assert (one["booked_nusd"], one["billed_nusd"]) == (2 * COST, COST)


def test_a_folder_of_logs_is_read_without_the_large_bodies_in_it(forebay, calls, tmp_path):
    calls("a", "b")
    for call in "ab":
        hour = tmp_path / "2026" / call
        (hour / "data").mkdir(parents=True)
        (hour / "log.json").write_text(json.dumps(invocation(call)))
        (hour / "data" / "large_input.json").write_text("{}")
    assert forebay("spend", "reconcile", str(tmp_path))[0] == 0


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        (["cur.csv", "--apply"], "--apply", "needs an invocation log"),
        (["log.json", "--account", "1"], "--account", "is for cost reports"),
        (["cur.csv", "log.json"], "FILE", "not both in one run"),
        (["nothing"], "FILE", "cannot be read"),
        (["empty"], "FILE", "holds no file of a bill"),
        (["bad.parquet"], "FILE", "is no whole file of Parquet"),
    ],
)
def test_a_bill_that_cannot_be_compared_is_one_error(
    forebay, calls, tmp_path, monkeypatch, options, name, message
):
    calls("a")
    monkeypatch.chdir(tmp_path)
    cur(tmp_path / "cur.csv", COST, "2026-11-28")
    (tmp_path / "log.json").write_text(json.dumps(invocation("a")))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    code, out, err = forebay("spend", "reconcile", *options)
    assert (code, out) == (2, "")
    assert name in err
    assert message in " ".join(err.split())


def test_a_call_that_no_log_tells_of_is_settled_by_hand(forebay, calls):
    calls("a", state="open")
    code, _, err = forebay("spend", "settle", "a", "--usd", "0.001234567")
    assert code == 0
    assert "call a of job acme.a settled at $0.001234567" in err
    (call,) = json.loads(forebay("spend", "list", "--json")[1])["calls"]
    assert (call["state"], call["settled_nusd"], call["mock"]) == ("settled", 1_234_567, False)


@pytest.mark.parametrize(
    ("args", "name", "message"),
    [
        (["a", "--usd", "1"], "CALL", "is settled: only an open call can be settled"),
        (["x", "--usd", "1"], "CALL", "is no call that is known"),
        (["b", "--usd", "-1"], "--usd", "must be from 0 to 9,007,199 dollars"),
        (["b", "--usd", "nan"], "--usd", "must be from 0 to 9,007,199 dollars"),
        (["b", "--usd", "1e9"], "--usd", "must be from 0 to 9,007,199 dollars"),
    ],
)
def test_a_call_that_cannot_be_settled_is_one_error(forebay, calls, args, name, message):
    calls("a")
    calls("b", state="open")
    code, out, err = forebay("spend", "settle", *args)
    assert (code, out) == (2, "")
    assert name in err
    assert message in " ".join(err.split())
