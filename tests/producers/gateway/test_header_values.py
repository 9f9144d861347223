"""What headers hold beyond ASCII: what clients send, and what answers say of their models."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.options import job_options
from forebay.routing.jobs import Receipt, new_id


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_header_is_read_as_its_client_wrote_it(encoding):
    sent = '{"name": "Müller"}'.encode(encoding).decode("latin-1")  # as Starlette reads it
    assert job_options({"forebay-metadata": sent}) == {"metadata": {"name": "Müller"}}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("a/b-7B (Q4).gguf", "a/b-7B (Q4).gguf"),
        ("模型", "%E6%A8%A1%E5%9E%8B"),
        ("Modell ü", "Modell %C3%BC"),
        ("a\r\nb: c", "a%0D%0Ab: c"),
    ],
)
def test_a_model_of_any_name_answers(model, said):
    receipt = Receipt(
        id=new_id("acme"), kind="generate", egress="deny", status="done", lane="local", model=model
    )
    response = Response("", headers=origin.headers([receipt]))
    assert response.headers["forebay-model"] == said
