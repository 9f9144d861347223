"""Doctor's checks of the frontier lane: settings, prices, models of the policy, credentials."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from urllib.parse import urlsplit

from forebay.routing.diagnostics import Finding
from forebay.routing.errors import ForebayError
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import is_local_http
from forebay.routing.settings import read, read_settings
from forebay.routing.store.connection import connect
from forebay.workers.frontier.provider import STAND_IN_MARK, fleet_providers
from forebay.workers.frontier.settings import BedrockSettings

CONNECT_TIMEOUT_S = 5.0
PORTS = {"http": 80, "https": 443}
MOCK_TIMEOUT_S = 2.0
#: Providers of botocore that run a program or ask a service for the credentials.
ASKING_PROVIDERS = ("custom-process", "container-role", "iam-role")


def frontier(*, online: bool) -> Iterator[Finding]:
    """Check the provider, the region and the endpoint; `online` allows to connect to it."""
    settings = read(BedrockSettings)
    if settings.frontier_provider not in fleet_providers():
        seen = f"FOREBAY_FRONTIER_PROVIDER names no provider: {settings.frontier_provider[:60]}"
        yield Finding("provider", "fail", seen, f"set it to one of: {', '.join(fleet_providers())}")
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
    yield from without_key(policy)


def without_key(policy: Policy) -> Iterator[Finding]:
    """Report each endpoint whose key is not in the environment."""
    for name, endpoint in policy.endpoints.items():
        variable = endpoint.key_env
        if variable and not os.environ.get(variable, "").strip():
            seen = f"{variable} holds no key for [endpoints.{name}]: its models cannot be called"
            yield Finding("endpoints", "warn", seen, f"set {variable} for the bedrock workers")


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


def aws(*, online: bool) -> Iterator[Finding]:
    """Check the credentials for the bedrock lane, without showing them.

    Args:
        online: whether AWS, the host's metadata service and helper programs may be asked. If not,
            only the environment and files of this host are read.
    """
    settings = read(BedrockSettings)
    if url := _mock(settings):
        yield Finding(
            "aws", "ok", f"the mock of Bedrock answers at {url}: no credentials are needed"
        )
        return
    if find_spec("botocore") is None:
        mend = "install the extra `bedrock` on machines that run bedrock workers"
        yield Finding("aws", "warn", "boto3 is not installed: no bedrock lane", mend)
        return
    try:
        method = _credentials_method(online=online)
    except Exception as error:  # noqa: BLE001 - from boto3 or a plug-in: no such profile, bad file
        mend = "fix AWS_PROFILE or ~/.aws; aws configure list says more"
        yield Finding("aws", "fail", f"boto3 finds no credentials ({type(error).__name__})", mend)
        return
    yield _finding(settings, method, online=online)


def _mock(settings: BedrockSettings) -> str | None:
    """Return the URL of the mock if this machine or the fleet calls it, and the mock answers.

    Only an address of this machine is asked.
    """
    url = settings.bedrock_endpoint or _announced()
    try:
        parts = urlsplit(url)
        if parts.hostname is None or not is_local_http(url):
            return None
        connection = HTTPConnection(parts.hostname, parts.port, timeout=MOCK_TIMEOUT_S)
        try:
            connection.request("GET", "/")
            marked = connection.getresponse().getheader(STAND_IN_MARK)
        finally:
            connection.close()
    except (OSError, ValueError, HTTPException):
        return None
    return url if marked else None


def _announced() -> str:
    """Return the endpoint that the fleet's bedrock workers call; empty if it is unknown."""
    try:
        client = connect(read_settings(), "look")
        try:
            return Spillway(client).endpoint()
        finally:
            client.close()
    except ForebayError:
        return ""


def _finding(settings: BedrockSettings, method: str | None, *, online: bool) -> Finding:
    where = settings.bedrock_endpoint or settings.bedrock_region
    if method is None:
        mend = "run aws configure or attach a role; until then jobs wait or stay local"
        return Finding("aws", "warn", f"no credentials for {where}", mend)
    if online:
        return _identity(settings)
    return Finding("aws", "ok", f"credentials ({method}) for {where}; --online verifies them")


def _credentials_method(*, online: bool) -> str | None:
    """Return the name of botocore's way to the credentials; `None` if there are none."""
    from botocore.session import Session  # noqa: PLC0415 - 300 ms, and only here

    session = Session()
    if not online:
        resolver = session.get_component("credential_provider")
        for name in ASKING_PROVIDERS:
            resolver.remove(name)
    credentials = session.get_credentials()
    return str(credentials.method) if credentials else None


def _identity(settings: BedrockSettings) -> Finding:
    """Ask AWS for our identity, which needs valid credentials but no permission."""
    import boto3  # noqa: PLC0415 - 300 ms, and only with --online
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("sts", region_name=settings.bedrock_region, config=config)
        caller = client.get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        mend = "aws sts get-caller-identity says more"
        return Finding(
            "aws", "fail", f"AWS refused or did not answer ({type(error).__name__})", mend
        )
    return Finding("aws", "ok", f"account {caller['Account']} in {settings.bedrock_region}")
