"""Fits the cascade model to audits, which keep numbers about answers and no text of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forebay.routing.errors import Misconfigured
from forebay.routing.learning.audits import Audit
from forebay.routing.scoring.cascade_model import MAX_FEATURES, Weights, with_verdict
from forebay.workers.training.fitting.fit_cascade import fit

MIN_AUDITS = 100


def fit_audits(audits: Sequence[Audit], seed: int) -> Weights:
    """Return weights fitted to audits of answers that had a second opinion.

    Raises:
        Misconfigured: There are too few of them.
    """
    if len(audits) < MIN_AUDITS:
        found = f"finds {len(audits)} audits of answers with a second opinion"
        raise Misconfigured(f"{found}; {MIN_AUDITS} are needed", field="--audits")
    rows = [audit_features(audit) for audit in audits]
    names = sorted({name for row in rows for name in row})[:MAX_FEATURES]
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    gap = np.array([audit.gap for audit in audits])
    agreements = np.array([[audit.agreement or 0.0] for audit in audits])
    note = [f"Fitted on {len(audits)} audits."]
    return fit(names, matrix, gap, agreements, seed=seed, note=note)


def audit_features(audit: Audit) -> dict[str, float]:
    """Return what an audit knows of the features that a worker computes."""
    agreed = audit.agreement or 0.0
    own = {"agreed_1": agreed, "agreed_mean": agreed, "agreed_min": agreed, "against": 1 - agreed}
    return with_verdict({**audit.features, **audit.answer, **own}, audit.score, audit.probability)
