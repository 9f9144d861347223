"""The contract between the frontier lane and whoever serves its models, and the table of providers.

A second provider is one file that implements `Provider`, one line in `PROVIDERS`, and a fixture in
the conformance suite; CONTRIBUTING.md lists its settings, prices and extra too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal, Protocol

from forebay.routing.errors import (
    BadAnswer,
    ForebayError,
    LastingError,
    Misconfigured,
    ModelRefused,
    Throttled,
    Unavailable,
)
from forebay.routing.limits.prices import Tier, Usage
from forebay.routing.policy.tables import Endpoint
from forebay.workers.engines.engine import Ending, Prompt, TakeText
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.frontier.terms import PLAIN, Terms

#: Where each provider's class is. It is imported when the provider is opened, since its client
#: library may be missing or slow to import.
PROVIDERS = {
    "bedrock": "forebay.workers.frontier.bedrock.converse:Converse",
    "openai": "forebay.workers.frontier.openai.chat_completions:ChatCompletions",
}
#: The provider of the endpoints that the policy names; no setting chooses it.
OF_ENDPOINTS = "openai"

STAND_IN_MARK = "x-forebay-stand-in"  # header of every answer that the mock of Bedrock makes
MAX_TOKENS = 10_000_000  # of each count in a reply; no model's context comes near

Billed = Literal["no", "yes", "unknown"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's whole answer. It is billed.

    Attributes:
        usage: the tokens that are billed; `None` if the provider's counts cannot be used.
        model: id of the model that was called.
        tier: the service tier that the provider reports; `None` if it is no tier that we know.
        stand_in: whether the mock of Bedrock made the answer, not a model.
        latency_s: seconds from the request to the whole answer.
        enforced: whether the provider enforced the prompt's constraint.
        stop_sequence: the prompt's stop string that ended the text, if it is known.
        stopped: whether the provider says that a stop string ended the text.
    """

    text: str = field(repr=False)
    usage: Usage | None
    finish: Ending
    model: str
    tier: Tier | None
    stand_in: bool
    latency_s: float
    enforced: bool = False
    stop_sequence: str | None = field(default=None, repr=False)
    stopped: bool = False


class Provider(Protocol):
    """Calls frontier models. Safe to share between threads.

    A provider never repeats a call by itself: a second request is a second bill. No error that it
    raises, nor any error reachable from there, quotes the prompt or the answer.
    """

    @property
    def term_s(self) -> float:
        """Seconds after which a call of unknown outcome has ended on the provider's side too."""
        ...

    @property
    def region(self) -> str:
        """Where calls go, as the egress log names it: a region, and the endpoint if one is set."""
        ...

    def bounds(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> tuple[int, int]:
        """Return the most tokens a call can be billed for: of its prompt, and of its answer.

        `model` is the id that the price list spells, not that of an opaque inference profile.
        """
        ...

    def count(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> int | None:
        """Return the most tokens the prompt can be billed for, as the service itself counts them.

        That costs nothing, takes seconds at most, and sends the prompt to the service. `model` is
        as for `bounds`.

        Returns:
            The tokens; `None` if the service does not count tokens.

        Raises:
            ForebayError: The service did not answer, or does not count tokens of this model.
        """
        ...

    def call(
        self,
        prompt: Prompt,
        model: str,
        *,
        call_id: str,
        terms: Terms = PLAIN,
        on_text: TakeText | None = None,
    ) -> Reply:
        """Ask a model once and block until it has answered.

        Args:
            prompt: the messages and limits. A constraint that the provider cannot enforce is left
                to the prompt's words and to the checks of the answer.
            model: id of the model, or of an inference profile.
            call_id: unique id of this call, which goes along as metadata.
            terms: how the call is made.
            on_text: gets the text of the answer in order, as it comes. It may get less than the
                whole text, and gets text of an answer that is cut off too.

        Raises:
            OutcomeUnknown: The call may have been billed.
            BilledFailure: `Refused` or `Malformed`: billed, but without a usable answer.
            PassingError: `Throttled` or `Unavailable`: not billed.
            AccountFault, ModelFault, ModelNotReady: No job can be answered: not billed.
            CallerError: `Misconfigured`, `TooLong` or `InvalidJob`: not billed.
            LastingError: The provider rejects the call for another reason: not billed.
        """
        ...


class OutcomeUnknown(Unavailable):
    """The call may have been answered and billed: its money stays reserved."""

    billed: Billed = "unknown"


class BilledFailure(LastingError):
    """The provider answered and bills `usage`, but the answer cannot be used.

    `usage` and `tier` are `None` if they cannot be used, as in a `Reply`; `stand_in` is as there.
    """

    billed: Billed = "yes"

    def __init__(
        self,
        message: str,
        usage: Usage | None,
        tier: Tier | None = "default",
        *,
        stand_in: bool = False,
    ) -> None:
        super().__init__(message)
        self.usage = usage
        self.tier = tier
        self.stand_in = stand_in


class Refused(BilledFailure, ModelRefused):
    """The model or a guardrail declined to answer."""


class Malformed(BilledFailure, BadAnswer):
    """The model stopped for a reason that leaves no readable text."""


class AccountFault(Misconfigured):
    """The provider rejects every call of this fleet, such as for its credentials: not billed."""


class ModelFault(Misconfigured):
    """The provider does not serve this model to this account: not billed."""


class ModelNotReady(Throttled):
    """The provider does not serve this model yet: not billed."""


def fault_of(error: Exception, model: str) -> str | None:
    """Return the scope of a fault that is no job's own: `*`, the model, or `None` if it is none."""
    if isinstance(error, AccountFault):
        return "*"
    return model if isinstance(error, ModelFault | ModelNotReady) else None


def billed(error: Exception) -> Billed:
    """Tell whether the call that ended with this error is billed.

    An error response is free, and so is a call that never reached the provider. An error that no
    provider should raise says nothing about the bill.
    """
    if isinstance(error, OutcomeUnknown | BilledFailure):
        return error.billed
    return "no" if isinstance(error, ForebayError) else "unknown"


def fleet_providers() -> list[str]:
    """Return the names that `FOREBAY_FRONTIER_PROVIDER` may have."""
    return sorted(PROVIDERS.keys() - {OF_ENDPOINTS})


def open_provider(
    settings: BedrockSettings, endpoint: tuple[str, Endpoint] | None = None
) -> Provider:
    """Open the provider that the settings name, or that of an endpoint of the policy.

    It connects on the first call.

    Raises:
        Misconfigured: `FOREBAY_FRONTIER_PROVIDER` names no provider of the table, or one whose
            client library is not installed.
    """
    name = OF_ENDPOINTS if endpoint else settings.frontier_provider
    if endpoint is None and name not in fleet_providers():
        known = ", ".join(fleet_providers())
        raise Misconfigured(f"must be one of: {known}", field="FOREBAY_FRONTIER_PROVIDER")
    module, _, class_name = PROVIDERS[name].partition(":")
    try:
        opener: Callable[..., Provider] = getattr(import_module(module), class_name)
    except ImportError as error:
        extra = "bedrock" if name == OF_ENDPOINTS else name
        raise Misconfigured(
            f"{name} needs {error.name}, which is not installed: install the extra `{extra}`",
            field="FOREBAY_FRONTIER_PROVIDER",
        ) from None
    return opener(settings, *endpoint) if endpoint else opener(settings)
