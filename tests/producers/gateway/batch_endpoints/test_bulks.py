"""Bulks over HTTP: started from an uploaded file, steered, and read as a stream."""

from __future__ import annotations

import json

import pytest

from patience import until

pytestmark = pytest.mark.slow

OVER = {"done", "incomplete", "cancelled", "failed"}
SLOW = "[[echo: delay=0.3]] " + "word " * 60


def uploaded(http, data):
    if not isinstance(data, bytes):
        data = b"".join(json.dumps(row).encode() + b"\n" for row in data)
    form = {"file": ("rows.jsonl", data)}
    return http.post("/v1/files", files=form, data={"purpose": "batch"}).json()["id"]


def started(http, data, **options):
    response = http.post("/bulks", json={"input_file_id": uploaded(http, data), **options})
    assert response.status_code == 202, response.text
    return response.json()["id"]


def state(http, bulk_id):
    return http.get(f"/bulks/{bulk_id}").json()["state"]


def ended(http, bulk_id):
    until(lambda: state(http, bulk_id) in OVER, within_s=60)
    return http.get(f"/bulks/{bulk_id}").json()


def results(http, bulk_id, **query):
    response = http.get(f"/bulks/{bulk_id}/results", params=query)
    return [json.loads(line) for line in response.text.splitlines()]


def test_the_rows_of_a_file_are_answered_by_a_template(http):
    rows = [{"n": str(number), "body": f"Say {number}."} for number in range(30)]
    rows.append({"n": "30"})
    bulk_id = started(http, rows, kind="generate", user="{body}", key="n", max_tokens=50)
    found = results(http, bulk_id, follow=True)
    assert [row["key"] for row in found] == [row["n"] for row in rows[:30]]
    assert found[7]["answer"]["text"] == "Say 7."
    progress = ended(http, bulk_id)
    assert (progress["state"], progress["total"], progress["done"], progress["bad"]) == (
        "incomplete", 31, 30, 1,
    )  # fmt: skip
    (bad,) = http.get(f"/bulks/{bulk_id}/bad_rows").text.splitlines()
    assert json.loads(bad)["key"] == "30"
    assert bulk_id in [each["id"] for each in http.get("/bulks").json()["bulks"]]


def test_a_file_of_csv_and_rows_that_are_jobs(http):
    data = b"body\nI cannot log in\nThe bill is wrong\n"
    options = {"format": "csv", "kind": "classify", "labels": ["login", "billing"]}
    labelled = started(http, data, text_field="body", **options)
    jobs = started(http, [{"kind": "summarize", "text": "A long text. Of two sentences."}])
    assert ended(http, labelled)["done"] == 2
    assert {row["answer"]["label"] for row in results(http, labelled)} <= {"login", "billing"}
    assert ended(http, jobs)["state"] == "done"


def test_a_bulk_is_paused_resumed_and_cancelled(http):
    bulk_id = started(http, [{"text": SLOW}] * 60, kind="generate", user="{text}")
    until(lambda: state(http, bulk_id) == "running", within_s=30)
    assert http.post(f"/bulks/{bulk_id}/pause").json()["state"] == "paused"
    assert http.post(f"/bulks/{bulk_id}/resume").json()["state"] == "running"
    assert http.post(f"/bulks/{bulk_id}/cancel").json()["state"] == "cancelled"
    refused = http.post(f"/bulks/{bulk_id}/resume")
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "state")


def test_failed_rows_are_answered_again_in_their_places(http):
    rows = [{"text": "Good."}, {"text": "[[echo: delay=0.3]] " + "word " * 20}]
    bulk_id = started(http, rows, kind="generate", user="{text}", window="2s")
    assert ended(http, bulk_id)["state"] == "incomplete"
    until(lambda: http.post(f"/bulks/{bulk_id}/retry").status_code == 202, within_s=10)
    again = http.get("/bulks").json()["bulks"][0]
    assert again["retries"] == bulk_id
    until(lambda: state(http, again["id"]) in OVER, within_s=60)
    assert [row["status"] for row in results(http, bulk_id)] == ["done", "done"]
    assert state(http, bulk_id) == "done"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"kind": "classify"}, "labels"),
        ({"kind": "generate"}, "user"),
        ({"kind": "summarize", "egress": "perhaps"}, "egress"),
        ({"kind": "summarize", "textfield": "a"}, "textfield"),
        ({"kind": "summarize", "window": "soon"}, "window"),
        ({"labels": ["a", "b"]}, "labels"),
    ],
)
def test_a_bulk_that_cannot_be_is_refused_with_its_field(http, options, field):
    file_id = uploaded(http, [{"text": "a"}])
    response = http.post("/bulks", json={"input_file_id": file_id, **options})
    assert response.status_code == 400
    assert field in response.json()["error"]["field"]


def test_a_bulk_whose_file_lacks_the_column_says_so(http):
    bulk_id = started(http, [{"body": "a"}], kind="summarize", text_field="bodi")
    progress = ended(http, bulk_id)
    assert progress["state"] == "failed"
    assert "did you mean 'body'" in progress["problem"]["message"]


def test_another_tenants_bulk_does_not_exist(http, keys):
    bulk_id = started(http, [{"kind": "summarize", "text": "A text."}])
    other = {"authorization": f"Bearer {keys.create('other')[1]}"}
    for path in ("", "/results", "/bad_rows"):
        assert http.get(f"/bulks/{bulk_id}{path}", headers=other).status_code == 404
    for verb in ("pause", "resume", "cancel", "retry"):
        assert http.post(f"/bulks/{bulk_id}/{verb}", headers=other).status_code == 404
