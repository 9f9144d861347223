"""Random requests, made from the OpenAPI document: no 500, and no answer that is not documented."""

from __future__ import annotations

import re

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.pytest.lazy import get_all_tests

from forebay.producers.gateway.asking.options import HEADERS
from forebay.producers.gateway.errors import _STATUS, Refusal
from forebay.producers.gateway.server.app import create_app
from forebay.producers.gateway.settings import GatewaySettings
from forebay.routing.settings import Settings
from local.fleet import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of schemathesis itself
]

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
#: What says that a part of the fleet is away. A whole fleet answers each request otherwise.
AWAY = {500, 502, 503}


@pytest.fixture(scope="session")
def fuzz_key(keys):
    """Return a key of a tenant whose jobs stay local: there is no bedrock worker here."""
    return keys.create("fuzz", scopes=("submit", "read", "admin"))[1]


@pytest.fixture(scope="module")
def document():
    """Return the OpenAPI document of the gateway."""
    return create_app(GatewaySettings(), Settings()).openapi()


@pytest.fixture(scope="module")
def described(document):
    return schemathesis.openapi.from_dict(document)


def each_way_once(examples):
    """Return one of the cases that are wrong, or right, in the same way and the same field.

    Schemathesis makes one for each type that a field has not, for each that it has, and for each
    subset of the fields that may be left out: six thousand cases, of which half are enough.
    """
    ways = {}
    for example in examples:
        case = example.kwargs["case"]
        way = (case.meta.phase.data.description or "").partition(": Valid ")[0]
        ways.setdefault((case.method, way), example)
    return list(ways.values())


# The requests are made here and not at collection, which each process of a run repeats.
def test_every_answer_is_documented(described, served, fuzz_key, subtests):
    headers = {"authorization": f"Bearer {fuzz_key}"}
    how = settings(max_examples=7, deadline=None, suppress_health_check=list(HealthCheck))

    def ask(case):
        response = case.call(served.gateway_url, connections, headers, timeout=60)
        case.validate_response(response, checks=CHECKS)
        assert response.status_code not in AWAY, response.text

    asked = 0
    with requests.Session() as connections:
        for found in get_all_tests(
            schema=described, test_func=ask, settings=how, given_kwargs=None
        ):
            operation, test = found.ok()
            examples = test.hypothesis_explicit_examples
            examples[:] = each_way_once(examples)
            with subtests.test(operation.label):
                test()
            asked += 1
    assert asked == sum(map(len, described.raw_schema["paths"].values()))


def test_the_page_about_the_gateway_names_every_endpoint(document):
    page = (ROOT / "docs" / "gateway.md").read_text()
    table = page.partition("## Endpoints")[2].partition("##")[0]
    for path in document["paths"]:
        short = re.sub(r"\{\w+\}", "ID", path.replace("{model}", "NAME"))
        tail = f"…/{short.rpartition('/')[2]}"
        assert f"{short}`" in table or f"{short}?" in table or tail in table, path


def test_the_page_about_the_gateway_names_every_field_and_code():
    page = (ROOT / "docs" / "gateway.md").read_text()
    for field, header in ((field, name) for name, field in HEADERS.items()):
        assert f"`{field}`" in page
        assert f"`{header.title()}`" in page
    codes = {cls.code for cls in Refusal.__subclasses__()} | set(_STATUS) - {"throttled"}
    codes -= {"engine_unavailable"}
    assert not [code for code in codes if f"`{code}`" not in page]
