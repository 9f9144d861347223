"""The policy file: its defaults, errors that name the key and the fix, and files that change."""

import logging
import os
from pathlib import Path

import pytest

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.policy import followed_file, policy_file
from forebay.routing.policy.batch_table import BatchPolicy
from forebay.routing.policy.policy_file import Fleet, Policy, PolicyFile, TenantPolicy

REQUEST = {"kind": "generate", "messages": [{"role": "user", "content": "hello"}]}


def written(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_apply():
    assert Policy.load(None) == Policy()
    assert Policy().tenant("anyone") == TenantPolicy()
    assert Policy().tenant("anyone").daily_budget_nusd == 10_000_000_000


def test_the_shipped_example_is_valid_and_says_what_the_defaults_are():
    example = Policy.load(Path(__file__).parents[3] / "deploy" / "policy.toml")
    assert (example.defaults, example.fleet) == (TenantPolicy(), Fleet())
    assert example.batch == BatchPolicy()
    assert example.tenant("payroll").force_deny
    support = example.tenant("support").thresholds
    assert (support.classify, support.extract) == (0.7, 0.5)


def test_a_tenants_table_overrides_the_defaults_key_by_key(tmp_path):
    path = written(
        tmp_path,
        """
        [defaults]
        force_deny = true
        daily_budget_usd = inf
        thresholds = { extract = 0.2, classify = 0.3 }
        [tenants.acme]
        force_deny = false
        thresholds.classify = 0.9
        pools.generate = "large"
        """,
    )
    rules = Policy.load(path)
    acme = rules.tenant("acme")
    assert (acme.force_deny, acme.daily_budget_nusd) == (False, None)
    assert (acme.thresholds.classify, acme.thresholds.extract) == (0.9, 0.2)
    assert acme.thresholds.generate == TenantPolicy().thresholds.generate
    assert acme.queue(Job(tenant="acme", request=REQUEST)) == "local.large"
    assert rules.tenant("other").force_deny


@pytest.mark.parametrize(("usd", "nusd"), [(0, 0), (0.5, 500_000_000), (1e308, None)])
def test_budgets_are_converted_to_billionths_of_a_dollar(usd, nusd):
    assert TenantPolicy(daily_budget_usd=usd).daily_budget_nusd == nusd
    assert Fleet(daily_budget_usd=usd).daily_budget_nusd == nusd


UNKNOWN = "is not a known key, correct its spelling or remove it"
MEANT = "is not a known key, did you mean {}?"
ELSEWHERE = "is a key of another table, move or remove it"
PROBABILITY = "must be less than or equal to 1"
SHARE = 'must be a number from 0 to 1, or "none"'
MONEY = "must be greater than or equal to 0"
TENANT_FORM = (
    "must be lower-case letters, digits, - and _, at most 63, and begin with a letter or a digit"
)
POOL_FORM = TENANT_FORM.replace("63", "41")
BUCKET_FORM = "must be the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"
WAIT = "must be 'wait' or 'degrade'"
HOURS = ", ".join(["0"] * 24)

MISTAKES = [
    ("[defaults]\nforce_deny = 'yes'\n", "[defaults] force_deny", "must be true or false"),
    ("[defaults]\n\n# no such key\nmodle = []\n", "[defaults] modle", MEANT.format("models")),
    ("[default]\nforce_deny = true\n", "default", MEANT.format("defaults")),
    ("[defaults]\nnothing_like_it = 1\n", "[defaults] nothing_like_it", UNKNOWN),
    ("[tenants.a]\nmodel_prefixes = []\n", "[tenants.a] model_prefixes", ELSEWHERE),
    ("[defaults.pools]\nclassify = 'A B'\n", "[defaults.pools] classify", POOL_FORM),
    ("[batch]\nbucket = 'b'\n", "[batch] bucket", BUCKET_FORM),
    ("[defaults.thresholds]\nembed = 0.5\n", "[defaults.thresholds] embed", UNKNOWN),
    ("[defaults.thresholds]\ngenerate = 1.5\n", "[defaults.thresholds] generate", PROBABILITY),
    ("[defaults]\nthresholds = { generate = 7 }\n", "[defaults.thresholds] generate", PROBABILITY),
    ("[defaults]\nthresholds.generate = 7\n", "[defaults.thresholds] generate", PROBABILITY),
    ("[defaults.audit]\nshare = '2 %'\n", "[defaults.audit] share", "must be a number"),
    ("[defaults.pace]\nshare = 2\n", "[defaults.pace] share", SHARE),
    ("[defaults.pace]\nshare = 'some'\n", "[defaults.pace] share", SHARE),
    ("[defaults.pace]\nshare = true\n", "[defaults.pace] share", SHARE),
    (
        "[defaults.pace]\nday_shape = [1, 2]\n",
        "[defaults.pace] day_shape",
        "must have at least 24 items, not 2",
    ),
    (
        f"[defaults.pace]\nday_shape = [{HOURS}]\n",
        "[defaults.pace] day_shape",
        "must have a weight above 0 for at least one hour",
    ),
    ('[tenants."acme"]\n"when_shut" = "run"\n', "[tenants.acme] when_shut", WAIT),
    (
        "[tenants.a]\nforce_deny = true\n[tenants.b]\nforce_deny = 3\n",
        "[tenants.b] force_deny",
        "must be true or false",
    ),
    (
        '[tenants."Not A Name"]\nforce_deny = true\n',
        '[tenants] "Not A Name"',
        TENANT_FORM,
    ),
    (
        "[defaults]\nmodels = [\n  'anthropic.a',\n  'two words',\n]\n",
        "[defaults] models[1]",
        "must be a model's id: letters, digits, and .:/_-",
    ),
    ('[defaults]\nwhen_shut = """\n[fleet]\n"""\n', "[defaults] when_shut", WAIT),
    ("[fleet]\ndaily_budget_usd = -0.5\n", "[fleet] daily_budget_usd", MONEY),
    ("[fleet]\ndaily_budget_usd = nan\n", "[fleet] daily_budget_usd", MONEY),
    ("[[tenants]]\nname = 'acme'\n", "tenants", "must be a table"),
    ("tenants = 1\n", "tenants", "must be a table"),
    ("[defaults]\r\nmodels = 1\r\n", "[defaults] models", "must be an array"),
]


@pytest.mark.parametrize(("text", "key", "fix"), MISTAKES)
def test_an_error_names_the_file_the_key_and_the_fix(tmp_path, text, key, fix):
    path = written(tmp_path, text)
    with pytest.raises(Misconfigured) as caught:
        Policy.load(path)
    assert str(caught.value) == f"{key}: {fix} (in {path})"
    assert caught.value.field == key


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[defaults]\nforce_deny = \n", "line 2"),
        ("a = 1\na = 2\n", "line 2"),
        ("[x\n", "line 1"),
        ('a = """\n\n', "end of document"),
    ],
)
def test_an_error_in_the_toml_names_the_file_and_the_line(tmp_path, text, line):
    with pytest.raises(Misconfigured, match=rf"is not TOML.*at {line}\b") as caught:
        Policy.load(written(tmp_path, text))
    assert "policy.toml" in str(caught.value)


def test_an_error_never_repeats_a_value_of_the_file(tmp_path):
    secret = "hunter2-and-more"
    for text in (
        f"[defaults]\nwhen_shut = '{secret}'\n",
        f"[fleet]\ndaily_budget_usd = '{secret}'\n",
        f"[defaults]\nmodels = ['{secret} {secret}']\n",
        f"x = '{secret}\n",
    ):
        with pytest.raises(Misconfigured) as caught:
            Policy.load(written(tmp_path, text))
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"a = " + b"9" * 5_000, b"a = " + b"[" * 5_000, b"#" * 1_000_001]
)
def test_a_file_that_is_not_text_raises_one_clear_error(tmp_path, data):
    path = tmp_path / "policy.toml"
    path.write_bytes(data)
    with pytest.raises(Misconfigured, match=r"policy\.toml"):
        Policy.load(path)


def test_a_missing_file_raises_one_clear_error(tmp_path):
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        Policy.load(tmp_path / "policy.toml")


def change(path, text):
    """Write a new version, with a date that differs even on a coarse clock."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_the_dates_of_the_file_are_looked_at_once_in_a_while(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(followed_file, "monotonic", lambda: now[0])
    monkeypatch.setattr(policy_file.PolicyFile, "look_every_s", 0.05)
    file = PolicyFile(path := written(tmp_path, "[defaults]\nforce_deny = false\n"))
    assert not file.current().defaults.force_deny
    change(path, "[defaults]\nforce_deny = true\n")
    assert not file.current().defaults.force_deny
    now[0] += 0.05
    assert file.current().defaults.force_deny


def test_a_new_version_of_the_file_applies_at_the_next_look(tmp_path):
    path = written(tmp_path, "[defaults]\nforce_deny = false\n")
    file = PolicyFile(path)
    assert not file.current().defaults.force_deny
    assert file.current() is file.current()
    change(path, "[defaults]\nforce_deny = true\n")
    assert file.current().defaults.force_deny


def test_a_broken_new_version_keeps_the_old_one_and_is_logged_once(tmp_path, caplog):
    path = written(tmp_path, "[defaults]\nforce_deny = true\n")
    file = PolicyFile(path)
    change(path, "[defaults]\nforce_deny = 1\n")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert file.current().defaults.force_deny
        assert len(caplog.records) == 1
        assert "[defaults] force_deny: must be true or false" in caplog.text
        path.unlink()
        assert file.current().defaults.force_deny
        assert file.current().defaults.force_deny
    assert len(caplog.records) == 2
    written(tmp_path, "[defaults]\nforce_deny = false\n")
    assert not file.current().defaults.force_deny


def test_a_file_that_is_broken_at_the_start_raises(tmp_path):
    with pytest.raises(Misconfigured):
        PolicyFile(written(tmp_path, "nonsense"))


def test_without_a_file_the_policy_stays_at_the_defaults():
    assert PolicyFile(None).current() == Policy()


def test_emptying_the_file_lifts_no_rule(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[tenants.acme]\nforce_deny = true\n")
    watched = PolicyFile(path)
    path.write_text("")
    assert watched.current().tenant("acme").force_deny
    with pytest.raises(Misconfigured, match="is empty"):
        Policy.load(path)


ARN = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
SYSTEM_ARN = (
    "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-haiku-5-5"
)


def test_a_profile_is_known_by_the_model_behind_it():
    rules = Policy.model_validate(
        {
            "defaults": {"models": [ARN, SYSTEM_ARN, "anthropic.claude-haiku-5-5"]},
            "fleet": {"model_prefixes": ["eu."]},
            "profiles": {ARN: "eu.anthropic.claude-haiku-5-5"},
        }
    )
    assert rules.base_model(ARN) == "eu.anthropic.claude-haiku-5-5"
    assert rules.base_model("us.x") == "us.x"
    assert rules.models("anyone") == (ARN, SYSTEM_ARN)


def test_a_profile_of_another_geography_is_not_called():
    rules = Policy.model_validate(
        {
            "defaults": {"models": [ARN]},
            "fleet": {"model_prefixes": ["eu."]},
            "profiles": {ARN: "us.anthropic.claude-haiku-5-5"},
        }
    )
    assert rules.models("anyone") == ()


def test_all_models_are_those_that_may_answer_any_tenant():
    rules = Policy.model_validate(
        {
            "defaults": {"models": ["eu.a", "us.b"]},
            "tenants": {"t": {"models": ["eu.c"]}},
            "fleet": {"model_prefixes": ["eu."]},
        }
    )
    assert rules.all_models() == {"eu.a", "eu.c"}


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path):
    with pytest.raises(Misconfigured) as caught:
        Policy.load(tmp_path / "nope.toml")
    assert caught.value.field == "FOREBAY_POLICY_FILE"
    assert "nope.toml cannot be read" in caught.value.message
