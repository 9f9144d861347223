"""Settings of the frontier lane: which provider it calls, and how Bedrock is reached."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from forebay.routing.settings import EnvironmentSettings, Seconds


class BedrockSettings(EnvironmentSettings):
    """The settings of calls to models. AWS credentials come from boto3's own chain.

    Attributes:
        frontier_provider: one of `forebay.workers.frontier.provider.fleet_providers()`.
        bedrock_endpoint: a URL in place of AWS's own: a VPC endpoint, or the mock of Bedrock.
        bedrock_control_endpoint, bedrock_s3_endpoint: likewise, for batches: of Bedrock's control
            plane, and of S3. With `bedrock_endpoint`, there are no batches without these two.
        bedrock_region: AWS region of the calls.
        bedrock_concurrency: calls in flight at once in one worker process. A quarter as many come
            on top for tenants that wait while others hold all of these.
        bedrock_timeout_s: seconds of silence after which a call is given up; its cost stays
            reserved.
        bedrock_batch_poll_s: how often batches are looked at.
        prices_file: a price list in place of the packaged `routing/limits/prices.toml`.
    """

    frontier_provider: str = "bedrock"
    bedrock_endpoint: str | None = None
    bedrock_control_endpoint: str | None = None
    bedrock_s3_endpoint: str | None = None
    bedrock_region: str = "us-east-1"
    bedrock_concurrency: int = Field(16, ge=1, le=512)
    bedrock_timeout_s: Seconds = 600.0
    bedrock_batch_poll_s: Seconds = 30.0
    prices_file: Path | None = None

    @property
    def takes_batches(self) -> bool:
        """Whether batches go where calls go: who calls the mock means no other service."""
        both = self.bedrock_control_endpoint and self.bedrock_s3_endpoint
        return self.frontier_provider == "bedrock" and bool(both or not self.bedrock_endpoint)

    @property
    def shared_threads(self) -> int:
        """Threads for tenants that wait while the calls of others hold all threads."""
        return max(1, self.bedrock_concurrency // 4)

    @property
    def bedrock_term_s(self) -> float:
        """Seconds after which a call of unknown outcome has ended on Bedrock's side too.

        The time-out counts silence only: it starts again with every byte received.
        """
        return self.bedrock_call_s + 60.0

    @property
    def bedrock_call_s(self) -> float:
        """Seconds after which a call is given up, though its response does not fall silent."""
        return call_limit_s(self.bedrock_timeout_s)


def call_limit_s(timeout_s: float) -> float:
    """Return the seconds that a call may take as a whole, if it may be silent for `timeout_s`."""
    return 2 * timeout_s
