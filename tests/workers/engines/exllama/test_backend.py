"""Our calls of the two libraries, compared with their sources.

Importing the libraries takes a GPU and a compiler; reading their sources does not.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

import exllama
from forebay.workers.engines.exllama import (
    backend,
    exl2,
    exl2_backend,
    exl2_filter,
    exl3,
    exl3_backend,
)
from library_sources import source

DYNAMIC = "generator/dynamic.py"
V2, V3 = "exllamav2", "exllamav3"

#: (our file, the name that is called, their package, their file, their class)
CALLS = [
    (exl2_backend, "job", V2, DYNAMIC, "ExLlamaV2DynamicJob"),
    (exl2_backend, "settings", V2, "generator/sampler.py", "Settings"),
    (exl2, "ExLlamaV2DynamicGenerator", V2, DYNAMIC, "ExLlamaV2DynamicGenerator"),
    (exl3_backend, "job", V3, "generator/job.py", "Job"),
    (exl3_backend, "sampler", V3, "generator/sampler/presets.py", "ComboSampler"),
    (exl3, "Generator", V3, "generator/generator.py", "Generator"),
    (exl3, "Cache", V3, "cache/cache.py", "Cache"),
]


def tree(module):
    return ast.parse(Path(module.__file__).read_text("utf-8"))


@functools.cache
def nodes(package, path):
    """Return every node of a file of the library."""
    return list(ast.walk(ast.parse(source(package, path))))


def their(package, path, name):
    """Return a class of the library, anywhere in the file."""
    return next(
        node
        for node in nodes(package, path)
        if isinstance(node, ast.ClassDef) and node.name == name
    )


def arguments(node, method="__init__"):
    """Return the arguments of a method of a class, or the fields of a data class."""
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == method:
            return {argument.arg for argument in (*one.args.args, *one.args.kwonlyargs)}
    return {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}


def members(node):
    """Return the methods of a class, and the attributes that are assigned to `self`."""
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    return methods | {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == "self"
    }


def given(module, name):
    """Return the keywords of all calls of this name in a file of ours.

    If a call is given a dictionary, its keys count: the function must hold no other dictionary.
    """
    keywords = set()
    for function in ast.walk(tree(module)):
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == name
        ]
        keywords |= {word.arg for call in calls for word in call.keywords if word.arg}
        if any(word.arg is None for call in calls for word in call.keywords):
            keywords |= {
                key.value
                for node in ast.walk(function)
                if isinstance(node, ast.Dict)
                for key in node.keys
            }
    assert keywords
    return keywords


def reached(module, *names):
    """Return the attributes that are read or set on variables and attributes of these names."""
    return {
        node.attr
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute)
        and (getattr(node.value, "attr", None) in names or getattr(node.value, "id", None) in names)
    }


@pytest.mark.parametrize(
    ("module", "name", "package", "path", "kind"),
    CALLS,
    ids=lambda one: getattr(one, "__name__", one),
)
def test_every_argument_of_our_calls_exists(module, name, package, path, kind):
    takes = arguments(their(package, path, kind))
    if kind == "Cache":  # it passes unknown arguments on to its layers
        takes |= arguments(their(package, "cache/quant.py", "CacheLayer_quant"))
    assert given(module, name) <= takes


def test_every_member_of_the_generators_that_is_used_exists():
    used = reached(backend, "_generator", "generator") - {"tokenizer"}
    v2 = members(their(V2, DYNAMIC, "ExLlamaV2DynamicGenerator"))
    v3 = members(their(V3, "generator/generator.py", "Generator"))
    table = members(their(V3, "generator/pagetable.py", "PageTable"))
    assert used | reached(exl2_backend, "_generator", "generator") | {"warmup"} <= v2
    assert used | reached(exl3_backend, "_generator", "generator") <= v3 | {"tokenizer"}
    assert reached(exl3_backend, "pagetable") <= table
    for package in (V2, V3):
        tokenizer = "ExLlamaV2Tokenizer" if package == V2 else "Tokenizer"
        assert "actual_vocab_size" in members(their(package, "tokenizer/tokenizer.py", tokenizer))


def test_every_setting_of_the_configuration_exists():
    assigned = reached(exl2, "config")
    assert assigned == {"max_seq_len", "max_input_len", "max_dq_size"}
    assert assigned <= members(their(V2, "config.py", "ExLlamaV2Config"))


def test_every_class_that_is_named_is_exported():
    names = {"ExLlamaV2Config", "ExLlamaV2", "ExLlamaV2Tokenizer", *exl2._CACHES.values()}
    assert reached(exl2, "exllamav2") <= names
    exported = source(V2, "__init__.py") + source(V2, "generator/__init__.py")
    made = {"ExLlamaV2DynamicGenerator", "ExLlamaV2DynamicJob", "ExLlamaV2Sampler"}
    assert all(f"import {name}\n" in exported for name in names)
    assert all(name in exported for name in made)
    for name in exl2._CACHES.values():
        assert {"model", "max_seq_len"} <= arguments(their(V2, "cache.py", name))
    whole = source(V3, "__init__.py")
    wanted = reached(exl3, "exllamav3") - {"ComboSampler"}
    assert all(name in whole for name in wanted)


def test_a_model_is_loaded_by_methods_that_exist():
    made = {
        ("model/config.py", "Config"): "from_directory",
        ("model/model.py", "Model"): "from_config",
        ("tokenizer/tokenizer.py", "Tokenizer"): "from_config",
    }
    for (path, name), method in made.items():
        assert method in members(their(V3, path, name))
    assert "device" in arguments(their(V3, "model/model.py", "Model"), "load_gen")
    assert {"load"} <= members(their(V2, "model.py", "ExLlamaV2"))


@pytest.mark.parametrize(("package", "path"), [(V2, DYNAMIC), (V3, "generator/job.py")])
def test_every_key_of_a_result_that_is_read_is_written(package, path):
    read = {
        node.value
        for module in (backend, exl2_backend, exl3_backend)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
    }
    keys = {
        "identifier", "stage", "eos", "eos_reason", "eos_triggering_token_str", "held", "text",
        "token_ids", "token_probs", "logits", "new_tokens", "time_prefill", "time_generate",
        "streaming", "stop_token", "stop_string", "max_new_tokens",
    }  # fmt: skip
    written = {
        node.value
        for node in nodes(package, path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert keys <= read | {"max_new_tokens"}
    assert keys <= written


@pytest.mark.parametrize(
    ("ours", "package", "path", "name"),
    [
        (exl2_filter.LogitsFilter, V2, "generator/filters/base.py", "ExLlamaV2Filter"),
        (exl3_backend.LogitsFilter, V3, "generator/filter/filter.py", "Filter"),
    ],
)
def test_our_filters_override_only_methods_that_exist(ours, package, path, name):
    theirs = their(package, path, name)
    methods = {name for name, one in vars(ours).items() if callable(one)} - {"take_logprobs"}
    assert methods <= members(theirs)
    raising = {
        one.name
        for one in theirs.body
        if isinstance(one, ast.FunctionDef) and "NotImplementedError" in ast.unparse(one)
    }
    assert raising - methods <= {"next"}  # used without masks alone


@pytest.mark.parametrize(
    ("script", "package", "path", "name"),
    [
        (exllama.Exl2Job, V2, DYNAMIC, "ExLlamaV2DynamicJob"),
        (exllama.Exl2Settings, V2, "generator/sampler.py", "Settings"),
        (exllama.Exl3Job, V3, "generator/job.py", "Job"),
        (exllama.Exl3Sampler, V3, "generator/sampler/presets.py", "ComboSampler"),
    ],
)
def test_the_scripted_library_takes_the_arguments_of_the_real_one(script, package, path, name):
    code = script.__init__.__code__
    names = set(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
    assert names <= arguments(their(package, path, name))
