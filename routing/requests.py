"""The six kinds of requests, each marked with the content that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar, cast, overload

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PrivateAttr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)  # fmt: skip

from forebay.routing.base import (
    MAX_TEXT,
    FrozenModel,
    Short,
    Text,
    explain,
    is_none,
    shows_text,
    tagged_by,
)
from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.json_schemas import JsonSchema, ObjectSchema, RegexPattern
from forebay.routing.questions.decisions import Decisions
from forebay.routing.questions.labels import AS_TUPLE, Label, LabelOrName, as_labels, distinct
from forebay.routing.questions.questions import MAX_QUESTIONS, Question, checked_questions
from forebay.routing.questions.state import State, state_text
from forebay.routing.receipts import (
    Answerable,
    Classification,
    DataT_co,
    Embedding,
    Extraction,
    Generation,
    Summary,
)

ModelT = TypeVar("ModelT", bound=BaseModel)


class Classify(Answerable[Classification]):
    """Which of these labels does the text bear? Answered by a `Classification`.

    Attributes:
        text: the text to label.
        labels: 2 to 100 labels, each a name or a `Label`.
    """

    kind: Literal["classify"] = "classify"
    text: Annotated[Text, Field(repr=False)]
    labels: Annotated[
        Sequence[LabelOrName],
        Field(min_length=2, max_length=100, repr=False),
        AfterValidator(distinct),
    ]

    @property
    def options(self) -> tuple[Label, ...]:
        """The labels, with each bare name made a `Label`."""
        return as_labels(tuple(self.labels))


class Extract(Answerable[Extraction[DataT_co]], Generic[DataT_co]):
    """Fill this schema from the text. Answered by an `Extraction` whose `data` validates.

    Given a pydantic model class as `schema`, the request travels with the model's JSON Schema, and
    `client.run` gives an instance of the model back: `answer.content.data`. A request that was read
    from JSON no longer knows the class, and its answer holds a dictionary.

    Attributes:
        text: the text to read.
        schema_: the JSON Schema (draft 2020-12) of an object; given as `schema`.
    """

    kind: Literal["extract"] = "extract"
    text: Annotated[Text, Field(repr=False)]
    schema_: ObjectSchema = Field(alias="schema", repr=False)

    _answer_model: type[BaseModel] | None = PrivateAttr(default=None)

    if TYPE_CHECKING:

        @overload
        def __init__(self: Extract[ModelT], *, text: str, schema: type[ModelT]) -> None: ...
        @overload
        def __init__(
            self: Extract[dict[str, Any]], *, text: str, schema: dict[str, Any]
        ) -> None: ...
        def __init__(self, *, text: str, schema: Any) -> None: ...

    def __eq__(self, other: object) -> bool:
        """Compare what travels: the model class does not."""
        if not isinstance(other, Extract):
            return NotImplemented
        return self.text == other.text and self.schema_ == other.schema_

    def __hash__(self) -> int:
        return hash((self.kind, self.text))

    @property
    def answer_model(self) -> type[BaseModel] | None:
        """The model class that was given as the schema; `None` if a dictionary was."""
        return self._answer_model

    @model_validator(mode="wrap")
    @classmethod
    def _with_model(cls, data: Any, handler: Any) -> Self:
        """Replace a model class by its JSON Schema, and remember the class."""
        given = data.get("schema", data.get("schema_")) if isinstance(data, dict) else None
        if not isinstance(given, type):
            return cast("Self", handler(data))
        rest = {key: value for key, value in data.items() if key not in {"schema", "schema_"}}
        request = cast("Self", handler({**rest, "schema": _schema_of(given)}))
        request._answer_model = given  # noqa: SLF001 - an attribute of this class
        return request


def _schema_of(model: type) -> dict[str, Any]:
    """Return the JSON Schema of a model; the root of a recursive model is written out."""
    if not issubclass(model, BaseModel):
        raise InvalidJob("must be a JSON Schema or a pydantic model class", field="schema")
    try:
        schema = model.model_json_schema()
    except Exception:  # noqa: BLE001 - the model's own code may raise anything
        raise InvalidJob("must be a model whose fields JSON can hold", field="schema") from None
    root = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"][root], "$defs": schema["$defs"]} if root else schema


class Summarize(Answerable[Summary]):
    """Say the text in at most `max_words` words. Answered by a `Summary`.

    Attributes:
        text: the text to summarize.
        max_words: the limit of the summary, 5 to 2,000 words.
        focus: what the summary is to dwell on; at most 500 characters.
    """

    kind: Literal["summarize"] = "summarize"
    text: Annotated[Text, Field(repr=False)]
    max_words: Annotated[int, Field(ge=5, le=2_000)] = 60
    focus: Annotated[str, StringConstraints(max_length=500), Field(repr=False)] = ""


MAX_STOPS = 64  # strings that end a generated text


class Message(FrozenModel):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[Text, Field(repr=False)]


class Generate(Answerable[Generation]):
    """Chat messages in, text out. Answered by a `Generation`.

    Attributes:
        messages: 1 to 200 turns. If the last one is the assistant's, the answer continues it. A
            schema or a regex then holds for that message and the answer together.
        max_tokens: the limit of the answer, in tokens of the model.
        temperature: 0 gives the most probable text, more gives more variety.
        top_p: sample from the most probable tokens that together have this probability.
        stop: up to 64 strings that end the text.
        seed: makes sampling repeatable on one engine.
        schema_: a JSON Schema that the text must validate against; given as `schema`. Not a
            pydantic model class, because the answer is text; `Extract` takes a class.
        regex: a regular expression that the whole text must match; not together with a schema.
        logprobs: return the probability of each token, and of so many of the most probable tokens
            at its place. Such a job stays local; an engine that knows no probabilities refuses it.
    """

    kind: Literal["generate"] = "generate"
    messages: Annotated[
        Sequence[Message], AS_TUPLE, Field(min_length=1, max_length=200, repr=False)
    ]
    max_tokens: Annotated[int, Field(ge=1, le=16_384)] = 512
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    stop: Annotated[Sequence[Short], AS_TUPLE, Field(max_length=MAX_STOPS, repr=False)] = ()
    seed: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    schema_: JsonSchema | None = Field(default=None, alias="schema", repr=False)
    regex: Annotated[RegexPattern | None, Field(repr=False)] = None
    logprobs: Annotated[int | None, Field(ge=0, le=20, exclude_if=is_none)] = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.schema_ is not None and self.regex is not None:
            raise InvalidJob("cannot be combined with schema", field="regex")
        if all(message.role == "assistant" for message in self.messages):
            raise InvalidJob("must have a message of the user or the system", field="messages")
        if not shows_text(self.messages[-1].content):
            raise InvalidJob("the last message must not be blank", field="messages")
        if sum(len(message.content) for message in self.messages) > MAX_TEXT:
            raise TooLong(f"must have at most {MAX_TEXT} characters in all", field="messages")
        return self

    @property
    def prefill(self) -> str | None:
        """The assistant's last message, if the answer continues it."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else None

    @property
    def asked(self) -> str:
        """The last message that is not the assistant's."""
        return next(one.content for one in reversed(self.messages) if one.role != "assistant")

    def whole(self, text: str) -> str:
        """Return an answer after the message that it continues, if it continues one."""
        return (self.prefill or "") + text

    def trimmed(self, text: str) -> str:
        """Return an answer without white space at its ends; white space may follow a prefill."""
        follows_word = self.prefill is not None and not self.prefill[-1].isspace()
        return text.rstrip() if follows_word else text.strip()


class Embed(Answerable[Embedding]):
    """Turn texts into vectors. Answered by an `Embedding`, always in the local lane.

    Attributes:
        texts: 1 to 256 texts of at most 32,000 characters each.
    """

    kind: Literal["embed"] = "embed"
    texts: Annotated[
        Sequence[Annotated[str, StringConstraints(min_length=1, max_length=32_000)]],
        AS_TUPLE,
        Field(min_length=1, max_length=256, repr=False),
    ]


class Decide(Answerable[Decisions]):
    """Answer typed questions about a text or a state, with probabilities. Answered by `Decisions`.

    Attributes:
        state: a text, or an object or list of JSON, which all questions are about.
        questions: 1 to 128 questions: `Predicate`, `Choice` or `Score`, with 1,024 options in all.
    """

    kind: Literal["decide"] = "decide"
    state: Annotated[State, Field(repr=False)]
    questions: Annotated[
        Sequence[Question], AS_TUPLE, Field(min_length=1, max_length=MAX_QUESTIONS, repr=False)
    ]

    def __hash__(self) -> int:
        return hash((self.kind, self.state_text))

    @property
    def state_text(self) -> str:
        """The state as a model reads it: a text as it is, anything else as JSON."""
        return state_text(self.state)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        checked_questions(self.questions)
        return self


if TYPE_CHECKING:
    AnyExtract = Extract[Any]
else:
    AnyExtract = Extract

AnyRequest = Classify | AnyExtract | Summarize | Generate | Embed | Decide
Request = Annotated[AnyRequest, Field(discriminator="kind"), tagged_by("kind")]

_REQUEST: TypeAdapter[AnyRequest] = TypeAdapter(Request)


def parse_request(data: Any) -> AnyRequest:
    """Read a request from JSON data.

    Raises:
        InvalidJob: Names the wrong field.
    """
    try:
        return _REQUEST.validate_python(data)
    except ValidationError as error:
        raise explain(error) from None
