"""Fits the cascade model to audits, which keep numbers about answers and no text of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from forebay.routing.errors import Misconfigured
from forebay.routing.learning.audits import Audit
from forebay.routing.scoring.cascade_model import MAX_FEATURES, Weights, with_verdict
from forebay.workers.training.fitting.fit_cascade import fit, require_ranks

MIN_AUDITS = 100


def fit_audits(audits: Sequence[Audit], seed: int) -> Weights:
    """Return weights fitted to audits of answers that had a second opinion.

    If most of them had two further answers, weights for two are fitted, to these alone.

    Raises:
        Misconfigured: There are too few of them, or all have the same outcome.
    """
    others = 2 if 2 * sum(bool(audit.agreements) for audit in audits) > len(audits) else 1
    audits = [audit for audit in audits if len(_agreements(audit)) == others]
    if len(audits) < MIN_AUDITS:
        found = f"finds {len(audits)} audits of answers with a second opinion"
        raise Misconfigured(f"{found}; {MIN_AUDITS} are needed", field="--audits")
    rows = [audit_features(audit) for audit in audits]
    names = sorted({name for row in rows for name in row})[:MAX_FEATURES]
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    gap = np.array([audit.gap for audit in audits])
    require_ranks(gap, "--audits")
    agreements = np.array([_agreements(audit) for audit in audits])
    note = [f"Fitted on {len(audits)} audits."]
    return fit(names, matrix, gap, agreements, seed=seed, note=note)


def audit_features(audit: Audit) -> dict[str, float]:
    """Return what an audit knows of the features that a worker computes."""
    agreements = _agreements(audit)
    own = {f"agreed_{at}": agreed for at, agreed in enumerate(agreements, 1)}
    own |= {"agreed_mean": fmean(agreements), "agreed_min": min(agreements)}
    return with_verdict({**audit.features, **audit.answer, **own}, audit.score, audit.probability)


def _agreements(audit: Audit) -> tuple[float, ...]:
    return audit.agreements or (audit.agreement or 0.0,)
