"""Which engines a worker drives, read once at the entry from `FOREBAY_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from forebay.routing.lanes import DEFAULT_POOL
from forebay.routing.settings import EnvironmentSettings, Seconds

EngineName = Literal["llamacpp", "exl2", "exl3", "echo"]


class LocalSettings(EnvironmentSettings):
    """What a local worker serves, and with how many models.

    Attributes:
        pool: the pool this worker serves; its queue is `local.<pool>`.
        second_engine: of another model, which gives the second opinions (`SecondEngineSettings`);
            without it the first one gives them, in other words.
    """

    pool: str = Field(DEFAULT_POOL, pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    second_engine: EngineName | None = None


class EngineSettings(EnvironmentSettings):
    """Which engine a worker drives, and how large.

    Attributes:
        engine: `llamacpp` (CPU, the embedded default), `exl2` or `exl3` (GPU), or `echo` (no
            model, for tests).
        model_file: a GGUF file for llamacpp; without it the packaged small model.
        model_dir: the folder of a model for exl2 or exl3.
        cache_mode: how exl2 and exl3 keep keys and values; without it what fits best.
        vram_mib: of the card's memory, what the engine may take; without it all.
        slots: requests in the running batch at once.
        context_tokens: prompt and answer together, of one request.
        threads: CPU threads of the engine; one is fastest where the machine is shared.
        hang_s: an engine that makes no step for so long with work in hand is killed.
        start_s: an engine that is not ready after so long is killed.
        attention: of the exl2 engine: `flash-attn`, or `torch`, slower and without compiled parts.
        echo_delay_s: how long the echo engine takes for a token.
    """

    model_config = SettingsConfigDict(protected_namespaces=())

    engine: EngineName = "llamacpp"
    model_file: Path | None = None
    model_dir: Path | None = None
    cache_mode: Literal["fp16", "q8", "q6", "q4"] | None = None
    vram_mib: int | None = Field(None, ge=1_024, le=1_048_576)
    slots: int = Field(4, ge=1, le=256)
    context_tokens: int = Field(2_048, ge=256, le=1_048_576)
    threads: int = Field(1, ge=1, le=256)
    hang_s: Seconds = 60.0
    start_s: Seconds = 120.0
    attention: Literal["flash-attn", "torch"] = "flash-attn"
    echo_delay_s: float = Field(0.0, ge=0)


class SecondEngineSettings(EngineSettings):
    """The engine of the second opinions: the same settings, each as `FOREBAY_SECOND_*`."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_SECOND_")

    @staticmethod
    def worded(text: str) -> str:
        """What is said of an engine's settings, said of these."""
        return text.replace("FOREBAY_", "FOREBAY_SECOND_")


class RouterSettings(EnvironmentSettings):
    """Who gives the verdicts.

    Attributes:
        router_model: `packaged`, the small model that ships; or `engine`, a language model that
            each router runs as `EngineSettings` say (`workers.cascade.llm_router_model`).
    """

    router_model: Literal["packaged", "engine"] = "packaged"
