"""Settings of the engines of a worker, read once at the entry from `FOREBAY_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_serializer, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from forebay.routing.base import Kind
from forebay.routing.errors import Misconfigured
from forebay.routing.lanes import DEFAULT_POOL
from forebay.routing.settings import EnvironmentSettings, Seconds
from forebay.workers.engines.registry import EngineName


class LocalSettings(EnvironmentSettings):
    """The pool that a local worker serves, and its second model if it runs one.

    Attributes:
        pool: the pool that this worker serves; its queue is `local.<pool>`.
        second_engine: the engine of a second model, which gives the second opinions
            (`SecondEngineSettings`). If unset, the first engine gives them, from a reworded prompt.
        second_opinions: how many further answers a second opinion takes: 1, or 2 with a second
            model: its answer, and one of the first model from a reworded prompt.
        cascade_model: a file that `forebay router train-cascade` wrote. If unset, answers are
            ranked by their doubt.
        cascade_kinds: the kinds whose answers it ranks, separated by commas.
    """

    pool: str = Field(DEFAULT_POOL, pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    second_engine: EngineName | None = None
    second_opinions: int = Field(1, ge=1, le=2)
    cascade_model: Path | None = None
    cascade_kinds: Annotated[tuple[Kind, ...], NoDecode] = ("generate",)

    @model_validator(mode="after")
    def _has_second_engine(self) -> Self:
        if self.second_opinions > 1 and self.second_engine is None:
            raise Misconfigured(
                "needs a second model, since both answers would be of one: set "
                "FOREBAY_SECOND_ENGINE, or leave it at 1",
                field="FOREBAY_SECOND_OPINIONS",
            )
        return self

    @field_validator("cascade_kinds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


class EngineSettings(EnvironmentSettings):
    """The engine that a worker runs, and how large it may be.

    Attributes:
        engine: `llamacpp` (CPU, the default), `exl2` or `exl3` (GPU), `openai` (a server that runs
            already), or `echo` (no model, for tests); `registry.ENGINES` lists them.
        model_file: the GGUF file of `llamacpp`; if unset, the packaged small model.
        model_dir: the model's folder of `exl2` and `exl3`.
        cache_mode: how `exl2` and `exl3` store keys and values; if unset, the best mode that fits.
        vram_mib: the card's memory that the engine may take, in MiB; if unset, all of it.
        slots: the requests that run in the batch at once.
        reserved: share of the slots, and of the worker's threads, that is kept for interactive
            jobs: at least one, if there are at least two. 0 reserves none.
        context_tokens: tokens of one request, prompt and answer together.
        threads: CPU threads of the engine; 1 is fastest on a machine that others use too.
        hang_s: an engine that has work and makes no step for so many seconds is killed. The server
            of `openai` may keep one request without a part of its answer for twice as long.
        start_s: an engine that is not ready after so many seconds is killed.
        attention: for `exl2`: `flash-attn`, or `torch`, slower, without compiled attention.
        gpu_layers: layers that `llamacpp` puts on the GPU, if it was built for one; if unset, all.
        openai_url: the server of `openai`, such as `http://127.0.0.1:8000/v1`.
        openai_model: the model to ask for; if unset, the only one that the server has.
        openai_key: the server's API key.
        openai_key_file: a file that holds the key, in place of `openai_key`.
        openai_public: the server may be outside of private networks. Then every job of the local
            lane leaves the building, also with egress `deny`.
        echo_delay_s: seconds that the `echo` engine takes for a token.
        echo_model: the name of the `echo` engine's model.
    """

    model_config = SettingsConfigDict(protected_namespaces=())

    engine: EngineName = "llamacpp"
    model_file: Path | None = None
    model_dir: Path | None = None
    cache_mode: Literal["fp16", "q8", "q6", "q4"] | None = None
    vram_mib: int | None = Field(None, ge=1_024, le=1_048_576)
    slots: int = Field(4, ge=1, le=256)
    reserved: float = Field(0.25, ge=0, le=0.9)
    context_tokens: int = Field(2_048, ge=256, le=1_048_576)
    threads: int = Field(1, ge=1, le=256)
    hang_s: Seconds = 60.0
    start_s: Seconds = 120.0
    attention: Literal["flash-attn", "torch"] = "flash-attn"
    gpu_layers: int | None = Field(None, ge=0, le=1_024)
    openai_url: str | None = None
    openai_model: str | None = Field(None, min_length=1, max_length=200)
    openai_key: SecretStr | None = None
    openai_key_file: Path | None = None
    openai_public: bool = False
    echo_delay_s: float = Field(0.0, ge=0)
    echo_model: str = Field("echo", min_length=1, max_length=200)

    @field_serializer("openai_key", when_used="json")
    def _plain(self, key: SecretStr | None) -> str | None:
        """Return the key itself, for the pipe to the engine's process."""
        return None if key is None else key.get_secret_value()


class SecondEngineSettings(EngineSettings):
    """The settings of the engine for second opinions, each read from `FOREBAY_SECOND_*`."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_SECOND_")

    @staticmethod
    def worded(text: str) -> str:
        """Return a message about engine settings with the names of the second engine's settings."""
        return text.replace("FOREBAY_", "FOREBAY_SECOND_")


class RouterSettings(EnvironmentSettings):
    """The model that gives the router's verdicts.

    Attributes:
        router_model: `packaged`, the small model that ships with Forebay; or `engine`, a language
            model that each router runs as `EngineSettings` says
            (`workers.cascade.router_models.llm_router_model`).
        router_decision_model: a GGUF file with a decision model, or with a language model, which
            each router asks beside the packaged one (`DecisionRouterModel`).
        router_encoder: a file that `forebay router train --encoder` wrote: routers read each text
            by the sentence encoder too, and `forebay calibrate` weighs the reading.
    """

    router_model: Literal["packaged", "engine"] = "packaged"
    router_decision_model: Path | None = None
    router_encoder: Path | None = None

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.router_decision_model is not None and self.router_model == "engine":
            raise Misconfigured(
                "stands beside the packaged model: unset it, or FOREBAY_ROUTER_MODEL=engine",
                field="FOREBAY_ROUTER_DECISION_MODEL",
            )
        return self
