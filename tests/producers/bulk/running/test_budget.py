"""`max_usd` holds whatever Bedrock does, and what a bulk spent is what Bedrock bills."""

import json

import pytest

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.limits.prices import Prices, Usage
from forebay.workers.frontier.settings import BedrockSettings

pytestmark = pytest.mark.slow
pytest_plugins = ["waterfall", "answering"]

CLASSIFY = {"kind": "classify", "labels": ["billing", "login", "other"], "text_field": "body"}
MAX_NUSD = 10_000_000
ROWS = [{"body": f"what is it [[echo: say=nonsense]] {n}"} for n in range(20)]


def billed(calls):
    """Return the billionths of a dollar that the mock bills for calls."""
    prices = Prices.load()
    return sum(prices.cost(call.model, Usage(call.tokens_in, call.tokens_out)) for call in calls)


def answered(client, out):
    """Answer the rows within the budget; return the bulk's id and how it ended."""
    with client.bulk(ROWS, out=out, egress="allow", max_usd=MAX_NUSD / 1e9, **CLASSIFY) as bulk:
        return bulk.id, bulk.wait(60)


@pytest.mark.parametrize("faults", [[], ["throttle", None, "malformed", "throttle"]])
def test_a_bulk_never_spends_more_than_its_budget(client, lanes, tmp_path, faults):
    lanes.mock.answer = "other"
    lanes.mock.faults.plan(faults)
    out = tmp_path / "out.jsonl"
    bulk_id, end = answered(client, out)
    record = Bulks(lanes.ledger).get(bulk_id)
    assert 0 < record.settled_nusd == billed(lanes.mock.calls) <= MAX_NUSD
    assert record.reserved_nusd == 0
    assert (end.state, end.written) == ("incomplete", len(ROWS))
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(row["lane"] == "bedrock" for row in found) == end.bedrock > 0
    stayed = [row["reasons"] for row in found if row["lane"] != "bedrock"]
    assert sum("budget_spent" not in each for each in stayed) == faults.count("malformed")


def test_half_answers_are_counted_in_full_and_lose_no_row(client, lanes, tmp_path, monkeypatch):
    """Bedrock bills an answer whose connection is cut in its middle; nobody knows its usage."""
    monkeypatch.setattr(BedrockSettings, "bedrock_term_s", 1.0)
    lanes.mock.answer = "other"
    lanes.mock.faults.plan(["half", None, "half", None, "half"])
    out = tmp_path / "out.jsonl"
    bulk_id, end = answered(client, out)
    record = Bulks(lanes.ledger).get(bulk_id)
    cut = [call for call in lanes.mock.calls if call.fault == "half"]
    assert len(cut) == 2
    # Both cut calls stay reserved at their worst case, which is more than what is billed for them.
    assert record.settled_nusd == billed(lanes.mock.calls) - billed(cut)
    assert billed(cut) < record.reserved_nusd
    assert record.settled_nusd + record.reserved_nusd <= MAX_NUSD
    assert (end.state, end.written, end.bedrock) == ("incomplete", len(ROWS), 2)
    assert (end.spent_usd, end.reserved_usd) == (
        record.settled_nusd / 1e9, record.reserved_nusd / 1e9,
    )  # fmt: skip
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in found] == [*range(1, len(ROWS) + 1)]
    assert sum(row["lane"] == "bedrock" for row in found) == 2
    asked = [call.text for call in lanes.mock.calls if call.whole]
    assert len(set(asked)) == len(asked), "no row was answered twice"
