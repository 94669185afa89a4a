"""Random LoRA options: what PEFT trains, saves and computes, cimsim counts, loads and traces."""

from __future__ import annotations

import copy
import dataclasses
import re
import tempfile
from functools import cache
from types import SimpleNamespace

import peft
import pytest
import torch
import transformers as tf
from frontend_zoo import counted_macs
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from cimsim.errors import CimsimError, TaskError, WorkloadError
from cimsim.frontend import trace_model
from cimsim.frontend.adapters import merged_copy, tied_targets
from cimsim.frontend.dora import fold_dora
from cimsim.frontend.quiet import quietly
from cimsim.tasks.model import TaskModel, lora_targets
from cimsim.training import Method, Schedule, load_trained
from cimsim.training.start import student

_SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 67, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
_GROUPED = _SIZES | {"num_key_value_heads": 2}
CONFIGS = {
    "llama": tf.LlamaConfig(**_GROUPED, tie_word_embeddings=False),
    "tied": tf.LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "qwen2": tf.Qwen2Config(**_GROUPED, tie_word_embeddings=False),
    "gpt2": tf.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=67,
        n_positions=256,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "bert": tf.BertConfig(**_SIZES),
}
CLASSES = {
    "llama": tf.LlamaForCausalLM,
    "tied": tf.LlamaForCausalLM,
    "qwen2": tf.Qwen2ForCausalLM,
    "gpt2": tf.GPT2LMHeadModel,
    "bert": tf.BertForSequenceClassification,
}
TARGETS = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"],
    "gpt2": ["c_attn", "attn.c_proj", "c_fc", "lm_head"],
    "bert": ["query", "value", "attention.output.dense", "classifier"],
}
PATTERNS = {
    "llama": [r".*\.self_attn\.[qv]_proj", r".*layers\.1\..*(up|down)_proj"],
    "gpt2": [r".*h\.0\..*c_attn", r".*c_fc"],
    "bert": [r".*(query|key)"],
}
SAVED = {
    "llama": ["lm_head", "embed_tokens", "norm", "gate_proj"],
    "gpt2": ["ln_f", "wte", "lm_head"],
    "bert": ["classifier", "pooler", "word_embeddings"],
}
LAYERS = {"llama": "layers", "gpt2": "h", "bert": "layer"}
FIELDS = {field.name for field in dataclasses.fields(peft.LoraConfig)}
IDS = torch.arange(1, 25).view(2, 12)


def family(kind):
    return kind if kind in TARGETS else "llama"


@cache
def state_of(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLASSES[kind](CONFIGS[kind]).state_dict()


def model_of(kind):
    with torch.random.fork_rng():
        model = CLASSES[kind](CONFIGS[kind])
    model.load_state_dict(state_of(kind))
    model.set_attn_implementation("eager")
    return model.eval()


def task_model(kind):
    module = model_of(kind)
    form = "encoder" if kind == "bert" else "causal"
    return TaskModel(kind, form, module, SimpleNamespace(pad_token_id=0), lora_targets(module))


def scores(model):
    with torch.no_grad():
        return model(IDS).logits


def live(kind, chosen):
    """The adapted model with random values wherever the adapter trains."""
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(1)
        model = peft.get_peft_model(model_of(kind), peft.LoraConfig(**chosen))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def reloaded(kind, folder):
    with quietly():
        return peft.PeftModel.from_pretrained(model_of(kind), folder).eval()


def trace_saved(kind, folder):
    task = "text-classification" if kind == "bert" else "text-generation"
    return trace_model(CONFIGS[kind], task=task, prefill=12, adapter=folder)


def load_saved(kind, folder):
    return load_trained(task_model(kind), folder)


@st.composite
def options(draw):
    kind = draw(st.sampled_from(sorted(CONFIGS)))
    own = family(kind)

    def maybe(values):
        return draw(st.none() | values)

    def rarely(value, usual):
        return draw(st.sampled_from([*[usual] * 9, value]))

    targets = draw(
        st.lists(st.sampled_from(TARGETS[own]), min_size=1, max_size=3, unique=True)
        | st.sampled_from(["all-linear", *PATTERNS[own]])
    )
    initial = draw(st.sampled_from([True, False, "gaussian", "orthogonal"]))
    chosen = {
        "r": 2 * draw(st.integers(1, 3)),
        "lora_alpha": draw(st.integers(1, 32)),
        "lora_dropout": draw(st.sampled_from([0.0, 0.3])),
        "target_modules": targets,
        "exclude_modules": maybe(st.sampled_from([[TARGETS[own][1]], r".*\.0\..*"])),
        "bias": draw(st.sampled_from(["none", "all", "lora_only"])),
        "lora_bias": isinstance(initial, bool) and draw(st.booleans()),
        "use_rslora": draw(st.booleans()),
        "init_lora_weights": rarely("pissa", initial),
        "modules_to_save": maybe(
            st.lists(st.sampled_from(SAVED[own]), min_size=1, max_size=2, unique=True)
        ),
        "rank_pattern": draw(st.sampled_from([{}, {TARGETS[own][0]: 8}, {r".*\.1\..*": 2}])),
        "alpha_pattern": draw(st.sampled_from([{}, {TARGETS[own][0]: 3}])),
        "fan_in_fan_out": draw(st.sampled_from([kind == "gpt2", False])),
        "ensure_weight_tying": draw(st.booleans()),
        "task_type": maybe(st.just("SEQ_CLS" if kind == "bert" else "CAUSAL_LM")),
        "use_dora": rarely(True, False),
    }
    if isinstance(targets, list) and draw(st.booleans()):
        chosen["layers_to_transform"] = draw(st.sampled_from([0, [1], [0, 1]]))
        chosen["layers_pattern"] = maybe(st.just(LAYERS[own]))
    return kind, {name: value for name, value in chosen.items() if name in FIELDS}


def adapted_by_peft(kind, chosen):
    """The live model, or None where PEFT itself refuses the combination or fails at it."""
    try:
        return live(kind, chosen)
    except (ValueError, TypeError, AttributeError):
        return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60, phases=[Phase.generate], deadline=None, derandomize=True, database=None)
@given(options())
def test_what_peft_trains_saves_and_computes(case):
    kind, chosen = case
    model = adapted_by_peft(kind, chosen)
    if model is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        try:
            workload = trace_model(model, prefill=12)
        except WorkloadError as problem:
            reason = str(problem).partition(": ")[2]
            both_refuse(kind, folder, reason)
            return
        if loses_its_tie(kind, model.peft_config["default"]):
            both_refuse(kind, folder, "ensure_weight_tying is True, but PEFT does not find the tie")
            return
        again = trace_saved(kind, folder)
        assert (again.adapter, again.parameters, again.phases) == (
            workload.adapter, workload.parameters, workload.phases
        )  # fmt: skip
        check_counts(model, workload)
        base = task_model(kind)
        found, theirs = load_trained(base, folder), reloaded(kind, folder)
        assert far_apart(found, theirs) <= 1e-5
        if chosen["bias"] != "lora_only":  # early releases of PEFT do not save those biases
            assert far_apart(found, model) <= 1e-5
        for name, tensor in base.module.state_dict().items():
            assert torch.equal(tensor, state_of(kind)[name]), name
    event("loaded")


def both_refuse(kind, folder, reason):
    for ask in (trace_saved, load_saved):
        with pytest.raises(CimsimError, match=re.escape(reason)):
            ask(kind, folder)
    event("refused")


def loses_its_tie(kind, config):
    """PEFT writes the name of GPT-2's embedding and does not take it for one when it reads it."""
    return (
        kind == "gpt2"
        and getattr(config, "ensure_weight_tying", False)
        and "transformer.wte" in (config.modules_to_save or ())
    )


def check_counts(model, workload):
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    adapter = workload.adapter
    assert adapter.parameter_count + adapter.saved_parameter_count == trained
    bare = copy.deepcopy(model.get_base_model()).to("meta")
    fold_dora(bare)
    assert [phase.macs() for phase in workload.phases] == counted_macs(bare, 12, 0)


def far_apart(found, wanted):
    """Relative distance of the scores of two models."""
    wanted = scores(wanted)
    return float((scores(found) - wanted).norm() / wanted.norm())


def test_most_options_are_loaded():
    """The property above is no empty one: each of these loads, on every kind of model."""
    for kind in CONFIGS:
        chosen = {"r": 4, "target_modules": "all-linear", "bias": "all", "lora_bias": True}
        model = live(kind, chosen)
        workload = trace_model(model, prefill=12)
        check_counts(model, workload)
        assert workload.adapter.saved_parameter_count > 0 or family(kind) == "llama"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("initial", ["pissa", "olora"])
def test_what_began_on_other_base_weights_loads_once_converted(initial, tmp_path):
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=initial)
    model = peft.get_peft_model(model_of("llama"), lora)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "first")
    model.peft_config["default"].init_lora_weights = initial
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval().save_pretrained(tmp_path / "as_it_is")
    wanted = scores(model)
    with pytest.raises(CimsimError, match=f"init_lora_weights is '{initial}'.* plain LoRA"):
        load_saved("llama", tmp_path / "as_it_is")
    model.save_pretrained(
        tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "first")
    )
    found = scores(load_saved("llama", tmp_path / "plain"))
    assert float((found - wanted).norm() / wanted.norm()) <= 1e-5


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_adapted_tied_head(tmp_path):
    """The file brings the head's weight: the model's own is dropped, another's is refused."""
    model = live("tied", {"r": 4, "target_modules": ["lm_head"]})
    model.save_pretrained(tmp_path)
    base = task_model("tied")
    found = load_trained(base, tmp_path)
    assert tied_targets(found) == ["base_model.model.lm_head"]
    plain = merged_copy(found)
    assert far_apart(plain, found) <= 1e-5
    assert plain.lm_head.weight is not plain.model.embed_tokens.weight
    assert far_apart(found, model) <= 1e-5
    full = Method("full", Schedule(), None)
    with pytest.raises(TaskError, match=r": adapts base_model\.model\.lm_head, whose weight is an"):
        student(base, full, 0, tmp_path)
    with torch.no_grad():
        base.module.lm_head.weight[0] += 1.0
    with pytest.raises(TaskError, match=r"brings weights of the base model, and base_model.*lm_he"):
        load_trained(base, tmp_path)
