"""The examples run as they are written, against a fleet in this process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from forebay import BadAnswer, Classify, Extract, ModelRefused, Summarize, testing
from forebay.routing.receipts import Doubt
from typecheck import EXAMPLES, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(monkeypatch):
    with testing.fleet() as fleet:
        monkeypatch.setenv("FOREBAY_REDIS_URL", fleet.url)
        yield fleet


@pytest.fixture
def example(monkeypatch):
    """Import an example by its name."""
    return lambda name: load(monkeypatch, name)


def load(monkeypatch, name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_here():
    names = {file.stem for file in EXAMPLES}
    assert names == {
        "first_job", "fastapi_service", "million_rows", "second_opinion", "test_my_service",
    }  # fmt: skip


def test_first_job_prints_both_answers(fleet, example, capsys):
    fleet.answer(Classify, label="billing")
    fleet.answer(Extract, data={"number": "A-17", "total": 120.5})
    example("first_job").main()
    printed = capsys.readouterr().out
    assert "billing, probability 0.99" in printed
    assert "in the local lane for $0.000000" in printed
    assert "invoice A-17: 120.50" in printed


def test_fastapi_service_answers_now_and_later(fleet, example):
    fleet.answer(Classify, label="login")
    fleet.answer(Summarize, text="It is wet.")
    with TestClient(example("fastapi_service").app) as web:
        assert web.post("/label", json={"text": "x"}).json() == {"label": "login", "lane": "local"}
        taken = web.post("/summaries", json={"text": "It is wet and torn."})
        assert taken.status_code == 202
        job = f"/summaries/{taken.json()['id']}"
        while (got := web.get(job).json())["state"] in {"waiting", "running"}:
            pass
        assert got == {"state": "done", "text": "It is wet."}
        assert web.get("/summaries/nothing").status_code == 404
        for path in ("/label", "/summaries"):
            assert web.post(path, json={"text": ""}).status_code == 422
        fleet.fail(Classify, ModelRefused)
        assert web.post("/label", json={"text": "x"}).status_code == 503
        fleet.fail(Summarize, ModelRefused)
        job = f"/summaries/{web.post('/summaries', json={'text': 'x'}).json()['id']}"
        while (got := web.get(job).json())["state"] in {"waiting", "running"}:
            pass
        assert got == {"state": "model_refused", "text": None}


def test_million_rows_writes_a_line_for_each_row_and_goes_on_where_it_stopped(
    fleet, example, tmp_path
):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"id": str(number), "text": f"row {number}"} for number in range(600)]
    del rows[11]["text"]
    rows[12]["text"] = ""
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    target.write_text(
        "".join(json.dumps({"id": str(n), "summary": "old"}) + "\n" for n in range(9))
    )
    fleet.answer(Summarize, lambda request: {"text": request.text})
    fleet.fail(Summarize, ModelRefused, when=lambda request: request.text == "row 10")
    assert example("million_rows").main(source, target) == 3
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert lines[8]["summary"] == "old"
    assert lines[9] == {"id": "9", "summary": "row 9"}
    errors = [line["error"] for line in lines[10:13]]
    assert errors[0].startswith("model_refused: job support.")
    assert errors[1:] == [
        "invalid_job: text: must be text",
        "invalid_job: text: must have at least 1 character",
    ]
    assert len(fleet.requests(Summarize)) == 589


SECOND_OPINIONS = """
[defaults]
scan_secrets = false
[defaults.second_opinion]
extract = 1.0
deny_too = true
"""


def test_second_opinion_books_what_is_sure_and_passes_on_the_rest(example, monkeypatch, capsys):
    with testing.fleet(policy=SECOND_OPINIONS) as fleet:
        monkeypatch.setenv("FOREBAY_REDIS_URL", fleet.url)
        fleet.answer(Extract, data={"number": "A-17", "total": 120.5})
        example("second_opinion").main()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "booked: A-17, 120.50"
    assert second.startswith("to a person: "), "the object is not grounded in the second mail"


def test_second_opinion_passes_on_what_is_doubted(fleet, example):
    module = example("second_opinion")
    fleet.answer(Extract, data={"number": "A-17", "total": 120.5})
    request = Extract(text="Invoice A-17, 120.50 EUR", schema=module.Invoice)
    answer = fleet.client().run(request, timeout=10)
    assert module.needs_a_person(answer) == "nobody gave a second answer"
    for probability, reason in ((0.5, "doubt 0.50: two answers agree to 25%"), (0.1, None)):
        doubt = Doubt(probability=probability, agreement=0.25, version="1")
        doubted = answer.model_copy(update={"doubt": doubt})
        assert module.needs_a_person(doubted) == reason
    fleet.fail(Extract, BadAnswer)
    assert module.book(fleet.client(), "x").startswith("to a person: job default.")


def test_test_my_service_passes():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"]
    done = subprocess.run(
        [*command, "--rootdir", ROOT / "examples", ROOT / "examples/test_my_service.py"],
        capture_output=True, text=True, check=False, cwd=ROOT / "examples",
    )  # fmt: skip
    assert "4 passed" in done.stdout, done.stdout + done.stderr
