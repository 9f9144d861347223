"""A killed gateway's batches and bulks are taken over by another process, from where it was."""

from __future__ import annotations

import json
import signal

import httpx2
import openai
import pytest
import redis as redis_py

from patience import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LINES = 150


def line(number):
    text = f"[[echo: delay=0.02]] Line {number} of the batch."
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    return {"custom_id": str(number), "url": "/v1/chat/completions", "body": body}


def test_another_gateway_goes_on_with_the_batch_of_a_killed_one(fleet):
    fleet.start_redis()
    for part in ("router", "local", "sweeper"):
        fleet.start(part, FOREBAY_ENGINE="echo")
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()
    (first,) = [proc for proc in fleet.procs if proc.name == "gateway"]
    data = b"".join(json.dumps(line(number)).encode() + b"\n" for number in range(LINES))
    with openai.OpenAI(base_url=f"{fleet.gateway_url}/v1", api_key="none") as client:
        file = client.files.create(file=("a.jsonl", data), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        until(lambda: client.batches.retrieve(batch.id).request_counts.completed > 20, within_s=60)
        fleet.kill(first, signal.SIGKILL)
    own_id = f"acme.{batch.id.removeprefix('batch_')}"
    with redis_py.Redis.from_url(fleet.url) as redis:
        assert redis.pexpire(f"fb:lease:{own_id}", 2_000)  # so that the test takes less time
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()
    with httpx2.Client(base_url=fleet.gateway_url, timeout=30) as http:

        def current():
            return http.get(f"/v1/batches/{batch.id}").json()

        until(lambda: current()["status"] == "completed", within_s=120)
        done = current()
        assert done["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        found = http.get(f"/v1/files/{done['output_file_id']}/content").text.splitlines()
        assert [json.loads(each)["custom_id"] for each in found] == [str(n) for n in range(LINES)]
        assert done["usage"]["output_tokens"] == 5 * LINES
