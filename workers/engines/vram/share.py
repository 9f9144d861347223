"""An engine's share of the card: what it may take, whether that is free, and what it took.

Others may use the same card: a display, or a second engine with a share of its own. So what the
card as a whole has free or in use says nothing about one engine, but whether it can start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.engines.vram import planner
from forebay.workers.engines.vram.footprint import CHUNK, CUDA_CONTEXT, MIB
from forebay.workers.engines.weights.architecture import GpuEngineName
from forebay.workers.engines.weights.model_shape import read_shape

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """The memory that one engine's process may take.

    Attributes:
        cuda: `torch.cuda`.
        size: bytes.
    """

    cuda: Any
    size: int

    @classmethod
    def of(cls, settings: EngineSettings) -> Share:
        """What is set, or the whole card; torch keeps to it from now on.

        The context of CUDA, which torch does not count, is inside the share too.
        """
        import torch  # noqa: PLC0415 - gigabytes, and only where there is a GPU

        _, total = torch.cuda.mem_get_info()
        share = int(total) if settings.vram_mib is None else settings.vram_mib * MIB
        if share < total:
            torch.cuda.set_per_process_memory_fraction((share - CUDA_CONTEXT) / total)
        return cls(torch.cuda, min(share, int(total)))

    def plan(self, settings: EngineSettings, folder: Path, engine: GpuEngineName) -> planner.Plan:
        """The plan to start on, before anything is loaded.

        Raises:
            Misconfigured: The model does not fit the share, with the largest plan that would; or it
                does, and others have taken what it needs.
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
        self._vacant(plan)
        parts = ", ".join(f"{name} {size // MIB}" for name, size in plan.parts.items())
        log.info("planned %d MiB: %s", plan.total_bytes // MIB, parts)
        return plan

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Load within; a plan that was wrong, or others who came in between, are told apart here.

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
        """Say what the running model takes, and warn where the plan was wrong.

        What torch has reserved is this process's own, whatever others take or give back meanwhile;
        the difference in the card's free memory would be theirs as well, and the memory in use
        is theirs for the most part where another engine is resident. What lies outside torch (the
        context, kernels) is counted as planned: the driver does not tell it apart by process.
        """
        reserved = self.cuda.memory_reserved()
        held = reserved + plan.parts["CUDA context"]
        free, total = self.cuda.mem_get_info()
        log.info(
            "after warm-up this process holds %d MiB of the card, %d of them by torch's count; "
            "with all others %d MiB are in use",
            held // MIB, reserved // MIB, (total - free) // MIB,
        )  # fmt: skip
        warning = planner.check(plan, held)
        if warning:
            log.warning("%s", warning)

    def _vacant(self, plan: planner.Plan) -> None:
        """Whether what is free holds the plan, but for its slack.

        By now this process has its context, which is no longer free and is in the plan.
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
