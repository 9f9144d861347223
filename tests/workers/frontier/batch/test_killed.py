"""A process that dies at any step of a batch loses no job, and pays for no answer twice."""

import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver

import pytest

from batch_doom import POINTS, run
from batch_lane import BUCKET, bill, billed
from forebay.routing.jobs import Answer

pytestmark = pytest.mark.slow

JOBS = 4


@pytest.fixture(scope="module")
def nursery():
    """Return a server of processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_doom"])
    with pytest.MonkeyPatch.context() as patch:  # the server itself does not get `sys.path`
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_lost_or_paid_twice(spillway, mock, s3, redis_url, nursery, point):
    jobs = spillway.submit(JOBS)
    spillway.work()
    args = (point, redis_url, mock.url, spillway.s3_url, str(spillway.policy))
    process = nursery.Process(target=run, args=args)
    process.start()
    process.join(timeout=100)
    assert process.exitcode == -signal.SIGKILL
    spillway.restart()
    spillway.rounds(8)
    for _ in range(3):
        spillway.work()
        spillway.sweep()
    assert all(isinstance(answer, Answer) for answer in spillway.answers(jobs))
    paid = billed(mock.calls)
    assert len(paid) == JOBS
    assert spillway.budget.spent() == (sum(map(bill, paid)), 0)
    assert spillway.budget.open() == []
    assert len(mock.batches.jobs) <= 1
    assert s3.list_objects_v2(Bucket=BUCKET).get("KeyCount") == 0
    assert spillway.batches.open() == []
