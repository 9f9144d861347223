"""The contract of a shard."""

import pytest

from forebay.routing.bulk.shard import MAX_ROWS, parse_shard
from forebay.routing.errors import ForebayError, InvalidJob
from forebay.routing.requests import Classify, parse_request
from shards import LABELS, shard


def test_a_row_is_the_request_that_it_would_be_alone():
    made = shard("first", "second")
    assert made.request(1) == Classify(text="second", labels=LABELS)
    job = made.job(1, "deny")
    assert (job.tenant, job.priority, job.lane, job.egress) == ("acme", "bulk", "auto", "deny")
    assert job.id == made.row_id(1) != made.row_id(0)


def test_a_shard_comes_back_as_it_was_written():
    made = shard("first", "second", egress="allow", max_cost_usd=0.5)
    assert parse_shard(made.model_dump_json(exclude_defaults=True)) == made


@pytest.mark.parametrize("row", [{}, {"text": ""}, {"text": 3}, {"text": "x", "labels": ["one"]}])
def test_a_wrong_row_raises_what_the_request_alone_would(row):
    made = shard(rows=[{"text": "good"}, row])
    with pytest.raises(InvalidJob) as alone:
        parse_request({"kind": "classify", "labels": LABELS, **row})
    with pytest.raises(InvalidJob) as in_shard:
        made.request(1)
    assert (in_shard.value.field, str(in_shard.value)) == (alone.value.field, str(alone.value))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"rows": []}, "rows"),
        ({"rows": [{"text": "x"}] * (MAX_ROWS + 1)}, "rows"),
        ({"kind": "dance"}, "kind"),
        ({"bulk": "globex." + "0" * 32}, "bulk"),
        ({"id": "globex." + "0" * 32}, "id"),
        ({"egress": "perhaps"}, "egress"),
    ],
)
def test_a_wrong_shard_names_the_field(fields, field):
    with pytest.raises(ForebayError) as wrong:
        shard("text", **fields)
    assert wrong.value.field == field
