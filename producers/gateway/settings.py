"""The settings of the gateway, which every process of it reads from `FOREBAY_GATEWAY_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, IPvAnyNetwork, StringConstraints

from forebay.routing.base import Short, Tenant
from forebay.routing.settings import EnvironmentSettings, Seconds

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class GatewaySettings(EnvironmentSettings):
    """What the gateway accepts, and how long it waits.

    Attributes:
        gateway_tenant: serve this tenant to callers without a key, and take no keys. `forebay
            serve` allows that on loopback only.
        gateway_max_body: bytes of the largest request body.
        gateway_wait_s: how long a request may wait for its answer; the job itself goes on.
        gateway_grace_s: how long requests may take to finish after a SIGTERM.
        gateway_models: names of models that clients send, and what Forebay takes each for, such as
            `{"gpt-5-mini": "auto"}`.
        gateway_files: the folder of uploaded files and of batches. Gateways that share it share
            both.
        gateway_max_file: bytes of the largest file.
        gateway_max_batch_body: bytes of the largest body of `POST /v1/messages/batches`.
        gateway_max_files: bytes of all files of one tenant together, with the inputs of its batches
            and bulks.
        gateway_keep_files_s: how long a file, or what is left of a bulk, is kept.
        gateway_batches_at_once: batches and bulks that one process works at a time.
        gateway_webhook_networks: networks that webhooks may be called in, although they are not
            public, such as `["10.1.0.0/16"]`; there also without TLS.
        gateway_metrics_dir: where the processes of one gateway count together; made by `forebay
            serve` if there are several.
    """

    gateway_tenant: Tenant | None = None
    gateway_max_body: int = Field(8 * 1024 * 1024, ge=1024)
    gateway_wait_s: Seconds = 600.0
    gateway_grace_s: Seconds = 30.0
    gateway_models: dict[ModelName, Short] = Field(default_factory=dict)
    gateway_files: Path = Path("~/.local/state/forebay/files")
    gateway_max_file: int = Field(200 * 1024 * 1024, ge=1024)
    gateway_max_batch_body: int = Field(64 * 1024 * 1024, ge=1024)
    gateway_max_files: int = Field(20 * 1024**3, ge=1024)
    gateway_keep_files_s: Seconds = 30 * 86_400.0
    gateway_batches_at_once: int = Field(8, ge=1, le=64)
    gateway_webhook_networks: tuple[IPvAnyNetwork, ...] = ()
    gateway_metrics_dir: str | None = None
