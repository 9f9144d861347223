"""What operators write: defaults, mistakes named by their line, and files that change."""

import logging
import os
from pathlib import Path

import pytest

from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.policy.policy_file import Fleet, Policy, PolicyFile, TenantPolicy

REQUEST = {"kind": "generate", "messages": [{"role": "user", "content": "hello"}]}


def written(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold():
    assert Policy.load(None) == Policy()
    assert Policy().tenant("anyone") == TenantPolicy()
    assert Policy().tenant("anyone").daily_budget_nusd == 10_000_000_000


def test_the_shipped_example_is_valid_and_says_what_the_defaults_are():
    example = Policy.load(Path(__file__).parents[3] / "deploy" / "policy.toml")
    assert (example.defaults, example.fleet) == (TenantPolicy(), Fleet())
    assert example.tenant("payroll").force_deny
    support = example.tenant("support").thresholds
    assert (support.classify, support.extract) == (0.7, 0.5)


def test_a_tenants_table_lies_over_the_defaults_key_by_key(tmp_path):
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
def test_budgets_are_counted_in_billionths(usd, nusd):
    assert TenantPolicy(daily_budget_usd=usd).daily_budget_nusd == nusd
    assert Fleet(daily_budget_usd=usd).daily_budget_nusd == nusd


MISTAKES = [
    ("[defaults]\nforce_deny = 'yes'\n", 2, "defaults.force_deny"),
    ("[defaults]\n\n# no such key\nmodle = []\n", 4, "defaults.modle"),
    ("[defaults.thresholds]\nclassify = 0.5\ngenerate = 1.5\n", 3, "defaults.thresholds.generate"),
    ("[defaults]\nthresholds = { generate = 7 }\n", 2, "defaults.thresholds.generate"),
    ("[defaults]\nthresholds.generate = -1\n", 2, "defaults.thresholds.generate"),
    ('[tenants."acme"]\n"when_shut" = "run"\n', 2, "tenants.acme.when_shut"),
    ("[tenants.a]\nforce_deny = true\n[tenants.b]\nforce_deny = 3\n", 4, "tenants.b.force_deny"),
    ('[tenants."Not A Name"]\nforce_deny = true\n', 1, "tenants.Not A Name"),
    ("[defaults]\nmodels = [\n  'anthropic.a',\n  'two words',\n]\n", 2, "defaults.models.1"),
    ('[defaults]\nwhen_shut = """\n[fleet]\n"""\n', 2, "defaults.when_shut"),
    ("[fleet]\ndaily_budget_usd = -0.5\n", 2, "fleet.daily_budget_usd"),
    ("[fleet]\ndaily_budget_usd = nan\n", 2, "fleet.daily_budget_usd"),
    ("[[tenants]]\nname = 'acme'\n", 1, "tenants"),
    ("tenants = 1\n", 1, "tenants"),
    ("[defaults]\r\nmodels = 1\r\n", 2, "defaults.models"),
]


@pytest.mark.parametrize(("text", "line", "key"), MISTAKES)
def test_a_mistake_is_named_by_file_line_and_key(tmp_path, text, line, key):
    path = written(tmp_path, text)
    with pytest.raises(Misconfigured) as caught:
        Policy.load(path)
    assert caught.value.field == key
    assert f"({path}, line {line})" in caught.value.message


@pytest.mark.parametrize(
    ("text", "line"),
    [("[defaults]\nforce_deny = \n", 2), ("a = 1\na = 2\n", 2), ("[x\n", 1), ('a = """\n\n', 3)],
)
def test_broken_toml_is_named_by_file_and_line(tmp_path, text, line):
    with pytest.raises(Misconfigured, match=rf"is not TOML.*line {line}\b") as caught:
        Policy.load(written(tmp_path, text))
    assert "policy.toml" in str(caught.value)


def test_a_mistake_never_repeats_the_file(tmp_path):
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
def test_what_is_no_text_file_is_one_clear_error(tmp_path, data):
    path = tmp_path / "policy.toml"
    path.write_bytes(data)
    with pytest.raises(Misconfigured, match=r"policy\.toml"):
        Policy.load(path)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        Policy.load(tmp_path / "policy.toml")


def change(path, text):
    """Write a version whose date differs even on a coarse clock."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_a_new_version_of_the_file_holds_at_once(tmp_path):
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
        assert "line 2" in caplog.text
        path.unlink()
        assert file.current().defaults.force_deny
        assert file.current().defaults.force_deny
    assert len(caplog.records) == 2
    written(tmp_path, "[defaults]\nforce_deny = false\n")
    assert not file.current().defaults.force_deny


def test_a_file_that_is_broken_from_the_start_is_refused(tmp_path):
    with pytest.raises(Misconfigured):
        PolicyFile(written(tmp_path, "nonsense"))


def test_without_a_file_there_is_nothing_to_follow():
    assert PolicyFile(None).current() == Policy()


def test_a_file_that_was_emptied_lifts_no_rule(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[tenants.acme]\nforce_deny = true\n")
    watched = PolicyFile(path)
    path.write_text("")
    assert watched.current().tenant("acme").force_deny
    with pytest.raises(Misconfigured, match="is empty"):
        Policy.load(path)
