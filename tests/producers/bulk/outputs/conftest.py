"""Rows as a bulk's results have them."""

import pytest


def _result(row, answer=None, **others):
    return {
        "row": row,
        "key": f"k{row}",
        "status": "done" if answer else "failed",
        "answer": answer,
        "lane": "local" if answer else None,
        "model": "m",
        "revision": "r1",
        "degraded": False,
        "cost_usd": 0.0,
        "tokens_in": 20,
        "tokens_out": 2,
        "checks": [{"name": "label", "passed": True, "note": ""}] if answer else [],
        "reasons": ["easy"],
        "error": None if answer else "bad_answer",
        "error_note": None,
        **others,
    }


@pytest.fixture(scope="session")
def result():
    """Return a function that makes a result row; without an answer it failed."""
    return _result
