"""Mixtures of experts: held against real routing, which cannot change what is counted."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import transformers as tf
from frontend_zoo import counted_macs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model
from cimsim.frontend.experts import has_experts, shares
from cimsim.frontend.models import build_model
from cimsim.ir import Linear, Workload

_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 256,
    "num_experts_per_tok": 2,
}
MODELS = {
    "mixtral": (tf.MixtralConfig(**_SMALL, num_local_experts=4), 4, 2),
    "qwen3": (tf.Qwen3MoeConfig(**_SMALL, num_experts=6, moe_intermediate_size=24, head_dim=8,
                                mlp_only_layers=[0]), 6, 1),
    "deepseek": (tf.DeepseekV3Config(
        **{**_SMALL, "num_key_value_heads": 4}, n_routed_experts=8, moe_intermediate_size=24,
        first_k_dense_replace=1, n_group=2, topk_group=1, kv_lora_rank=16, q_lora_rank=16,
        qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8), 8, 1),
    "gpt-oss": (tf.GptOssConfig(**_SMALL, num_local_experts=4, head_dim=8), 4, 2),
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not has_experts(build_model(MODELS["mixtral"][0], "text-generation")),
    reason="this release of transformers keeps experts apart",
)


@cache
def traced(name: str, prefill: int = 13) -> Workload:
    return trace_model(MODELS[name][0], task="text-generation", prefill=prefill, decode=2)


@pytest.mark.parametrize("name", MODELS)
def test_macs_are_those_of_real_routing(name):
    workload, config = traced(name), MODELS[name][0]
    config._experts_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.arange(13)[None], logits_to_keep=1)
    assert counter.get_total_flops() == 2 * workload.phases[0].macs()
    counted = counted_macs(build_model(config, "text-generation"), 13, 2)
    assert [workload.phases[0].macs(), *map(workload.phases[1].macs, range(2))] == counted
    assert workload.parameter_count == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_all_experts_hold_weights_and_some_work(name):
    _, experts, layers = MODELS[name]
    workload = traced(name)
    prefill, decode = (
        [op for op in phase.ops if isinstance(op, Linear) and ".experts." in op.weight]
        for phase in workload.phases
    )
    shapes = {p.name: p.shape for p in workload.parameters}
    assert len(prefill) == len({op.weight for op in prefill}) == 2 * experts * layers
    assert len(decode) == 2 * 2 * layers
    assert {op.rows for op in decode} == {1}
    assert {op.weight for op in decode} < {op.weight for op in prefill}
    for op in prefill:
        assert sorted(shapes[op.weight][-2:]) == sorted((op.in_features, op.out_features))
    assert sum(op.rows for op in prefill) == 2 * layers * 13 * 2
    assert workload.origin["experts"] == "tokens spread evenly"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.integers(1, 16), st.integers(0, 200))
def test_shares_are_even(tokens, chosen, more):
    found = shares(tokens, chosen, chosen + more)
    assert sum(found) == tokens * chosen
    assert max(found) - min(found) <= 1
    assert max(found) <= tokens


@pytest.mark.parametrize("prefill", [1, 2, 3])
def test_an_expert_without_a_token_would_have_no_tile(prefill):
    reached = min(2 * prefill, 8)
    with pytest.raises(
        WorkloadError,
        match=rf"{prefill} tokens reach {reached} of 8 experts\. All "
        r"of them must hold their weights: raise prefill to at "
        r"least 4 tokens",
    ):
        traced("deepseek", prefill)
    assert traced("deepseek", 4).phases


def test_many_experts_are_more_than_the_probe_has_tokens():
    config = tf.MixtralConfig(**{**_SMALL, "num_experts_per_tok": 1, "hidden_size": 8,
                                 "intermediate_size": 4, "num_hidden_layers": 1},
                              num_local_experts=140)  # fmt: skip
    workload = trace_model(config, task="text-generation", prefill=140)
    assert {op.rows for op in workload.phases[0].ops if ".experts" in op.name
            and isinstance(op, Linear)} == {1}  # fmt: skip


def test_experts_of_another_kind_are_refused_by_name():
    class OwnSparseMoeBlock(torch.nn.Module):
        def __init__(self, mlp):
            super().__init__()
            self.mlp = mlp

        def forward(self, x):
            for expert in x.sum(-1).argmax(-1).unique():
                x = x + self.mlp(x) * expert
            return x

    model = build_model(tf.LlamaConfig(**_SMALL), "text-generation")
    layer = model.model.layers[0]
    layer.mlp = OwnSparseMoeBlock(layer.mlp)
    with pytest.raises(WorkloadError, match=r"^module 'model.layers.0.mlp' is part of a mix"):
        trace_model(model, prefill=8)
