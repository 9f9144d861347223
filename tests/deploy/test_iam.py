"""The rights in deploy/iam cover what the workers ask of AWS, and nothing else."""

import json
import re
from pathlib import Path

from forebay.workers.frontier.bedrock import batch_bucket, batch_service
from local.fleet import ROOT

ACTIONS = {"list_objects_v2": "s3:ListBucket"}  # whose name is not that of the operation


def granted(name):
    document = json.loads((ROOT / "deploy" / "iam" / name).read_text())
    actions = [statement["Action"] for statement in document["Statement"]]
    return {each for one in actions for each in ([one] if isinstance(one, str) else one)}


def asked(module, service):
    operations = re.findall(r'_ask\(\s*"(\w+)"', Path(module.__file__).read_text())
    return {
        ACTIONS.get(name, f"{service}:{''.join(word.title() for word in name.split('_'))}")
        for name in operations
    }


def test_a_worker_has_the_rights_that_it_uses():
    uses = asked(batch_service, "bedrock") | asked(batch_bucket, "s3")
    assert len(uses) == 8
    others = {"kms:GenerateDataKey", "kms:Decrypt", "iam:PassRole"}
    assert granted("batch-worker.json") == uses | others


def test_bedrock_may_neither_delete_nor_pass_on():
    rights = granted("batch-role.json")
    assert {"s3:GetObject", "s3:PutObject", "s3:ListBucket"} <= rights
    assert not any("Delete" in right or "PassRole" in right for right in rights)
    assert granted("batch-role-trust.json") == {"sts:AssumeRole"}
