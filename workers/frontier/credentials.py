"""Checks the AWS credentials of the frontier lane for `forebay doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from urllib.parse import urlsplit

from forebay.routing.diagnostics import Finding
from forebay.routing.errors import ForebayError
from forebay.routing.limits.spillway import Spillway
from forebay.routing.settings import read, read_settings
from forebay.routing.store.connection import connect
from forebay.workers.frontier.converse_reply import STAND_IN_MARK
from forebay.workers.frontier.settings import BedrockSettings

#: Providers of botocore that run a program or ask a service for the credentials.
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MOCK_TIMEOUT_S = 2.0
ASKING_PROVIDERS = ("custom-process", "container-role", "iam-role")


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
        if parts.scheme != "http" or parts.hostname not in LOOPBACK:
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
        client = connect(read_settings(), brisk=True)
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
