"""The job that a request for decisions stands for, in either format."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.producers.gateway.asking.model_names import Target
from forebay.producers.gateway.asking.options import NOTHING
from forebay.producers.gateway.asking.terms import terms
from forebay.producers.gateway.decisions.openai_request import DecisionRequest
from forebay.producers.gateway.decisions.systemone_request import SystemOneRequest
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Decide, Job


def decision_job(
    body: DecisionRequest | SystemOneRequest,
    wanted: Target,
    headers: Mapping[str, str],
    tenant: str,
) -> Job:
    """Return the job of a request.

    Raises:
        InvalidRequest: The model's name asks for another kind, or a header is wrong.
        InvalidJob: Names the wrong field as the format names it.
    """
    options = terms("decide", wanted, body.forebay or NOTHING, headers)
    try:
        decide = Decide.model_validate(body.decide())
    except InvalidJob as error:
        if error.field:
            error.field = ".".join(body.path(error.field.split(".")))
        raise
    return Job.model_validate({"tenant": tenant, "request": decide, **options})
