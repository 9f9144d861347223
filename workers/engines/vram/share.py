"""An engine's share of a card: how much it may take, whether that is free, and what it took.

Other programs may use the same card: a display, or a second engine with a share of its own. So the
free memory of the whole card decides whether an engine can start, and says nothing else about it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.routing.logs import Event, event
from forebay.workers.engines.engine import CardMemory
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram import planner
from forebay.workers.engines.vram.footprint import CHUNK, CUDA_CONTEXT, MIB
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.model_shape import read_shape

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """The memory of a card that one engine's process may take.

    Attributes:
        cuda: `torch.cuda`.
        size: bytes of the share.
    """

    cuda: Any
    size: int

    @classmethod
    def of(cls, settings: EngineSettings) -> Share:
        """Return FOREBAY_VRAM_MIB, or the whole card, and hold torch to it.

        The share includes the CUDA context, which torch does not count.
        """
        import torch  # noqa: PLC0415 - gigabytes, and only needed with a GPU

        _, total = torch.cuda.mem_get_info()
        share = int(total) if settings.vram_mib is None else settings.vram_mib * MIB
        if share < total:
            torch.cuda.set_per_process_memory_fraction((share - CUDA_CONTEXT) / total)
        return cls(torch.cuda, min(share, int(total)))

    def plan(self, settings: EngineSettings, folder: Path, engine: GpuEngineName) -> planner.Plan:
        """Return the plan to start on, before anything is loaded.

        Raises:
            Misconfigured: The model does not fit the share (the message names the largest layout
                that does), or other programs use the memory that it needs.
        """
        plan = planner.plan(
            read_shape(folder, engine),
            self.size,
            cache_mode=settings.cache_mode,
            context=settings.context_tokens,
            batch=settings.slots,
            chunk=CHUNK,
        )
        if not plan.fits:
            raise Misconfigured(plan.refusal(), field="FOREBAY_MODEL_DIR")
        self._check_free(plan)
        parts = ", ".join(f"{name} {size // MIB}" for name, size in plan.parts.items())
        log.info(
            "planned %d MiB: %s", plan.total_bytes // MIB, parts, extra=event(Event.ENGINE_MEMORY)
        )
        return plan

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Load the model inside this context; if memory runs out, say how much is still free.

        Free memory means that the plan was too small; none means that other programs took it.

        Raises:
            EngineUnavailable: The memory ran out.
        """
        try:
            yield
        except self.cuda.OutOfMemoryError:
            free, _ = self.cuda.mem_get_info()
            raise EngineUnavailable(
                f"the model outgrew its share of {self.size // MIB} MiB; {free // MIB} MiB of "
                "the card are free: do others use it?"
            ) from None

    def compare(self, plan: planner.Plan) -> None:
        """Log the memory of the running model, and warn if it differs from the plan.

        Memory that torch has reserved belongs to this process alone. The card's free memory also
        changes with other programs, so it cannot be compared with the plan. Memory outside torch
        (the CUDA context, kernels) counts as planned: the driver does not report it by process.
        """
        used = self._used_bytes(plan)
        free, total = self.cuda.mem_get_info()
        log.info(
            "after warm-up this process holds %d MiB of the card, %d of them by torch's count; "
            "with all others %d MiB are in use",
            used // MIB, (used - plan.parts["CUDA context"]) // MIB, (total - free) // MIB,
            extra=event(Event.ENGINE_MEMORY),
        )  # fmt: skip
        warning = planner.check(plan, used)
        if warning:
            log.warning("%s", warning, extra=event(Event.ENGINE_MEMORY))

    def memory(self, plan: planner.Plan) -> CardMemory:
        """Return the memory of the running model beside its plan."""
        used = self._used_bytes(plan)
        off = planner.check(plan, used) is not None
        return CardMemory(planned_bytes=plan.expected_bytes, used_bytes=used, off=off)

    def _used_bytes(self, plan: planner.Plan) -> int:
        return int(self.cuda.memory_reserved()) + plan.parts["CUDA context"]

    def _check_free(self, plan: planner.Plan) -> None:
        """Check that the free memory holds the plan, without its slack.

        This process has its CUDA context already: it is part of the plan, and no longer free.
        """
        free, _ = self.cuda.mem_get_info()
        room = int(free) + CUDA_CONTEXT
        if plan.expected_bytes > room:
            message = (
                f"the plan takes {plan.total_bytes // MIB} MiB and fits its share of "
                f"{self.size // MIB}, but only {room // MIB} MiB are free: others use the card; "
                f"stop them, or set {room // MIB} or less"
            )
            raise Misconfigured(message, field="FOREBAY_VRAM_MIB")
