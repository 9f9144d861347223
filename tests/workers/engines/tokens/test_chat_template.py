"""Chat templates as models bring them: what they render, refuse, and must not do."""

from __future__ import annotations

import json

import pytest

from forebay.routing.errors import InvalidJob, Misconfigured
from forebay.workers.engines.engine import Turn
from forebay.workers.engines.tokens.chat_template import ChatTemplate
from tinymodel import CHATML

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SYSTEM = Turn(role="system", content="Be brief.")
USER = Turn(role="user", content="Why?")
ASSISTANT = Turn(role="assistant", content="So.")

#: Refuses system turns and turns that do not alternate.
STRICT = """{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}{{ raise_exception('No system') }}{% endif %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate: ' + message['content']) }}
    {%- endif %}
    {%- if message['role'] == 'user' %}[INST] {{ message['content'] | trim }} [/INST]
    {%- else %} {{ message['content'] }}{{ eos_token }}{% endif %}
{%- endfor %}"""

#: Silently drops system turns.
DROPS = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def test_turns_become_the_models_own_form():
    text = ChatTemplate(CHATML, TOKENS).render([SYSTEM, USER])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("source", [STRICT, DROPS])
def test_the_content_of_a_system_turn_is_never_lost(source):
    text = ChatTemplate(source, TOKENS).render([SYSTEM, USER, ASSISTANT, USER])
    assert "Be brief.\n\nWhy?" in text
    assert text.count("Be brief.") == 1


def test_a_system_turn_at_the_end_is_rendered_too():
    assert "Be brief." in ChatTemplate(DROPS, TOKENS).render([USER, ASSISTANT, SYSTEM])


def test_turns_that_a_template_refuses_are_an_error_that_does_not_quote_them():
    with pytest.raises(InvalidJob) as caught:
        ChatTemplate(STRICT, TOKENS).render([ASSISTANT, USER])
    assert caught.value.field == "messages"
    assert not [text for text in ("Why?", "So.") if text in str(caught.value)]
    assert caught.value.__cause__ is None


def test_a_template_can_use_the_functions_that_models_templates_use():
    source = (
        "{{ strftime_now('%Y') }} {{ messages | map(attribute='content') | list | tojson }}"
        "{% for m in messages %}{{ m.content }}{% if loop.last %}{% break %}{% endif %}{% endfor %}"
    )
    text = ChatTemplate(source, TOKENS).render([Turn(role="user", content="<é>")])
    assert text[:2] == "20"
    assert '["<é>"]' in text


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages }",  # no Jinja
        "{{ unknown_filter | nothing }}",
        "always the same",
        "{% for m in messages %}{{ m.role }}{% endfor %}",
        "{{ raise_exception('no') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages[0].content }}",
        "{{ messages.append(1) }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ cycler.__init__.__globals__.os.system('true') }}{{ messages[0].content }}",
        "{% for i in range(10 ** 9) %}{{ i }}{% endfor %}{{ messages[0].content }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_fails_or_breaks_out_of_the_sandbox_is_an_error_at_the_start(source):
    with pytest.raises(Misconfigured) as caught:
        ChatTemplate(source, TOKENS)
    assert caught.value.field == "FOREBAY_MODEL_DIR"


def named(*names):
    return [{"name": name, "template": f"{name} {CHATML}"} for name in names]


@pytest.mark.parametrize(
    ("files", "start"),
    [
        ({"tokenizer_config.json": {"chat_template": CHATML}}, "<|im_start|>"),
        ({"tokenizer_config.json": {"chat_template": named("tool_use", "default")}}, "default"),
        (
            {
                "tokenizer_config.json": {"chat_template": f"last {CHATML}"},
                "chat_template.json": {"chat_template": f"third {CHATML}"},
            },
            "third",
        ),
        (
            {
                "chat_template.json": {"chat_template": f"third {CHATML}"},
                "chat_template.jinja": f"second {CHATML}",
            },
            "second",
        ),
        (
            {
                "chat_template.jinja": f"second {CHATML}",
                "tabby_template.jinja": f"first {CHATML}",
            },
            "first",
        ),
    ],
)
def test_the_files_of_a_folder_are_searched_in_one_order(tmp_path, files, start):
    for name, content in files.items():
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert ChatTemplate.of(tmp_path, TOKENS).render([USER]).startswith(start)


@pytest.mark.parametrize(
    "config", ["", "{", "[]", '{"chat_template": 1}', '{"chat_template": [{"name": "x"}]}']
)
def test_a_folder_without_a_template_is_told_where_to_put_one(tmp_path, config):
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(Misconfigured):
        ChatTemplate.of(tmp_path, TOKENS)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(Misconfigured, match=r"chat_template\.jinja"):
        ChatTemplate.of(tmp_path, TOKENS)


def test_an_answer_continues_the_assistants_last_message():
    text = ChatTemplate(CHATML, TOKENS).render([USER, ASSISTANT])
    assert text == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo."
    folded = ChatTemplate(STRICT, TOKENS).render([SYSTEM, USER, ASSISTANT])
    assert folded == "<s>[INST] Be brief.\n\nWhy? [/INST]So."


def test_a_system_turn_at_the_end_joins_the_users_turn_if_the_template_takes_none():
    text = ChatTemplate(STRICT, TOKENS).render([USER, SYSTEM])
    assert text == "<s>[INST] Why?\n\nBe brief. [/INST]"


def test_turns_of_one_role_are_one_turn_if_the_template_wants_them_to_alternate():
    text = ChatTemplate(STRICT, TOKENS).render([USER, USER])
    assert text == "<s>[INST] Why?\n\nWhy? [/INST]"
    assert ChatTemplate(CHATML, TOKENS).render([USER, USER]).count("<|im_start|>user") == 2
