"""Checks the settings of the frontier lane, and the models that the policy names, for `doctor`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from forebay.routing.diagnostics import Finding
from forebay.routing.errors import ForebayError
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import read, read_settings
from forebay.workers.frontier.provider import PROVIDERS
from forebay.workers.frontier.settings import BedrockSettings

CONNECT_TIMEOUT_S = 5.0
PORTS = {"http": 80, "https": 443}


def frontier(*, online: bool) -> Iterator[Finding]:
    """Check the provider, the region and the endpoint; `online` allows to connect to it."""
    settings = read(BedrockSettings)
    if settings.frontier_provider not in PROVIDERS:
        seen = f"FOREBAY_FRONTIER_PROVIDER names no provider: {settings.frontier_provider[:60]}"
        yield Finding("provider", "fail", seen, f"set it to one of: {', '.join(sorted(PROVIDERS))}")
    if settings.bedrock_endpoint:
        yield _endpoint(settings.bedrock_endpoint, online=online)
    elif find_spec("botocore") is not None:
        yield _region(settings.bedrock_region)


def models() -> Iterator[Finding]:
    """Check that the price list can be read, and covers every model that the policy names."""
    try:
        prices = Prices.load(read(BedrockSettings).prices_file)
    except ForebayError as error:
        yield Finding(
            "prices", "fail", str(error), "correct the file, or unset FOREBAY_PRICES_FILE"
        )
        return
    yield Finding("prices", "ok", f"as of {prices.date}, for {len(prices.models)} models")
    try:
        policy = Policy.load(read_settings().policy_file)
    except ForebayError:  # the check of the policy says it
        return
    yield from without_price(policy, prices)
    yield from without_prefix(policy)


def without_price(policy: Policy, prices: Prices) -> Iterator[Finding]:
    """Report each model that the policy names and that has no price: it is never called."""
    for table in ("", *policy.tenants):
        for model in policy.tenant(table).models:
            if prices.has(policy.base_model(model)) or not _is_own(policy, table):
                continue
            seen = f"no price is listed for {model}, which {_named(table)} names"
            mend = (
                "correct its id; or add it to the prices file (FOREBAY_PRICES_FILE), or to "
                "[profiles] in the policy if it is an inference profile"
            )
            yield Finding("models", "fail", seen, mend)


def without_prefix(policy: Policy) -> Iterator[Finding]:
    """Report each table whose models are all ruled out by `[fleet] model_prefixes`."""
    prefixes = " or ".join(policy.fleet.model_prefixes)
    for table in ("", *policy.tenants):
        if policy.models(table) or not policy.tenant(table).models or not _is_own(policy, table):
            continue
        seen = f"no model in {_named(table)} begins with {prefixes}: its jobs never reach Bedrock"
        example = policy.fleet.model_prefixes[0] + policy.tenant(table).models[0]
        mend = f'name models with that prefix in `models`, such as "{example}"'
        yield Finding("models", "warn", seen, mend)


def _is_own(policy: Policy, table: str) -> bool:
    """Return True if the table itself names models, which it does not take from the defaults."""
    return not table or "models" in policy.tenants[table].model_fields_set


def _named(table: str) -> str:
    return f"[tenants.{table}]" if table else "[defaults]"


def _region(region: str) -> Finding:
    from botocore.session import Session  # noqa: PLC0415 - 300 ms, and only here

    session = Session()
    regions = {
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("bedrock", partition)
    }
    if region in regions:
        return Finding("region", "ok", region)
    mend = "set FOREBAY_BEDROCK_REGION to a region such as us-east-1 or eu-central-1"
    return Finding("region", "fail", f"boto3 knows no Bedrock in {region[:60]!r}", mend)


def _endpoint(endpoint: str, *, online: bool) -> Finding:
    mend = "set FOREBAY_BEDROCK_ENDPOINT to a URL, or unset it to call AWS"
    try:
        url = urlsplit(endpoint)
        port = url.port or PORTS.get(url.scheme)
    except ValueError:
        port = None
    if port is None or not url.hostname:
        return Finding("endpoint", "fail", "FOREBAY_BEDROCK_ENDPOINT is not a URL", mend)
    where = f"{url.scheme}://{url.hostname}:{port}"
    if not online:
        return Finding("endpoint", "ok", f"{where}; --online connects to it")
    try:
        socket.create_connection((url.hostname, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        seen = f"{where} takes no connection ({type(error).__name__})"
        return Finding("endpoint", "fail", seen, f"start what listens there, or {mend}")
    return Finding("endpoint", "ok", f"{where} takes connections")
