"""A real fleet with a real gateway process, and the clients of OpenAI and Anthropic."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx2
import openai
import pytest
import redis as redis_py
from coverage import Coverage

from forebay.producers.gateway.api_keys import KeyStore
from local.fleet import ROOT, Fleet

TENANT = "acme"
PARTS = ("mock_bedrock", "router", "local", "bedrock", "sweeper", "gateway")
#: Jobs of acme that may leave try the local lane first; those of fuzz never leave.
POLICY = """
[tenants.acme.thresholds]
generate = 0.0
[tenants.pins]
models = ["anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"]
[tenants.pins.pools]
classify = "small"
[tenants.fuzz]
force_deny = true
"""


def measured() -> dict[str, str]:
    """Return the variables that have a process measured too, if this one's coverage is."""
    if Coverage.current() is None:
        return {}
    return {
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
        "COVERAGE_FILE": str(ROOT / ".coverage"),
    }


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Fleet]:
    """Start a fleet with the echo engine and a gateway that takes keys, once for all tests."""
    folder = tmp_path_factory.mktemp("served")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_ENGINE": "echo",
        "FOREBAY_POLICY_FILE": str(policy),
        "FOREBAY_GATEWAY_MODELS": '{"gpt-5-mini": "auto"}',
        "FOREBAY_GATEWAY_MAX_BODY": "100000",
        "FOREBAY_GATEWAY_MAX_FILE": "4000000",
        "FOREBAY_GATEWAY_MAX_FILES": "40000000",
        "FOREBAY_GATEWAY_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    }
    with Fleet(folder / "fleet", env) as fleet:
        fleet.start_redis()
        for part in PARTS:
            fleet.start(part, **(measured() if part == "gateway" else {}))
        fleet.wait_ready()
        yield fleet


@pytest.fixture(scope="session")
def keys(served) -> Iterator[KeyStore]:
    with redis_py.Redis.from_url(served.url) as client:
        yield KeyStore(client)


@pytest.fixture(scope="session")
def key(keys) -> str:
    """Return a key of the tenant that may do everything."""
    return keys.create(TENANT, scopes=("submit", "read", "admin"))[1]


@pytest.fixture
def openai_client(served, key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(served, key) -> Iterator[anthropic.Anthropic]:
    client = anthropic.Anthropic(base_url=served.gateway_url, api_key=key, max_retries=0)
    with client:
        yield client


@pytest.fixture
def http(served, key) -> Iterator[httpx2.Client]:
    """Return a plain HTTP client with the tenant's key."""
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=served.gateway_url, headers=headers, timeout=30) as client:
        yield client
