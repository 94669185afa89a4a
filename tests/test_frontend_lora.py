"""LoRA adapters: counts as PEFT counts them, structure, and adapters that do not fit."""

from __future__ import annotations

import json

import peft
import pytest
import torch
import transformers as tf
from frontend_zoo import ZOO, counted_macs
from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.adapters import apply_lora, lora_config
from cimsim.frontend.models import build_model
from cimsim.ir import Elementwise, Linear

# PEFT reads a property of the model that this version of transformers has renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

TARGETS = {
    "llama": ["q_proj", "v_proj", "up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj"],
    "bert-qa": ["query", "key", "value", "dense"],
    "t5": ["q", "v"],
    "gpt-neox": ["query_key_value"],
    "mobilebert": ["dense", "query", "key", "value", "qa_outputs", "embedding_transformation"],
    "vit": ["q_proj", "fc1"],
}


def adapted(name, **options):
    member = ZOO[name]
    return trace_model(
        member.config,
        task=member.task,
        prefill=member.prefill,
        decode=min(member.decode, 1),
        lora_rank=4,
        lora_targets=TARGETS[name],
        **options,
    )


@pytest.mark.parametrize("name", TARGETS)
def test_counts_are_those_of_peft(name):
    member, workload = ZOO[name], adapted(name)
    model = build_model(member.config, member.task)
    fan = name == "gpt2"
    config = peft.LoraConfig(r=4, target_modules=TARGETS[name], fan_in_fan_out=fan)
    wrapped = peft.get_peft_model(model, config, low_cpu_mem_usage=True)
    trainable, total = wrapped.get_nb_trainable_parameters()
    assert workload.adapter.parameter_count == trainable
    assert workload.parameter_count == total - trainable
    assert workload.adapter.rank == 4
    assert workload.adapter.alpha == 8.0
    assert workload.adapter.targets == tuple(sorted(TARGETS[name]))
    by_role = sum(p.size for p in workload.parameters if p.role in ("lora_a", "lora_b"))
    assert by_role == trainable


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "mobilebert"])
def test_macs_with_an_adapter_are_those_of_the_flop_counter(name):
    member, workload = ZOO[name], adapted(name)
    model = build_model(member.config, member.task)
    apply_lora(model, lora_config(4, TARGETS[name], None))
    counted = counted_macs(model, member.prefill, min(member.decode, 1))
    assert [phase.macs() for phase in workload.phases] == counted


@pytest.mark.parametrize("name", TARGETS)
def test_an_adapter_adds_its_branch_and_changes_nothing_else(name):
    member, workload = ZOO[name], adapted(name)
    bare = trace_model(
        member.config, task=member.task, prefill=member.prefill, decode=min(member.decode, 1)
    )
    for phase, plain in zip(workload.phases, bare.phases, strict=True):
        ops = {op.name: op for op in phase.ops}
        merges = [op for op in phase.ops if op.name.endswith("/elementwise.0")
                  and any(source.endswith(".lora_B") for source in op.inputs)]  # fmt: skip
        branches = [op for op in phase.ops if isinstance(op, Linear) and op.role != "base"]
        assert len(branches) == 2 * len(merges) > 0
        names = {op.name for op in plain.ops}
        assert set(ops) == names | {op.name for op in merges} | {op.name for op in branches}
        for op in plain.ops:
            assert ops[op.name].model_copy(update={"inputs": op.inputs}) == op
        for op in branches:
            base = ops[op.adapts]
            assert base.role == "base"
            assert base.name == op.name.rpartition(".")[0]
            a, b = ops[f"{base.name}.lora_A"], ops[f"{base.name}.lora_B"]
            assert (a.role, b.role) == ("lora_a", "lora_b")
            assert a.inputs == base.inputs
            assert b.inputs == (a.name,)
            assert (a.in_features, a.out_features) == (base.in_features, 4)
            assert (b.in_features, b.out_features) == (4, base.out_features)
            assert a.rows == b.rows == base.rows
        for op in merges:
            assert isinstance(op, Elementwise)
            assert op.functions == {"mul": 1, "add": 1}
            assert set(op.inputs) == {op.name.rpartition("/")[0],
                                      op.name.rpartition("/")[0] + ".lora_B"}  # fmt: skip


def test_a_tied_head_can_be_adapted():
    member = ZOO["llama"]
    workload = trace_model(
        member.config, task=member.task, prefill=8, lora_rank=2, lora_targets=["lm_head"]
    )
    assert workload.adapter.parameter_count == 2 * (64 + 97)
    head = next(op for op in workload.phases[0].ops if op.name == "lm_head")
    assert head.weight == "lm_head.weight"
    tied = next(p for p in workload.parameters if p.name == head.weight)
    assert tied.tied_to == "model.embed_tokens.weight"


def test_alpha_and_saved_modules():
    workload = adapted("bert-qa", lora_alpha=32, modules_to_save=["qa_outputs"])
    plain = adapted("bert-qa")
    assert workload.adapter.alpha == 32.0
    assert workload.adapter.parameter_count == plain.adapter.parameter_count
    assert workload.parameter_count == plain.parameter_count
    assert workload.adapter.saved_parameter_count == 2 * 64 + 2
    assert plain.adapter.saved_parameter_count == 0
    assert saved_weights(workload) == {"qa_outputs.weight"}
    (head,) = (op for op in workload.phases[0].ops if op.name == "qa_outputs")
    assert (head.role, head.in_adapter) == ("base", True)
    ops = [op.model_copy(update={"saved": False}) if op is head else op
           for op in workload.phases[0].ops]  # fmt: skip
    assert tuple(ops) == plain.phases[0].ops


def saved_weights(workload):
    return {op.weight for _, op in workload.ops() if isinstance(op, Linear) and op.saved}


def test_all_layers_of_a_saved_head_are_saved():
    member = ZOO["roberta"]
    workload = trace_model(
        member.config,
        task=member.task,
        prefill=8,
        lora_rank=2,
        lora_targets=["query"],
        modules_to_save=["classifier"],
    )
    assert saved_weights(workload) == {"classifier.dense.weight", "classifier.out_proj.weight"}
    assert workload.adapter.saved_parameter_count == 64 * 64 + 64 + 2 * 64 + 2


def classifier():
    with torch.random.fork_rng():
        model = tf.BertForSequenceClassification(ZOO["bert-classes"].config).eval()
    config = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    return peft.get_peft_model(model, config)


def test_a_wrapped_classifier_has_a_saved_head():
    model = classifier()
    workload = trace_model(model, prefill=8)
    assert saved_weights(workload) == {"classifier.weight"}
    adapter = workload.adapter
    trainable, total = model.get_nb_trainable_parameters()
    assert adapter.parameter_count + adapter.saved_parameter_count == trainable
    assert workload.parameter_count == total - trainable
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    assert trace_model(model, prefill=8) == workload
    with model.disable_adapter():
        bare = trace_model(model, prefill=8)
    assert saved_weights(bare) == set()
    assert (
        bare.phases
        == trace_model(ZOO["bert-classes"].config, task="text-classification", prefill=8).phases
    )


def test_a_plain_module_with_a_saved_layer():
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    model = peft.get_peft_model(
        net, peft.LoraConfig(r=2, target_modules=["0"], modules_to_save=["2"])
    )
    workload = trace_module(model, (torch.zeros(5, 16),), name="net")
    assert saved_weights(workload) == {"2.weight"}
    assert workload.adapter.saved_parameter_count == 32 * 4 + 4
    assert workload.adapter.parameter_count == 2 * (16 + 32)


def test_an_adapter_directory_names_what_is_saved(tmp_path):
    workload = trace_with(write_adapter(tmp_path, modules_to_save=["up_proj", "lm_head"]))
    weights = saved_weights(workload)
    layers = ZOO["llama"].config.num_hidden_layers
    assert weights == {
        "lm_head.weight",
        *(f"model.layers.{i}.mlp.up_proj.weight" for i in range(layers)),
    }
    assert workload.adapter.saved_parameter_count == layers * 64 * 96 + 64 * 97


def write_adapter(folder, **changes):
    data = {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(data | changes))
    (folder / "adapter_model.bin").write_bytes(b"never opened")
    return folder


def trace_with(folder):
    return trace_model(
        ZOO["llama"].config, task="text-generation", prefill=8, adapter=folder, name="x"
    )


def test_an_adapter_directory_is_read(tmp_path):
    workload = trace_with(write_adapter(tmp_path))
    same = trace_model(
        ZOO["llama"].config,
        task="text-generation",
        prefill=8,
        lora_rank=4,
        lora_alpha=16,
        lora_targets=["q_proj", "v_proj"],
        name="x",
    )
    assert workload == same


@pytest.mark.parametrize(("changes", "message"), [
    ({"peft_type": "IA3"}, r"peft_type is 'IA3'; only LORA adapters are supported: what an"),
    ({"r": 0}, r"r is 0; it must be a rank, which is a whole number of at least 1\.$"),
    ({"r": True}, r"r is True; it must be a rank"),
    ({"r": None}, r"r is missing; a rank is a whole number of at least 1\.$"),
    ({"lora_alpha": "16"}, r"lora_alpha is '16'; it must be a finite number\.$"),
    ({"modules_to_save": "lm_head"}, r"modules_to_save is 'lm_head'; it must be a list of module"),
    ({"modules_to_save": ["nothing"]}, r"^the adapter saves nothing, of which LlamaForCausalLM"),
    ({"bias": "most"}, r"bias is 'most'; it must be none, all or lora_only\.$"),
    ({"rank_pattern": {"q_proj": 0}}, r"rank_pattern is \{'q_proj': 0\}; it must be a table from"),
    ({"layers_to_transform": "1"}, r"layers_to_transform is '1'; it must be a layer number or"),
    ({"task_type": "SING"}, r"json: PEFT refuses the configuration: "),
    ({"target_modules": []}, r"target_modules names no module\.$"),
    ({"use_qalora": True}, r"use_qalora is True, which cimsim does not model: QA-LoRA pools"),
    ({"target_modules": ["query", "q_proj"]},
     r"^the adapter targets query, of which LlamaForCausalLM has no module: it was made for "
     r"another model, or the names are misspelt\.$"),
    ({"target_modules": "nothing.*"}, r"^the adapter does not fit LlamaForCausalLM: "),
])  # fmt: skip
def test_adapters_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(WorkloadError, match=message):
        trace_with(write_adapter(tmp_path, **changes))


def test_a_missing_adapter_directory(tmp_path):
    with pytest.raises(WorkloadError, match=r"no adapter_config\.json there\. Give a local PEFT"):
        trace_with(tmp_path)


@pytest.mark.parametrize(("options", "message"), [
    ({"lora_rank": 0, "lora_targets": ["q_proj"]}, "^LoRA rank 0 was asked"),
    ({"lora_rank": 4}, "^a LoRA rank was given without target modules"),
    ({"lora_targets": ["q_proj"]}, "^LoRA targets or alpha were given without a rank"),
    ({"lora_alpha": 8.0}, "^LoRA targets or alpha were given without a rank"),
    ({"lora_rank": 4, "lora_targets": ["qproj"]}, "^the adapter targets qproj, of which Llama"),
    ({"lora_rank": 4, "lora_targets": ["embed_tokens"]},
     "^the adapter is on a Embedding; only linear layers and Conv2d"),
    ({"lora_rank": 4, "lora_targets": ["q_proj"], "adapter": "x"}, "^both a LoRA rank and an"),
])  # fmt: skip
def test_options_that_do_not_fit(options, message):
    with pytest.raises(WorkloadError, match=message):
        trace_model(ZOO["llama"].config, task="text-generation", prefill=8, **options)


def small_llama():
    config = tf.LlamaConfig(**{**ZOO["llama"].config.to_dict(), "num_hidden_layers": 1})
    with torch.random.fork_rng():
        return tf.LlamaForCausalLM._from_config(config, attn_implementation="sdpa")


def test_a_wrapped_model_is_recognised_and_left_as_it_is():
    model = small_llama()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    wrapped.train()
    before = {name: (id(p), p.device.type) for name, p in wrapped.named_parameters()}
    workload = trace_model(wrapped, prefill=8, decode=1)
    assert workload.adapter.rank == 2
    assert workload.adapter.parameter_count == wrapped.get_nb_trainable_parameters()[0]
    names = [op.name for op in workload.phases[0].ops]
    assert "model.layers.0.self_attn.q_proj.lora_A" in names
    assert workload == trace_model(
        model.config,
        task="text-generation",
        prefill=8,
        decode=1,
        lora_rank=2,
        lora_alpha=8,
        lora_targets=["q_proj"],
        name="LlamaForCausalLM",
    ).model_copy(update={"origin": workload.origin})
    assert before == {name: (id(p), p.device.type) for name, p in wrapped.named_parameters()}
    assert wrapped.training
    assert model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks for module in wrapped.modules())


def test_a_second_adapter_is_asked_for_once():
    wrapped = peft.get_peft_model(small_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(WorkloadError, match=r"^the model has a LoRA adapter already"):
        trace_model(wrapped, prefill=8, lora_rank=2, lora_targets=["q_proj"])
    wrapped.add_adapter("other", peft.LoraConfig(r=4, target_modules=["q_proj"]))
    only = trace_model(wrapped, prefill=8).adapter
    assert (only.rank, only.parameter_count) == (2, 2 * 128)
    wrapped.base_model.set_adapter(["default", "other"])
    both = trace_model(wrapped, prefill=8).adapter
    assert (both.rank, both.branches, both.parameter_count) == (4, 2, (2 + 4) * 128)


def test_qalora_is_refused():
    config = peft.LoraConfig(r=2, target_modules=["0"])
    model = peft.get_peft_model(nn.Sequential(nn.Linear(4, 4)), config)
    model.peft_config["default"].use_qalora = True
    with pytest.raises(WorkloadError, match=r"^adapter 'default': use_qalora is True, which cim"):
        trace_module(model, (torch.zeros(3, 4),), name="x")
