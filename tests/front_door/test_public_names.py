"""`import forebay`: what it offers, and what it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import sys

import pytest

import forebay
from forebay.producers.client import Client
from forebay.routing.errors import TooLong
from forebay.routing.requests import Classify

NAMES = {
    # the clients
    "AsyncBulkHandle", "AsyncClient", "BulkHandle", "Client", "JobHandle", "Options", "Progress",
    "Settings",
    # requests
    "Choice", "Classify", "Decide", "Embed", "Extract", "Generate", "Job", "Label", "Message",
    "Predicate", "Score", "Summarize",
    # what comes back
    "Answer", "Check", "Classification", "Completed", "Content", "DeadJob", "Decisions", "Doubt",
    "Embedding", "Extraction", "Generation", "JobStatus", "QuestionAnswer", "Receipt", "Result",
    "Summary", "Verdict",
    # errors
    "BadAnswer", "BudgetExceeded", "CallerError", "Cancelled", "EgressDenied", "Ended",
    "EngineBusy", "EngineDied", "EngineUnavailable", "Expired", "ForebayError", "InvalidJob",
    "KeyReused",
    "LastingError", "Misconfigured", "ModelRefused", "NoModel",
    "NoPrice", "PassingError", "ResultTimeout", "Throttled",
    "TooLong", "Unavailable", "UnknownJob",
    "__version__",
}  # fmt: skip

HEAVY = ("celery", "kombu", "redis", "pydantic", "jsonschema", "forebay.routing")


def imported_by(code):
    """Return the heavy modules that a fresh interpreter has after this code, and its seconds."""
    program = (
        "import json, sys, time\n"
        "began = time.perf_counter()\n"
        f"{code}\n"
        "seconds = time.perf_counter() - began\n"
        f"print(json.dumps([[name for name in {HEAVY} if name in sys.modules], seconds]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    return json.loads(output)


def test_all_public_names_are_there_and_no_other():
    assert set(forebay.__all__) == NAMES
    assert len(forebay.__all__) == len(NAMES)
    for name in NAMES:
        assert getattr(forebay, name) is not None
        assert name in dir(forebay)


def test_a_public_name_is_the_same_object_as_in_its_module():
    assert (forebay.Client, forebay.TooLong, forebay.Classify) == (Client, TooLong, Classify)


def test_the_version_is_that_of_the_distribution():
    assert forebay.__version__ == importlib.metadata.version("forebay")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'forebay' has no attribute 'Clietn'"):
        forebay.Clietn  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("forebay.nothing")


def test_importing_forebay_imports_nothing_heavy_and_takes_no_time():
    runs = [imported_by("import forebay") for _ in range(5)]
    assert [modules for modules, _ in runs] == [[]] * 5
    assert min(seconds for _, seconds in runs) < 0.05


def test_a_request_needs_pydantic_alone():
    code = "import forebay; forebay.Classify(text='x', labels=['a', 'b']); forebay.Answer"
    modules, _ = imported_by(code)
    assert modules == ["pydantic", "forebay.routing"]


def test_an_error_needs_nothing():
    modules, _ = imported_by("import forebay; forebay.BadAnswer")
    assert modules == ["forebay.routing"]


def test_a_client_imports_no_celery_and_connects_to_nothing():
    code = (
        "import forebay, socket\n"
        "def refuse(*_): raise AssertionError('a connection was made')\n"
        "socket.socket.connect = refuse\n"
        "forebay.Client()"
    )
    modules, _ = imported_by(code)
    assert "celery" not in modules
