"""From an error response to our error: whose fault it is, and which part of the way it shuts."""

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError, ConfigParseError, ProfileNotFound

from forebay.routing.errors import InvalidJob, LastingError, Throttled, TooLong
from forebay.workers.frontier.bedrock.converse_errors import (
    from_response,
    from_setup,
    without_response,
)
from forebay.workers.frontier.provider import (
    AccountFault,
    ModelFault,
    ModelNotReady,
    OutcomeUnknown,
    billed,
    fault_of,
)

MODEL = "anthropic.claude-haiku-5-5"


def error_for(code, message="", status=400, operation="Converse"):
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    return from_response(ClientError(response, operation), MODEL)


@pytest.mark.parametrize(
    ("code", "message", "status", "error_class"),
    [
        ("ValidationException", "Operation not allowed", 400, AccountFault),
        (
            "ValidationException",
            "Access to Bedrock models is not allowed for this account.",
            400,
            AccountFault,
        ),
        (
            "ValidationException",
            "Your account is currently blocked from using Bedrock",
            400,
            AccountFault,
        ),
        (
            "ValidationException",
            "This model version has reached the end of its life.",
            400,
            ModelFault,
        ),
        ("ValidationException", "The provided inference profile does not exist", 400, ModelFault),
        ("PaymentRequiredException", "", 402, AccountFault),
        ("ExpiredTokenException", "", 403, AccountFault),
        ("UnrecognizedClientException", "", 403, AccountFault),
        ("InvalidSignatureException", "Signature expired", 403, AccountFault),
        ("NotAuthorizedOfSomeNewKind", "", 403, AccountFault),
        ("AccessDeniedException", "Your account is not authorized to do this.", 403, AccountFault),
        ("AccessDeniedException", "Authentication failed: check your API Key.", 403, AccountFault),
        (
            "AccessDeniedException",
            "Access to Anthropic models is not allowed from unsupported countries.",
            400,
            AccountFault,
        ),
        ("AccessDeniedException", "", 403, ModelFault),
        ("AccessDeniedException", "You don't have access to the model.", 403, ModelFault),
        (
            "ResourceNotFoundException",
            "This Model is marked by provider as Legacy",
            404,
            ModelFault,
        ),
        ("ValidationException", "The provided model identifier is invalid.", 400, ModelFault),
        (
            "ValidationException",
            "Invocation of model ID m with on-demand throughput isn\u2019t supported.",
            400,
            ModelFault,
        ),
        ("ModelNotReadyException", "", 429, ModelNotReady),
        *(
            (code, "", 400, AccountFault)
            for code in (
                "TokenRefreshRequired", "InvalidToken", "AuthorizationHeaderMalformed",
                "RequestExpired",
                "IncompleteSignature", "NotAuthorized", "RequestTimeTooSkewed", "AccountProblem",
                "PendingVerification", "RegionDisabledException", "KMSAccessDeniedException",
            )
        ),
        *(("", "", status, AccountFault) for status in (301, 308, 404, 405, 407)),
        ("UnknownOperationException", "", 404, AccountFault),
        ("ThrottlingException", "Your account is not authorized to invoke this", 429, AccountFault),
        (
            "ValidationException",
            "Access to Anthropic models is not allowed from unsupported countries.",
            400,
            AccountFault,
        ),
        ("ValidationException", "Account 1 is not authorized to use this", 400, AccountFault),
        ("ValidationException", "The model ID is not supported in this Region", 400, ModelFault),
        (
            "ValidationException",
            "Access to this model is not available for channel program accounts.",
            400,
            ModelFault,
        ),
        (
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account.",
            404,
            ModelFault,
        ),
    ],
)  # fmt: skip
def test_a_fault_that_is_no_jobs_own_has_its_scope(code, message, status, error_class):
    error = error_for(code, message, status)
    assert type(error) is error_class
    assert fault_of(error, MODEL) == ("*" if error_class is AccountFault else MODEL)
    assert billed(error) == "no"


@pytest.mark.parametrize(
    ("code", "message", "status", "error_class", "field"),
    [
        ("ValidationException", "Schemas contains too many parameters with union types (limit: 16)",
         400, InvalidJob, "schema"),
        ("ValidationException", "The compiled grammar is too large", 400, InvalidJob, "schema"),
        ("ValidationException", "Enum value 'low' does not match declared type", 400, InvalidJob,
         "schema"),
        ("ValidationException", "stop_sequences: each stop sequence must contain non-whitespace",
         400, InvalidJob, "stop"),
        ("ValidationException", "schema: property 'Operation not allowed' of account", 400,
         InvalidJob, "schema"),
        ("ValidationException", "schema.x: this model is at the end of its life; your account", 400,
         InvalidJob, "schema"),
        ("ValidationException", "Input is too long for requested model.", 400, TooLong, None),
        ("ThrottlingException", "", 429, Throttled, None),
        ("ThrottlingException", "Too many tokens per day", 429, Throttled, None),
        ("RequestEntityTooLargeException", "", 413, LastingError, None),
        ("ValidationException", "The model: schema 'region' is not supported, nor is 'account'",
         400, InvalidJob, "schema"),
        ("403", "Forbidden", 403, LastingError, None),
        ("", "", 403, LastingError, None),
    ],
)  # fmt: skip
def test_a_fault_of_a_job_shuts_nothing(code, message, status, error_class, field):
    error = error_for(code, message, status)
    assert (type(error), error.field) == (error_class, field)
    assert fault_of(error, MODEL) is None


@pytest.mark.parametrize("status", [0, 502, 504, 599])
def test_a_response_that_is_not_bedrocks_own_has_an_unknown_bill(status):
    assert billed(error_for("", "", status)) == "unknown"


def test_an_error_of_the_service_that_lends_the_keys_is_a_fault_of_the_account():
    error = error_for("AccessDenied", "not authorized to assume", 403, operation="AssumeRole")
    assert fault_of(error, MODEL) == "*"
    assert billed(error) == "no"


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (ProfileNotFound(profile="x"), "AWS_PROFILE"),
        (ConfigParseError(path="/home/me/.aws/config"), "AWS"),
        (ValueError("Invalid endpoint: hunter2"), "FOREBAY_BEDROCK_ENDPOINT"),
        (RuntimeError("hunter2"), "AWS"),
    ],
)
def test_a_client_that_cannot_be_made_is_a_fault_of_the_account(error, field):
    ours = from_setup(error, MODEL)
    assert (type(ours), ours.field, billed(ours)) == (AccountFault, field, "no")
    assert "hunter2" not in str(ours)


UNSENT = [
    boto.LoginRefreshRequired(), boto.RefreshWithMFAUnsupportedError(),
    boto.UnknownCredentialError(name="x"), boto.InvalidConfigError(error_msg="hunter2"),
    boto.InfiniteLoopConfigError(source_profile="x", visited_profiles=[]),
    boto.MissingDependencyException(msg="hunter2"),
    boto.EndpointProviderError(msg="hunter2"), boto.InvalidProxiesConfigError(),
    boto.SSLError(endpoint_url="x", error="[SSL: CERTIFICATE_VERIFY_FAILED] unable to get issuer"),
    boto.SSLError(endpoint_url="x", error="[SSL: WRONG_VERSION_NUMBER] wrong version number"),
]  # fmt: skip


@pytest.mark.parametrize("error", UNSENT, ids=lambda error: type(error).__name__)
def test_a_call_that_could_not_be_sent_is_a_fault_of_the_account(error):
    ours = without_response(error, MODEL)
    assert (type(ours), billed(ours)) == (AccountFault, "no")
    assert "hunter2" not in str(ours)


@pytest.mark.parametrize(
    "error",
    [boto.ReadTimeoutError(endpoint_url="x"), boto.ConnectionClosedError(endpoint_url="x"),
     boto.SSLError(endpoint_url="x", error="EOF occurred in violation of protocol")],
)  # fmt: skip
def test_a_call_that_may_have_been_sent_has_an_unknown_bill(error):
    assert billed(without_response(error, MODEL)) == "unknown"


def test_an_error_after_the_request_was_sent_has_an_unknown_bill():
    assert isinstance(without_response(ValueError("x"), MODEL), OutcomeUnknown)
