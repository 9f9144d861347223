"""An import brings little along: a service that only makes and reads jobs needs neither queue."""

from __future__ import annotations

import subprocess
import sys

import pytest

FOREIGN = {"celery", "kombu", "redis", "torch", "boto3", "numpy"}


@pytest.mark.parametrize("module", ["jobs", "receipts", "errors", "reasons", "lanes"])
def test_the_contract_imports_neither_queue_nor_redis(module):
    code = f"import sys, forebay.routing.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert f"forebay.routing.{module}" in done.stdout.split()
    assert not loaded & FOREIGN
