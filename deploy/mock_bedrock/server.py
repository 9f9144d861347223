"""A mock of Amazon Bedrock on loopback, for the demo and the tests: the real protocol, no model.

It speaks Converse, ConverseStream, InvokeModel and CountTokens, checks signatures, rejects what
Bedrock rejects, and fails as planned. Every answer has the header `x-forebay-stand-in`.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from mock_bedrock.batches import Batches
from mock_bedrock.calls import Call
from mock_bedrock.canned_answers import References
from mock_bedrock.faults import Faults
from mock_bedrock.handler import Handler, Server
from mock_bedrock.prompt_cache import PromptCache

logger = logging.getLogger("mock-bedrock")

KEY_PAIR = ("mock", "mock")
REGION = "us-east-1"
MAX_RECORDED_CALLS = 50_000


class MockBedrock:
    """A running mock; a context manager.

    Attributes:
        url: where it listens.
        calls: the requests that reached it, the latest last.
        faults: the plan of what goes wrong next.
        references: what it answers.
        prompt_cache: the prefixes of prompts that it remembers.
        context_tokens: the longest prompt that its models take; `None` for any.
        batches: its batch inference; `None` without an S3 to read files from.
    """

    def __init__(
        self,
        samples: Path | None = None,
        *,
        port: int = 0,
        faults: Sequence[str | None] = (),
        key_pair: tuple[str, str] = KEY_PAIR,
        region: str = REGION,
        batches: Batches | None = None,
    ) -> None:
        self.references = References(samples)
        self.faults = Faults()
        self.faults.plan(faults)
        self.key_pair = key_pair
        self.region = region
        self.calls: deque[Call] = deque(maxlen=MAX_RECORDED_CALLS)
        self.prompt_cache = PromptCache()
        self.context_tokens: int | None = None
        self.batches = batches
        self.stopped = threading.Event()
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.mock = self
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="A mock of Amazon Bedrock on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--samples", type=Path, help="JSON lines with `request` and `reference`")
    parser.add_argument("--port-file", type=Path, help="gets the port once the mock listens")
    parser.add_argument("--region", default=REGION, help="region that requests are signed for")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # Blocked before any thread starts, so that only this thread is woken by them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with MockBedrock(options.samples, port=options.port, region=options.region) as mock:
        if options.port_file:
            draft = options.port_file.with_suffix(".new")
            draft.write_text(str(mock.port))
            draft.replace(options.port_file)
        logger.info("listening on %s", mock.url)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
