"""Why Bedrock or S3 refused a batch, in our words: which key of `[batch]` to correct, and how."""

from __future__ import annotations

import re

from forebay.routing.errors import Misconfigured

_KEY, _ROLE = "[batch] kms_key", "[batch] role_arn"
_BUCKET = "[batch] bucket"
_ROLE_RIGHTS = "deploy/iam/batch-role.json"
_WORKER_RIGHTS = "deploy/iam/batch-worker.json"

#: What to do if the key of the files is refused, by S3 or by Bedrock.
KEY_REFUSED = (
    "may not be used by the worker, or by role_arn: give both the rights of "
    f"{_WORKER_RIGHTS} and {_ROLE_RIGHTS}, and see that the key is enabled"
)

_QUOTAS = "see Service Quotas of Amazon Bedrock"

#: The service's message is searched, in this order; it is never quoted, since it may hold anything.
_BY_WORDS: tuple[tuple[str, str, str], ...] = (
    (r"\bkms\b|kms[.:]|encryption key", _KEY, KEY_REFUSED),
    (r"passrole", _ROLE, f"may not be passed on by the workers' role: see {_WORKER_RIGHTS}"),
    (r"assume|trust", _ROLE, "cannot be assumed by Bedrock: see deploy/iam/batch-role-trust.json"),
    (r"modelinvocationjob", _ROLE, f"the workers' own role lacks rights: see {_WORKER_RIGHTS}"),
    (
        r"model\b.*(n.t|not|un)\s?support",
        "[batch] models",
        "names a model that Bedrock takes no batches of in this region",
    ),
    (
        r"minimum|at least|fewer|less than",
        "[batch] min_records",
        f"is below the account's quota for this model: {_QUOTAS}",
    ),
    (
        r"maximum|exceed|too (large|many|big)|quota",
        "[batch] max_records",
        f"or max_mb is above the account's quota for this model: {_QUOTAS}",
    ),
    (
        r"(bucket|s3).*region|region.*(bucket|s3)",
        _BUCKET,
        "must be in the region of the calls (FOREBAY_BEDROCK_REGION)",
    ),
    (r"bucket owner", _BUCKET, "belongs to another account than bucket_owner"),
    (r"no ?such ?bucket|bucket does not exist", _BUCKET, "does not exist"),
    (
        r"access denied|not authorized|permission|forbidden|s3",
        _ROLE,
        f"lacks rights to the bucket or the model: see {_ROLE_RIGHTS}",
    ),
)


def batch_failure(message: str) -> Misconfigured | None:
    """Return what to correct; `None` if the message does not tell."""
    text = message.casefold()
    for words, field, hint in _BY_WORDS:
        if re.search(words, text):
            return Misconfigured(hint, field=field)
    return None
