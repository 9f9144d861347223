"""Tries a bulk before it runs: are all rows valid, and what will the whole take?"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.producers.bulk.outputs.columns import BY_MOCK
from forebay.producers.bulk.rows import BadRow, TemplatedRow
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.producers.bulk.validated import validated_rows

EXAMPLES = 3  # of each check that fails, and of each error
FIRST_BAD = 20  # bad rows that are shown


@dataclass
class Validation:
    """What was found in the rows of a source.

    Attributes:
        rows: rows that are valid requests.
        bad: rows that are not.
        first_bad: the first of those, `FIRST_BAD` at most.
        sample: some of the valid rows, chosen at random, in their order.
    """

    rows: int = 0
    bad: int = 0
    first_bad: list[BadRow] = field(default_factory=list)
    sample: list[TemplatedRow] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a sample says about the whole.

    Attributes:
        rows: rows of the whole that are valid.
        bad: rows of the whole that are not.
        sampled: rows that were answered.
        rows_per_s: how fast the sample was answered. The whole is not slower, because its batches
            are full all the time.
        whole_s: seconds for the whole at that rate.
        whole_usd: dollars for the whole.
        mocked: the mock of Bedrock answered rows, so the dollars are no money.
        local, bedrock, degraded, failed: shares of the sample.
        checks: how many answers failed each check, the most frequent first.
        errors: how many rows have no answer for each reason, the most frequent first.
        examples: for each of these checks and errors, some rows of the output.
    """

    rows: int
    bad: int
    sampled: int
    rows_per_s: float
    whole_s: float
    whole_usd: float
    local: float
    bedrock: float
    degraded: float
    failed: float
    checks: Mapping[str, int]
    errors: Mapping[str, int]
    examples: Mapping[str, list[dict[str, Any]]]
    mocked: bool = False


def validate(source: Source, template: Template, *, sample: int = 0) -> Validation:
    """Read all rows of a source, and answer none.

    Args:
        source: where the rows come from.
        template: how they become requests.
        sample: so many valid rows are chosen (reservoir sampling: each with the same probability).
    """
    found = Validation()
    for row in validated_rows(source, template):
        if isinstance(row, BadRow):
            found.bad += 1
            if len(found.first_bad) < FIRST_BAD:
                found.first_bad.append(row)
            continue
        found.rows += 1
        if len(found.sample) < sample:
            found.sample.append(row)
        elif sample and (place := random.randrange(found.rows)) < sample:
            found.sample[place] = row
    found.sample.sort(key=lambda row: row.number)
    return found


def jobs_of(rows: list[TemplatedRow]) -> Iterator[dict[str, Any]]:
    """Yield rows as jobs, which can be the rows of another bulk."""
    for row in rows:
        request = {**row.common, **row.varying, "kind": row.kind}
        yield {"request": request, "egress": row.egress}


def estimate(found: Validation, results: Iterator[dict[str, Any]]) -> Estimate:
    """Wait for the results of a sample, and say what the whole will take.

    Args:
        found: the sample, and how many rows there are.
        results: the results of the sample, in its order.
    """
    began = time.monotonic()
    rows = list(results)
    seconds = max(1e-3, time.monotonic() - began)
    for row, chosen in zip(rows, found.sample, strict=False):
        row["row"], row["key"] = chosen.number, chosen.key
    count = max(1, len(rows))
    checks, errors, examples = _failures(rows)
    rate = len(rows) / seconds
    return Estimate(
        rows=found.rows,
        bad=found.bad,
        sampled=len(rows),
        rows_per_s=rate,
        whole_s=found.rows / rate if rate else 0.0,
        whole_usd=sum(row["cost_usd"] for row in rows) / count * found.rows,
        mocked=any(BY_MOCK in row["reasons"] for row in rows),
        local=sum(row["lane"] == "local" for row in rows) / count,
        bedrock=sum(row["lane"] == "bedrock" for row in rows) / count,
        degraded=sum(row["degraded"] for row in rows) / count,
        failed=sum(row["status"] != "done" for row in rows) / count,
        checks=checks,
        errors=errors,
        examples=examples,
    )


def _failures(
    rows: list[dict[str, Any]],
) -> tuple[dict[str, int], dict[str, int], dict[str, list[dict[str, Any]]]]:
    """Count failed checks and errors, and choose some rows as examples of each."""
    checks: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        failed = [check["name"] for check in row["checks"] if not check["passed"]]
        checks.update(failed)
        if row["error"]:
            errors[row["error"]] += 1
            failed.append(row["error"])
        for name in failed:
            if len(known := examples.setdefault(name, [])) < EXAMPLES:
                known.append(row)
    return dict(checks.most_common()), dict(errors.most_common()), examples
