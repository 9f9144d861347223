"""Restart workers fast: load a worker's module once, then fork one worker after the other.

Otherwise a worker that is killed a hundred times would spend minutes of CPU on imports. The fork
runs Celery's own `worker` command and can be killed, stopped and asked to end like any worker.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import time
from typing import Any

import celery.apps.worker
import celery.bin.celery
import celery.worker.consumer  # noqa: F401 - likewise
import kombu.transport.redis  # noqa: F401 - likewise

from books.diary import Diary
from doom.doomed import prepare
from forebay.routing.policy.secret_scanner import Scanner

PR_SET_PDEATHSIG = 1
PAUSE_S = 0.2  # before the next worker
SCANNING = {"router", "bedrock"}  # the roles that look for secrets


class Nursery:
    """Keeps one worker of a role alive until it is asked to end."""

    def __init__(self, role: str, words: list[str]) -> None:
        self._words = words
        self._diary: Diary = prepare(role).diary
        self._app = importlib.import_module(f"forebay.workers.{role}").app
        if role in SCANNING:
            Scanner()  # loads its library
        self._child = 0
        self._ending = False
        signal.signal(signal.SIGTERM, self._end)

    def run(self) -> None:
        """Fork one worker after the other; write each exit code to the diary (-9: killed)."""
        while not self._ending:
            self._child = self._fork()
            _, status = os.waitpid(self._child, 0)
            code = os.waitstatus_to_exitcode(status)
            self._diary.note("ended", str(code), pid=self._child)
            time.sleep(PAUSE_S)

    def _fork(self) -> int:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                self._live()
            finally:
                os._exit(70)
        return child

    def _live(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._diary.note("born")
        try:
            self._app.worker_main(["worker", *self._words])
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 1)
        os._exit(0)

    def _end(self, *_: Any) -> None:
        self._ending = True
        if self._child:
            os.kill(self._child, signal.SIGTERM)


if __name__ == "__main__":
    Nursery(sys.argv[1], sys.argv[2:]).run()
