"""Fields of config.json that change what a model computes are read by the engine, or refused."""

import json

import pytest

from forebay.routing.errors import Misconfigured
from forebay.workers.engines.weights import computation, exl3_architecture
from forebay.workers.engines.weights.model_shape import dimensions, read_shape
from library_sources import source

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 4, "hidden_size": 256,
    "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32,
    "vocab_size": 1_000, "max_position_embeddings": 131_072,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
LENGTH = "original_max_position_embeddings"
LONGROPE = {"rope_type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8_192,
}  # fmt: skip


@pytest.fixture
def shape(tmp_path):
    """Return the shape of a Llama whose config.json has these fields as well."""

    def read(engine="exl2", **fields):
        (tmp_path / "config.json").write_text(json.dumps(LLAMA | fields))
        return dimensions(tmp_path, engine)

    return read


# --- rotary positions ------------------------------------------------------------------------


def test_rope_parameters_are_refused_for_exllamav2_with_the_fields_to_write(shape):
    parameters = {"rope_theta": 1_000_000.0, **LLAMA3}
    with pytest.raises(Misconfigured, match="rope_parameters: exllamav2 does not") as caught:
        shape(rope_parameters=parameters)
    fields = json.loads("{" + caught.value.message.partition("fields: ")[2] + "}")
    assert fields == {"rope_theta": 1_000_000.0, "rope_scaling": LLAMA3}
    assert shape(rope_parameters=parameters, **fields).max_context == 131_072
    assert shape("exl3", rope_parameters=parameters).max_context == 131_072


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "default", "rope_theta": 500_000.0},
        {"rope_theta": 500_000.0},
        {"rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
        LLAMA3,
        {"rope_type": "linear", "factor": 2.0},
    ],
)
def test_any_rope_parameters_alone_are_refused_for_exllamav2(shape, parameters):
    with pytest.raises(Misconfigured, match="rope_parameters"):
        shape(rope_parameters=parameters)
    assert shape("exl3", rope_parameters=parameters)


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
@pytest.mark.parametrize(
    "fields",
    [
        {"rope_theta": 10_000.0},
        {"rope_theta": 1_000_000.0, "rope_scaling": LLAMA3},
        {"rope_theta": 1_000_000.0, "partial_rotary_factor": 0.25, "rope_scaling": YARN},
    ],
)
def test_rope_parameters_that_contradict_the_earlier_fields_are_refused(shape, engine, fields):
    parameters = {"rope_theta": 1_000_000.0, "partial_rotary_factor": 0.5, **YARN}
    with pytest.raises(Misconfigured, match="rope_parameters"):
        shape(engine, rope_parameters=parameters, **fields)


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
def test_rope_parameters_by_kind_of_layer_are_refused(shape, engine):
    parameters = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    with pytest.raises(Misconfigured, match="rope_parameters differs by kind of layer"):
        shape(engine, rope_parameters=parameters)


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
@pytest.mark.parametrize(
    "scaling",
    [None, {}, LLAMA3, {"type": "linear", "factor": 2.0}, {"rope_type": "default"},
     {"type": "mrope", "mrope_section": [16, 24, 24]}],
)  # fmt: skip
def test_a_scaling_that_the_library_computes_is_accepted(shape, engine, scaling):
    assert shape(engine, rope_theta=1e6, rope_scaling=scaling).max_context == 131_072


def test_exllamav2_computes_two_kinds_by_the_context_that_the_worker_sets():
    """If a later version does not, these kinds can be accepted again."""
    text = source("exllamav2", "rope.py")
    assert "yarn_max_position_embeddings = cfg.max_seq_len\n" in text
    assert "if cfg.max_seq_len > cfg.yarn_rope_original_max_position_embeddings:" in text
    assert "a = cfg.max_seq_len\n" in text


@pytest.mark.parametrize(
    ("engine", "scaling"),
    [("exl2", {**YARN, "factor": 1.0}), ("exl3", YARN), ("exl3", LONGROPE),
     ("exl3", {"rope_type": "yarn", "factor": 4.0})],
)  # fmt: skip
def test_a_scaling_that_one_library_computes_is_accepted_for_it(shape, engine, scaling):
    assert shape(engine, rope_theta=1e6, rope_scaling=scaling).max_context == 131_072


@pytest.mark.parametrize(
    ("engine", "scaling", "named"),
    [
        ("exl2", {"type": "dynamic", "factor": 2.0}, "'dynamic'.*set it to null"),
        ("exl3", {"rope_type": "ntk", "factor": 2.0}, "'ntk'"),
        ("exl2", {"rope_type": "proportional", "factor": 2.0}, "'proportional'"),
        ("exl2", {"rope_type": "yarn", "factor": 2.0}, "original_max_position_embeddings"),
        ("exl3", {"rope_type": "linear"}, "factor"),
        ("exl2", YARN, "kind yarn: exllamav2 scales only if .* EXL3 .* set it to null"),
        ("exl2", {"type": "yarn", "factor": 4.0, LENGTH: 32_768}, "kind yarn: exllamav2"),
        ("exl2", {**YARN, "factor": 1, "beta_fast": 16}, "rope_scaling.beta_fast"),
        ("exl2", {**YARN, "factor": 1, "attention_factor": 1.2}, "rope_scaling.attention_factor"),
        ("exl2", LONGROPE, "kind longrope: exllamav2 scales attention by the worker's context"),
        ("exl2", {**LONGROPE, "rope_type": "su"}, "kind su: exllamav2"),
        ("exl3", {**YARN, "factor": 2.0}, "factor is 2, but exllamav3 .* = 4: set .* to 65536"),
        ("exl2", {**YARN, "type": "yarn"}, "both type and rope_type"),
        ("exl2", {**LLAMA3, "some_new_factor": 2.0}, "rope_scaling.some_new_factor"),
        ("exl2", "yarn", "rope_scaling must be an object"),
    ],
)
def test_a_scaling_that_the_library_does_not_compute_is_refused(shape, engine, scaling, named):
    with pytest.raises(Misconfigured, match=named):
        shape(engine, rope_scaling=scaling)


def test_a_base_of_sliding_layers_that_no_library_reads_is_refused(shape):
    assert shape(rope_local_base_freq=10_000)
    with pytest.raises(Misconfigured, match="rope_local_base_freq"):
        shape(rope_local_base_freq=500_000)


# --- other fields ----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
@pytest.mark.parametrize(
    "fields",
    [{"use_sinks": True}, {"sink_size": 4}, {"clip_qkv": 8.0}, {"attn_config": {"clip_qkv": 8}},
     {"alibi": True}, {"n_shared_experts": 2}, {"mlp_only_layers": [1]}, {"qk_layernorm": True},
     {"decoder_sparse_step": 2}, {"scoring_func": "sigmoid"}, {"routed_scaling_factor": 2.5},
     {"norm_topk_prob": False}, {"no_rope_layers": [1, 1, 0, 1]}, {"rotary_pct": 0.25},
     {"layer_types": ["full_attention", "chunked_attention"] * 2}],
)  # fmt: skip
def test_a_field_that_no_engine_computes_is_refused_by_name(shape, engine, fields):
    name = next(iter(fields.get("attn_config", fields)))
    with pytest.raises(Misconfigured, match=name):
        shape(engine, **fields)


@pytest.mark.parametrize(
    "fields",
    [{"attn_logit_softcapping": 50.0}, {"final_logit_softcapping": 30.0}, {"logit_scale": 0.06},
     {"embedding_multiplier": 12.0}, {"residual_multiplier": 0.22}, {"logits_scaling": 8.0}],
)  # fmt: skip
def test_a_field_that_exllamav2_reads_at_the_top_is_refused_elsewhere(shape, fields):
    name = next(iter(fields))
    assert shape(**fields)
    with pytest.raises(Misconfigured, match=f"text_config.{name}"):
        shape(text_config=fields)
    with pytest.raises(Misconfigured, match=name):
        shape("exl3", **fields)
    assert name in source("exllamav2", "config.py")


@pytest.mark.parametrize("name", ["attention_bias", "mlp_bias", "partial_rotary_factor"])
def test_a_field_of_text_config_that_exllamav2_does_not_look_for_is_refused(shape, name):
    value = 0.5 if name == "partial_rotary_factor" else True
    assert shape(**{name: value})
    assert shape("exl3", text_config={name: value})
    with pytest.raises(Misconfigured, match=f"text_config.{name}"):
        shape(text_config={name: value})


def test_fields_without_effect_are_accepted(shape):
    neutral = {name: rule.neutral[0] for name, rule in computation._RULES.items() if rule.neutral}
    for engine in ("exl2", "exl3"):
        assert shape(engine, **neutral, hidden_act="silu", layer_types=["full_attention"] * 4)


def test_an_activation_that_exllamav2_does_not_take_from_the_file_is_refused(shape):
    with pytest.raises(Misconfigured, match="hidden_act must be silu"):
        shape(hidden_act="gelu")


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({"sliding_window": 4_096}, 4_096),
        ({"sliding_window": None}, 131_072),
        ({"sliding_window": 4_096, "use_sliding_window": False}, 131_072),
        ({"sliding_window": 4_096, "layer_types": ["full_attention"] * 4}, 131_072),
        ({"sliding_window": 4_096, "layer_types": ["sliding_attention"] * 4}, 4_096),
    ],
)
def test_a_window_that_the_engine_does_not_slide_bounds_the_context(shape, fields, context):
    assert shape(**fields).max_context == context
    assert shape("exl3", **fields).max_context == context


def test_an_architecture_with_a_sliding_window_keeps_its_context(shape):
    cohere = {"architectures": ["Cohere2ForCausalLM"], "sliding_window": 4_096}
    assert shape(**cohere).max_context == 131_072


def test_the_libraries_read_what_the_rules_say_they_read():
    readers = {name for rule in computation._RULES.values() for name in rule.by_exl3}
    assert readers <= set(exl3_architecture.ARCHITECTURES)
    config = source("exllamav2", "config.py")
    read = {name for name in computation._RULES if f'"{name}"' in config}
    assert read == {name for name, rule in computation._RULES.items() if rule.by_exl2}


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantization", "named"),
    [
        ({"quant_method": "gptq", "bits": 8}, "quantization_config.bits"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format"),
        ({"quant_method": "awq", "bits": 4}, "quant_method"),
        ({"quant_method": "compressed-tensors"}, "quant_method"),
        ({}, "quant_method"),
    ],
)
def test_a_quantization_that_no_engine_loads_is_refused(shape, quantization, named):
    with pytest.raises(Misconfigured, match=named):
        shape(None, quantization_config=quantization)
    assert shape(None, quantization_config={"quant_method": "gptq", "bits": 4})


@pytest.mark.parametrize("place", [{}, {"text_config": {}}])
def test_a_head_that_config_json_says_is_there_and_is_not_is_refused(tmp_path, place):
    def write(**fields):
        inner = dict.fromkeys(place, fields) or fields
        (tmp_path / "config.json").write_text(json.dumps(LLAMA | inner))

    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(4)]
    header = {
        name: {"dtype": "F16", "shape": [1, 1], "data_offsets": [2 * at, 2 * at + 2]}
        for at, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(8)
    (tmp_path / "model.safetensors").write_bytes(data)
    write(tie_word_embeddings=True)
    assert read_shape(tmp_path, "exl2").weights_bytes
    write(tie_word_embeddings=False)
    with pytest.raises(Misconfigured, match="tie_word_embeddings is false"):
        read_shape(tmp_path, "exl2")


@pytest.mark.parametrize("engine", ["exl2", "exl3"])
@pytest.mark.parametrize(
    "field",
    [
        {"qk_norm": True}, {"rope_interleave": True}, {"parallel_attn": True}, {"is_causal": False},
        {"use_parallel_residual": True}, {"norm_type": "layernorm"}, {"key_multiplier": 0.5},
        {"lm_head_multiplier": 0.5}, {"ssm_multipliers": [0.5]}, {"swiglu_limit": 7.0},
        {"router_logit_softcapping": 30.0}, {"num_kv_shared_layers": 2}, {"altup_num_inputs": 4},
        {"laurel_rank": 64}, {"activation_sparsity_pattern": [0.9]}, {"kv_lora_rank": 512},
        {"q_scale": 2.0}, {"per_layer_config": {"0": {"a": 1}}}, {"cross_attention_layers": [3]},
        {"rms_norm_add_unit_offset": True}, {"use_bidirectional_attention": True},
    ],
    ids=lambda field: next(iter(field)),
)  # fmt: skip
def test_a_field_of_another_architecture_that_changes_the_computation_is_refused(
    shape, engine, field
):
    with pytest.raises(Misconfigured, match=next(iter(field))):
        shape(engine, **field)
    assert shape(engine, **dict.fromkeys(field))


def test_fields_of_shapes_training_and_files_are_no_obstacle(shape):
    fields = {
        "initializer_range": 0.02, "attention_dropout": 0.1, "pretraining_tp": 1, "use_cache": True,
        "torch_dtype": "bfloat16", "transformers_version": "5.0", "ffn_dim_multiplier": 1.3,
        "scale_attn_weights": True, "router_aux_loss_coef": 0.001, "bos_token_id": 1,
    }  # fmt: skip
    for engine in ("exl2", "exl3"):
        assert shape(engine, **fields)
