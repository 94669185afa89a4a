"""Sliding windows: held against the real masks of small models with real numbers."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import transformers as tf

from cimsim.errors import WorkloadError
from cimsim.frontend import TASKS, masks, trace_model
from cimsim.frontend.forward import CACHE_NAMES
from cimsim.ir import MatMul, Softmax, Workload

WINDOW = 16
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
_GROUPED = _SMALL | {"num_hidden_layers": 2, "num_key_value_heads": 1, "sliding_window": WINDOW}
_MIXED = _GROUPED | {"layer_types": ["sliding_attention", "full_attention"]}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2}

DECODERS = {
    "mistral": tf.MistralConfig(**_GROUPED),
    "gemma2": tf.Gemma2Config(**_MIXED, head_dim=16),
    "gemma3": tf.Gemma3TextConfig(**_MIXED, head_dim=16),
    "qwen2": tf.Qwen2Config(**_GROUPED, use_sliding_window=True, max_window_layers=1),
    "phi3": tf.Phi3Config(**_GROUPED, **_ENDS),
    "cohere2": tf.Cohere2Config(**_MIXED, **_ENDS),
}
MODERNBERT = tf.ModernBertConfig(
    **_SMALL, **_ENDS, num_hidden_layers=2, local_attention=WINDOW, global_attn_every_n_layers=2,
    cls_token_id=1, sep_token_id=2,
)  # fmt: skip
LENGTHS = [(12, 20), (16, 3), (40, 4)]


def real_masks(config, task, prefill, steps):
    """The visible pairs of every layer in every pass of a model with real numbers."""
    torch.manual_seed(0)
    model = getattr(tf, TASKS[task]).from_config(config, attn_implementation="eager").eval()
    passes = []
    hooked = []

    def note(module, args, output):
        hooked.append((output[1][0, 0] > 0).long())

    for name, module in model.named_modules():
        if name.endswith(("self_attn", ".attn")):
            module.register_forward_hook(note)
    with torch.no_grad():
        output = model(input_ids=torch.full((1, prefill), 5))
        passes.append(list(hooked))
        for _ in range(steps):
            hooked.clear()
            kept = next(k for k in CACHE_NAMES if output.get(k) is not None)
            output = model(input_ids=torch.full((1, 1), 5), **{kept: output[kept]})
            passes.append(list(hooked))
    return passes


def seen(op, step=0):
    """Pairs that the op counts in a step."""
    at = op.at(step)
    if not at.causal and at.window is None:
        return at.m * at.n
    keys = torch.arange(at.n)
    queries = keys[-at.tokens :, None]
    visible = keys <= queries if at.causal else torch.ones(at.tokens, at.n, dtype=torch.bool)
    if at.window is not None:
        visible &= (keys - queries).abs() < at.window
    return int(visible.sum())


@cache
def traced(name: str, prefill: int, decode: int) -> Workload:
    return trace_model(DECODERS[name], task="text-generation", prefill=prefill, decode=decode)


@pytest.mark.parametrize(("prefill", "decode"), LENGTHS)
@pytest.mark.parametrize("name", DECODERS)
def test_what_is_counted_is_what_the_real_mask_lets_through(name, prefill, decode):
    workload = traced(name, prefill, decode)
    real = real_masks(DECODERS[name], "text-generation", prefill, decode)
    scores = [[op for op in phase.ops if isinstance(op, MatMul)][::2] for phase in workload.phases]
    for op, mask in zip(scores[0], real[0], strict=True):
        assert seen(op) == mask.sum()
    for step in range(decode):
        for op, mask in zip(scores[1], real[step + 1], strict=True):
            assert seen(op, step) == mask.sum()
            assert op.at(step).n == mask.shape[-1], "rows that the cache keeps"


def test_macs_of_a_window_are_the_visible_pairs():
    prefill, decode = traced("gemma3", 40, 4).phases
    scores, values, *full = [op for op in prefill.ops if isinstance(op, MatMul)]
    pairs = sum(min(i, WINDOW) for i in range(1, 41))
    assert scores.macs == values.macs == 2 * 16 * pairs
    assert [op.macs for op in full] == [2 * 16 * 40 * 40] * 2, "the masked half included"
    assert {op.at(3).macs for op in decode.ops if isinstance(op, MatMul)} == {
        2 * 16 * WINDOW,
        2 * 16 * 44,
    }


def test_a_window_as_long_as_the_sequence_changes_nothing():
    long = DECODERS["mistral"].to_dict() | {"sliding_window": 40}
    none = long | {"sliding_window": None}
    one, other = (
        trace_model(tf.MistralConfig(**c), task="text-generation", prefill=36, decode=4)
        for c in (long, none)
    )
    assert one.phases == other.phases


def test_a_window_of_another_length_changes_only_its_numbers():
    for window in (5, 16, 31, 32, 39):
        config = tf.MistralConfig(**{**DECODERS["mistral"].to_dict(), "sliding_window": window})
        prefill, decode = trace_model(config, task="text-generation", prefill=40, decode=3).phases
        for op in prefill.ops:
            if isinstance(op, MatMul | Softmax):
                assert (op.causal, op.window) == (True, window)
        sizes = {max(op.k, op.n) for op in decode.ops if isinstance(op, MatMul)}
        assert sizes == {max(window, 16)}
        assert all(op.growth == {} for op in decode.ops)


def test_encoders_look_both_ways():
    (phase,) = trace_model(MODERNBERT, task="fill-mask", prefill=40).phases
    (real,) = real_masks(MODERNBERT, "fill-mask", 40, 0)
    scores = [op for op in phase.ops if isinstance(op, MatMul)][::2]
    for op, mask in zip(scores, real, strict=True):
        assert seen(op) == mask.sum()
        assert not op.causal
    assert [op.window for op in scores] == [None, WINDOW // 2 + 1]


def test_windows_of_several_lengths_fill_one_after_the_other():
    """GPT-OSS or Qwen2 with another window a layer: every growth ends where its cache is full."""
    ends = {op.name: op.growth_steps for op in traced("gemma3", 12, 20).phases[1].ops if op.growth}
    assert set(ends.values()) == {WINDOW - 13, None}
    sliding = {name for name, end in ends.items() if end is not None}
    assert all(name.startswith("model.layers.0.") for name in sliding)


def test_attention_in_chunks_is_refused_where_a_chunk_ends():
    size, chunk = 12, 4
    i = torch.arange(size)
    chunks = (i[:, None] // chunk == i // chunk) & (i <= i[:, None])
    assert "attention in chunks" in str(masks._read(chunks[None]).problem)
    assert masks._read(chunks[None, :chunk, :chunk]).causal


def test_a_cache_that_is_cut_without_a_mask_is_refused(monkeypatch):
    """The rows that a cache keeps must be those that the mask shows."""
    monkeypatch.setattr(masks, "_read", lambda visible: masks.Mask(causal=True))
    with pytest.raises(WorkloadError, match=r"matmul.0' keeps 16 tokens of those before it, but"):
        trace_model(DECODERS["mistral"], task="text-generation", prefill=12, decode=20)
