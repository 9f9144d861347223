"""Message batches, asked by Anthropic's own client."""

from __future__ import annotations

import anthropic
import pytest

from patience import until

pytestmark = pytest.mark.slow


def asked(custom_id, text, **more):
    message = {"role": "user", "content": text}
    return {
        "custom_id": custom_id,
        "params": {"model": "auto", "max_tokens": 300, "messages": [message]} | more,
    }


def ended(client, batch):
    def look():
        current = client.messages.batches.retrieve(batch.id)
        return current if current.processing_status == "ended" else None

    return until(look, within_s=60)


def test_a_batch_of_messages_is_answered(anthropic_client):
    given = [asked(f"m{number}", f"Hello number {number}.") for number in range(60)]
    given.append(asked("wrong", "Hello.", temperature=7.0))
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
    given.append(asked("tool", "Oslo?", tools=[tool], tool_choice={"type": "any"}))
    batch = anthropic_client.messages.batches.create(requests=given)
    assert (batch.processing_status, batch.results_url) == ("in_progress", None)
    batch = ended(anthropic_client, batch)
    # Without a host: a proxy in front of the gateway has another one, and the key is sent there.
    assert batch.results_url == f"/v1/messages/batches/{batch.id}/results"
    counts = batch.request_counts
    assert (counts.succeeded, counts.errored, counts.processing) == (61, 1, 0)
    found = {
        line.custom_id: line.result for line in anthropic_client.messages.batches.results(batch.id)
    }
    assert found["m7"].message.content[0].text == "Hello number 7."
    assert found["m7"].message.forebay["lane"] == "local"
    assert found["tool"].message.stop_reason == "tool_use"
    assert found["tool"].message.content[0].name == "weather"
    assert found["wrong"].error.error.type == "invalid_request_error"
    assert "temperature" in found["wrong"].error.error.message


def test_a_batch_is_cancelled_listed_and_deleted(anthropic_client):
    given = [asked(f"m{number}", "[[echo: delay=0.5]] " + "word " * 200) for number in range(5)]
    batches = anthropic_client.messages.batches
    batch = batches.create(requests=given)
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        batches.delete(batch.id)
    assert batches.cancel(batch.id).processing_status == "canceling"
    batch = ended(anthropic_client, batch)
    assert batch.request_counts.canceled == 5
    assert {line.result.type for line in batches.results(batch.id)} == {"canceled"}
    assert [each.id for each in batches.list(limit=1).data] == [batch.id]
    assert batches.delete(batch.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)


def test_batches_are_listed_page_by_page_both_ways(anthropic_client):
    batches = anthropic_client.messages.batches
    made = [batches.create(requests=[asked("a", "Hello.")]).id for _ in range(3)]
    first = batches.list(limit=2)
    assert [batch.id for batch in first.data] == made[:0:-1]
    assert next(batch.id for batch in first.get_next_page().data) == made[0]
    back = batches.list(limit=2, before_id=made[0])
    assert [batch.id for batch in back.data] == made[:0:-1]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "requests"),
        ([asked("a", "x"), asked("a", "y")], r"requests\.1\.custom_id"),
        ([{"custom_id": "a"}], r"requests\.0\.params"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_with_its_field(anthropic_client, given, field):
    with pytest.raises(anthropic.BadRequestError, match=field):
        anthropic_client.messages.batches.create(requests=given)
