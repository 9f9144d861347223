"""Our own messages are logged, and of libraries only warnings: their details may be content."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import logging
from forebay.routing.logs import to_stderr
to_stderr(logging.INFO)
for name in ("forebay.workers.router", "celery.worker", "httpx"):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger(name).log(level, "said")
"""


def test_our_messages_go_to_stderr_and_of_libraries_only_warnings():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [line.split()[2:4] for line in done.stderr.splitlines()] == [
        ["INFO", "forebay.workers.router:"],
        ["WARNING", "forebay.workers.router:"],
        ["INFO", "celery.worker:"],
        ["WARNING", "celery.worker:"],
        ["WARNING", "httpx:"],
    ]
