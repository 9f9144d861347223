"""Doctor on the frontier lane: settings, prices, and the models that the policy names."""

import socket

import pytest

from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy
from forebay.workers.frontier.bedrock import checkup
from patience import examined

HAIKU = "anthropic.claude-haiku-5-5"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"


@pytest.fixture
def policy(monkeypatch, tmp_path):
    """Return a function that writes the policy and returns what doctor finds about its models."""

    def found(text):
        file = tmp_path / "policy.toml"
        file.write_text(text)
        monkeypatch.setenv("FOREBAY_POLICY_FILE", str(file))
        return [each for each in examined([checkup.models]) if each.name != "prices"]

    return found


def settings(*, online=False):
    return examined([lambda: checkup.frontier(online=online)])


def test_the_defaults_pass():
    assert [(each.name, each.state) for each in examined([checkup.models])] == [("prices", "ok")]
    assert [(each.name, each.state) for each in settings()] == [("region", "ok")]


@pytest.mark.parametrize("table", ["defaults", "tenants.support"])
@pytest.mark.parametrize("model", ["gpt-9", "us.gpt-9", PROFILE])
def test_a_model_without_a_price_fails_by_name(policy, table, model):
    [found] = policy(f'[{table}]\nmodels = ["{HAIKU}", "{model}"]\n')
    assert found.state == "fail"
    assert found.seen == f"no price is listed for {model}, which [{table}] names"
    assert "FOREBAY_PRICES_FILE" in found.mend
    assert "[profiles]" in found.mend


def test_a_tenant_does_not_repeat_the_findings_of_the_defaults(policy):
    rules = '[defaults]\nmodels = ["gpt-9"]\n[tenants.a]\nforce_deny = true\n'
    assert len(policy(rules)) == 1


@pytest.mark.parametrize("model", [f"us-gov.{HAIKU}", f"eu.{HAIKU}", HAIKU, PROFILE])
def test_a_model_with_a_price_passes(policy, model):
    assert policy(f'[defaults]\nmodels = ["{model}"]\n[profiles]\n"{PROFILE}" = "{HAIKU}"\n') == []


def test_prefixes_that_rule_out_all_models_are_a_warning(policy):
    [found] = policy('[fleet]\nmodel_prefixes = ["eu."]\n')
    assert found.state == "warn"
    assert found.seen.startswith("no model in [defaults] begins with eu.")
    assert f'"eu.{HAIKU}"' in found.mend
    [found] = policy(
        f'[defaults]\nmodels = ["eu.{HAIKU}"]\n[tenants.a]\nmodels = ["{HAIKU}"]\n'
        '[fleet]\nmodel_prefixes = ["eu.", "global."]\n'
    )
    assert found.seen.startswith("no model in [tenants.a] begins with eu. or global.")


def test_a_policy_that_wants_no_model_is_fine(policy):
    assert policy('[defaults]\nmodels = []\n[fleet]\nmodel_prefixes = ["eu."]\n') == []


def test_a_price_file_that_is_not_there_fails_with_its_variable_and_its_path(monkeypatch):
    monkeypatch.setenv("FOREBAY_PRICES_FILE", "/nope")
    [found] = examined([checkup.models])
    assert (found.name, found.state) == ("prices", "fail")
    assert found.seen.startswith("FOREBAY_PRICES_FILE: /nope cannot be read")


def test_a_provider_that_does_not_exist_fails(monkeypatch):
    monkeypatch.setenv("FOREBAY_FRONTIER_PROVIDER", "openai")
    found = settings()[0]
    assert (found.name, found.state) == ("provider", "fail")
    assert "FOREBAY_FRONTIER_PROVIDER" in found.seen
    assert "bedrock" in found.mend


@pytest.mark.parametrize("region", ["us-east-9", "mars", "not a region!"])
def test_an_unknown_region_fails(monkeypatch, region):
    monkeypatch.setenv("FOREBAY_BEDROCK_REGION", region)
    [found] = settings()
    assert (found.name, found.state) == ("region", "fail")
    assert "FOREBAY_BEDROCK_REGION" in found.mend


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1"])
def test_a_known_region_passes(monkeypatch, region):
    monkeypatch.setenv("FOREBAY_BEDROCK_REGION", region)
    assert [found.state for found in settings()] == ["ok"]


@pytest.mark.parametrize("url", ["no url", "ftp://host", "http://", "http://host:port"])
def test_an_endpoint_that_is_no_url_fails(monkeypatch, url):
    monkeypatch.setenv("FOREBAY_BEDROCK_ENDPOINT", url)
    [found] = settings()
    assert (found.name, found.state) == ("endpoint", "fail")


def test_an_endpoint_is_connected_to_only_online(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("FOREBAY_BEDROCK_ENDPOINT", url)
        assert [found.state for found in settings(online=True)] == ["ok"]
    [found] = settings(online=True)
    assert (found.state, "ConnectionRefusedError" in found.seen) == ("fail", True)
    assert url in found.seen
    assert [found.state for found in settings()] == ["ok"]


def aws():
    return examined([lambda: checkup.aws(online=False)])


def test_on_a_fleet_that_uses_the_mock_no_credentials_are_wanted(
    monkeypatch, mock, redis, redis_url
):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    assert [found.state for found in aws()] == ["warn"]
    Spillway(redis).announce(mock.url)  # as each bedrock worker does when it starts
    [found] = aws()
    assert (found.state, found.mend) == ("ok", "")
    assert mock.url in found.seen
    assert "mock" in found.seen
    Spillway(redis).announce("")
    monkeypatch.setenv("FOREBAY_BEDROCK_ENDPOINT", mock.url)
    assert [found.state for found in aws()] == ["ok"]


def test_an_endpoint_that_is_no_mock_needs_credentials(monkeypatch, mock):
    monkeypatch.setattr("mock_bedrock.handler.MARK", ("x-other", "1"))
    monkeypatch.setenv("FOREBAY_BEDROCK_ENDPOINT", mock.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert [found.state for found in aws()] == ["warn"]


def test_a_worker_announces_where_it_calls_bedrock(lane, mock, redis):
    lane.worker()
    assert Spillway(redis).endpoint() == mock.url


@pytest.mark.parametrize(("value", "found"), [("", 1), ("sk-1", 0)])
def test_an_endpoint_whose_key_is_missing_is_reported(monkeypatch, value, found):
    monkeypatch.setenv("MINE_KEY", value)
    endpoint = {"url": "https://models.example.com/v1", "key_env": "MINE_KEY"}
    policy = Policy.model_validate({"endpoints": {"mine": endpoint}})
    findings = list(checkup.without_key(policy))
    assert len(findings) == found
    assert all("MINE_KEY" in finding.seen for finding in findings)
