"""Files and batches, asked by OpenAI's own client."""

from __future__ import annotations

import json

import pytest

from patience import until

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}


def chat(text, **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def lines(bodies, url=CHAT):
    return [
        {"custom_id": f"c{number}", "method": "POST", "url": url, "body": body}
        for number, body in enumerate(bodies)
    ]


def uploaded(client, given):
    data = (
        given
        if isinstance(given, bytes)
        else b"".join(json.dumps(line).encode() + b"\n" for line in given)
    )
    return client.files.create(file=("requests.jsonl", data), purpose="batch")


def created(client, given, endpoint=CHAT, **options):
    options = {"completion_window": "24h"} | options
    return client.batches.create(
        input_file_id=uploaded(client, given).id, endpoint=endpoint, **options
    )


def ended(client, batch):
    def look():
        current = client.batches.retrieve(batch.id)
        return current if current.status in ENDED else None

    return until(look, within_s=60)


def content(client, file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def test_a_batch_of_chats_is_answered_line_by_line(openai_client):
    texts = [f"Hello number {number}." for number in range(120)]
    batch = created(openai_client, lines([chat(text) for text in texts]), metadata={"a": "b"})
    assert (batch.status, batch.metadata) == ("validating", {"a": "b"})
    batch = ended(openai_client, batch)
    assert batch.status == "completed", batch
    assert (batch.request_counts.total, batch.request_counts.completed) == (120, 120)
    assert batch.error_file_id is None
    assert batch.usage.output_tokens > 0
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    found = content(openai_client, batch.output_file_id)
    assert [line["custom_id"] for line in found] == [f"c{number}" for number in range(120)]
    for text, line in zip(texts, found, strict=True):
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        body = line["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"] == text
        assert body["forebay"]["lane"] == "local"
    assert openai_client.files.retrieve(batch.output_file_id).purpose == "batch_output"
