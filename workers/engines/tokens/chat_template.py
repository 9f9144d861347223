"""A model's own chat template: it renders turns as the text that the model was trained on.

Templates are programs that come with weights, so they run in a sandbox and are tried when the
engine opens: a template that is missing, broken or drops turns is an error then, not in every job.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Never

from forebay.routing.errors import InvalidJob, Misconfigured, Unavailable
from forebay.workers.engines.engine import Turn
from forebay.workers.engines.tokens.tokenizer import text_of

_FIELD = "FOREBAY_MODEL_DIR"
#: Files of templates; the first that exists is taken. The first name is that of a correction, which
#: owners of EXL2 folders lay beside a template that does not work.
_FILES = ("tabby_template.jinja", "chat_template.jinja")
_CONFIGS = ("chat_template.json", "tokenizer_config.json")
_TRIAL = (
    Turn(role="user", content="trial-1"),
    Turn(role="assistant", content="trial-2"),
    Turn(role="user", content="trial-3"),
)
_SYSTEM = Turn(role="system", content="trial-0")


class ChatTemplate:
    """Renders turns as one prompt, which ends where the model's answer begins.

    Some templates refuse system turns, or silently drop them; then the content of system turns is
    put in front of the next user turn. If one wants user and assistant to alternate, turns of one
    role in a row are one turn.

    Args:
        source: the Jinja text.
        tokens: `bos_token`, `eos_token` and others by name, for the template's use.

    Raises:
        Unavailable: Jinja is not installed.
        Misconfigured: The template cannot be read, or does not render a plain conversation.
    """

    def __init__(self, source: str, tokens: dict[str, str]) -> None:
        self._template = _compile(source)
        self._tokens = tokens
        if not self._shows(_TRIAL[:1]) or not self._shows(_TRIAL):
            raise Misconfigured("its chat template does not render a conversation", field=_FIELD)
        self._folds_system = not self._shows((_SYSTEM, *_TRIAL))
        self._joins = not self._shows((_TRIAL[0], _TRIAL[2]))

    @classmethod
    def of(cls, folder: Path, tokens: dict[str, str]) -> ChatTemplate:
        """Return the template of a model's folder.

        Raises:
            Misconfigured: The folder has no template, or it does not work.
        """
        source = _source(folder)
        if source is None:
            raise Misconfigured(
                f"has no chat template: put one into {folder.name}/chat_template.jinja",
                field=_FIELD,
            )
        return cls(source, tokens)

    def render(self, turns: Sequence[Turn]) -> str:
        """Return the prompt. The answer continues the last turn if it is the assistant's.

        Raises:
            InvalidJob: The template refuses these turns; some want user and assistant to alternate.
        """
        try:
            *before, last = _in_turn(turns, folds_system=self._folds_system, joins=self._joins)
            if before and last.role == "assistant":
                return self._render(before) + last.content
            return self._render([*before, last])
        except Exception:  # noqa: BLE001 - a template may raise anything, and may quote a turn
            raise InvalidJob("is refused by the model's chat template", field="messages") from None

    def _render(self, turns: Sequence[Turn]) -> str:
        return str(
            self._template.render(
                messages=[{"role": turn.role, "content": turn.content} for turn in turns],
                add_generation_prompt=True,
                enable_thinking=False,  # a job's tokens are for its answer
                tools=None,
                **self._tokens,
            )
        )

    def _shows(self, turns: Sequence[Turn]) -> bool:
        """Return whether the prompt holds the content of every turn."""
        try:
            text = self._render(turns)
        except Exception:  # noqa: BLE001 - see `render`
            return False
        return all(turn.content in text for turn in turns)


def _compile(source: str) -> Any:
    """Return the Jinja template in a sandbox, with the functions that models' templates use."""
    try:
        from jinja2 import TemplateError  # noqa: PLC0415 - only where an engine renders templates
        from jinja2.ext import loopcontrols  # noqa: PLC0415 - see above
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - see above
    except ImportError:
        raise Unavailable("chat templates need Jinja: `pip install jinja2`") from None

    def raise_exception(message: str) -> Never:
        raise TemplateError(message)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    sandbox.filters["tojson"] = _tojson
    sandbox.globals |= {"raise_exception": raise_exception, "strftime_now": _strftime_now}
    try:
        return sandbox.from_string(source)
    except TemplateError as error:
        name = type(error).__name__
        raise Misconfigured(f"its chat template is not Jinja ({name})", field=_FIELD) from None


def _tojson(value: Any, indent: int | None = None) -> str:
    """Return plain JSON; Jinja's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _strftime_now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)


def _source(folder: Path) -> str | None:
    """Return the text of the folder's first template, or `None` if there is none."""
    for name in _FILES:
        if (folder / name).is_file():
            return text_of(folder / name)
    for name in _CONFIGS:
        template = _template_in_config(folder / name)
        if template is not None:
            return template
    return None


def _template_in_config(path: Path) -> str | None:
    """Return the template in a JSON file: a text, or the `default` of several by name."""
    if not path.is_file():
        return None
    try:
        template = json.loads(text_of(path)).get("chat_template")
        if isinstance(template, list):
            template = {item["name"]: item["template"] for item in template}.get("default")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise Misconfigured(
            f"its {path.name} must hold a chat template, or several by name", field=_FIELD
        ) from None
    return template if isinstance(template, str) else None


def _in_turn(turns: Sequence[Turn], *, folds_system: bool, joins: bool) -> Sequence[Turn]:
    turns = _fold_system(turns) if folds_system else turns
    if not joins:
        return turns
    return [
        Turn(role=role, content="\n\n".join(turn.content for turn in row))
        for role, row in groupby(turns, key=lambda turn: turn.role)
    ]


def _fold_system(turns: Sequence[Turn]) -> list[Turn]:
    """Put the content of system turns in front of the user turn that follows."""
    system: list[str] = []
    folded: list[Turn] = []
    for turn in turns:
        if turn.role == "system":
            system.append(turn.content)
        elif turn.role == "user":
            content = "\n\n".join([*system, turn.content])
            folded.append(turn.model_copy(update={"content": content}))
            system = []
        else:
            folded.append(turn)
    if system and folded and folded[-1].role == "user":
        system.insert(0, folded.pop().content)
    return [*folded, Turn(role="user", content="\n\n".join(system))] if system else folded
