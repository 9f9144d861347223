"""How Bedrock is reached."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from forebay.routing.settings import EnvironmentSettings, Seconds


class BedrockSettings(EnvironmentSettings):
    """How Bedrock is reached. Credentials come from boto3's own chain, never from here.

    Attributes:
        bedrock_endpoint: another endpoint than AWS' own: a VPC endpoint, or the local stand-in.
        bedrock_region: AWS region of the calls.
        bedrock_concurrency: calls in flight at once in one worker process.
        bedrock_timeout_s: a call unanswered for so long is given up; its cost stays reserved.
        prices_file: a price list of your own; without it the packaged `routing/prices.toml`.
    """

    bedrock_endpoint: str | None = None
    bedrock_region: str = "us-east-1"
    bedrock_concurrency: int = Field(16, ge=1, le=512)
    bedrock_timeout_s: Seconds = 600.0
    prices_file: Path | None = None

    @property
    def bedrock_term_s(self) -> float:
        """Seconds after which a call of unknown outcome surely has ended, on Bedrock's side too.

        The time-out counts silence, and begins again with every byte that comes.
        """
        return 2 * self.bedrock_timeout_s + 60.0
