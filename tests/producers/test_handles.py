"""A job's handle: its id everywhere, and the type of its answer in this process."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from pydantic import BaseModel

from forebay.producers.handles import JobHandle
from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Answer, Extract, Extraction, Job, Summarize

TEXT = "Invoice A-17. The total is 120.50 EUR."


class Invoice(BaseModel):
    number: str
    total: float


@pytest.fixture
def settle(client):
    """Settle the job that waits with this object, as a worker would."""

    def settle(data):
        claim = client._ledger.claim("route")
        base = {"id": claim.id, "kind": "extract", "egress": "deny", "status": "done"}
        answer = Answer(**base, lane="local", content=Extraction(data=data))
        client._ledger.settle(claim, answer)

    return settle


def test_a_handle_is_a_string():
    handle = JobHandle("acme." + "0" * 32, Invoice)
    assert handle == "acme." + "0" * 32
    assert hash(handle) == hash(str(handle))
    assert json.loads(json.dumps({"id": handle})) == {"id": str(handle)}
    assert f"{handle}" == str(handle)
    assert type(str(handle)) is str
    for same in (copy.copy(handle), copy.deepcopy(handle), pickle.loads(pickle.dumps(handle))):
        assert (same, same.answer_model) == (handle, Invoice)


def test_submit_returns_a_handle(client):
    handle = client.submit(Summarize(text="x"))
    assert isinstance(handle, JobHandle)
    assert handle.answer_model is None
    assert client.status(handle).state == "waiting"
    assert client.submit(Extract(text=TEXT, schema=Invoice)).answer_model is Invoice
    job = Job(tenant="acme", request=Extract(text=TEXT, schema=Invoice))
    assert client.submit(job).answer_model is Invoice


def test_a_handle_gives_the_model_and_a_bare_id_a_dict(client, settle):
    handle = client.submit(Extract(text=TEXT, schema=Invoice))
    settle({"number": "A-17", "total": 120.5})
    assert client.result(handle, timeout=5).content.data == Invoice(number="A-17", total=120.5)
    assert client.future(handle).result(5).content.data == Invoice(number="A-17", total=120.5)
    assert client.result(str(handle), timeout=5).content.data == {"number": "A-17", "total": 120.5}


def test_futures_and_map_give_the_model_too(client, settle):
    request = Extract(text=TEXT, schema=Invoice)
    future = client.submit_future(request)
    settle({"number": "A-17", "total": 1})
    assert future.result(5).content.data == Invoice(number="A-17", total=1)
    first, _ = client.submit_with_future(request, idempotency_key="k")
    again, future = client.submit_with_future(request, idempotency_key="k")
    assert first == again
    settle({"number": "A-17", "total": 2})
    assert future.result(5).content.data == Invoice(number="A-17", total=2)
    job = client.job(request, idempotency_key="k")
    answers = client.map([job], timeout=5)
    assert [answer.content.data.total for answer in answers] == [2]


def test_a_dict_as_the_schema_gives_a_dict(client, settle):
    handle = client.submit(Extract(text=TEXT, schema=Invoice.model_json_schema()))
    settle({"number": "A-17", "total": 1})
    assert client.result(handle, timeout=5).content.data == {"number": "A-17", "total": 1}


def test_an_answer_with_a_model_is_written_as_it_came(client, settle):
    handle = client.submit(Extract(text=TEXT, schema=Invoice))
    settle({"number": "A-17", "total": 120.5})
    with_model = client.result(handle, timeout=5)
    plain = client.result(str(handle), timeout=5)
    assert with_model.model_dump_json() == plain.model_dump_json()
    assert with_model.model_dump() == plain.model_dump()
    assert with_model.receipt == plain.receipt
    assert Answer.model_validate_json(with_model.model_dump_json()) == plain


class Positive(BaseModel):
    total: float

    def model_post_init(self, _):
        if self.total < 0:
            raise ValueError("a kanarie total")


class Broken(Positive):
    def model_post_init(self, _):
        raise KeyError("kanarie")


@pytest.mark.parametrize(
    ("model", "data", "field", "cause"),
    [
        (Positive, {"total": "kanarie"}, "data.total", "float_parsing"),
        (Positive, {"total": -1}, "data", "value_error"),
        (Invoice, {"total": 1}, "data.number", "missing"),
        (Broken, {"total": 1}, "data", "KeyError"),
    ],
)
def test_an_object_that_the_model_refuses_is_a_bad_answer(
    client, settle, model, data, field, cause
):
    handle = client.submit(Extract(text=TEXT, schema=model))
    settle(data)
    with pytest.raises(BadAnswer) as caught:
        client.result(handle, timeout=5)
    assert caught.value.field == field
    assert f"{model.__name__} does not accept the object ({cause})" in str(caught.value)
    assert handle in str(caught.value)
    assert "kanarie" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert client.result(str(handle), timeout=5).content.data == data
    assert not client.dead()
