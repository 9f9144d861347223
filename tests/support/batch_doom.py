"""A process that moves batches on, and is killed where it is told to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import redis

from batch_lane import Spillway
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.limits.budget import Budget
from forebay.workers.frontier.batch.record_call import RecordCalls
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.bedrock.batch_service import BatchService

#: Where the process dies: before or after the n-th call of a method.
POINTS = {
    "the jobs are in the batch": (BedrockBatches, "board", "after", 1),
    "half of the records are made": (RecordCalls, "record", "after", 2),
    "the file is complete": (BatchBucket, "put", "before", 1),
    "the file is in the bucket": (BatchBucket, "put", "after", 1),
    "Bedrock is to be asked": (BatchService, "create", "before", 1),
    "Bedrock has begun": (BatchService, "create", "after", 1),
    "a result is to be booked": (Budget, "settle", "before", 2),
    "a result is booked": (Budget, "settle", "after", 2),
    "all results are booked": (BedrockBatches, "leave", "before", 3),
    "the jobs have left": (BedrockBatches, "leave", "after", 3),
    "the files are deleted": (BatchBucket, "delete", "after", 1),
}


def run(point: str, redis_url: str, mock_url: str, s3_url: str, policy: str) -> None:
    """Make rounds, and die at the point."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "mock", "AWS_SECRET_ACCESS_KEY": "mock"}
    owner, name, when, count = POINTS[point]
    method, calls = getattr(owner, name), []

    def doomed(*args, **options):
        calls.append(name)
        last = len(calls) == count
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        returned = method(*args, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return returned

    setattr(owner, name, doomed)
    client = redis.Redis.from_url(redis_url)
    spillway = Spillway(client, mock_url, s3_url, Path(policy), {})
    spillway.rounds(8)
