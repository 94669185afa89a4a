"""The length of a sequence changes numbers, never the structure: whatever it coincides with."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import transformers as tf
from frontend_zoo import ZOO, counted_macs
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.models import build_model
from cimsim.ir import MatMul, Softmax, Workload

WIDTH, HEADS, HIDDEN = 24, 3, 40
LENGTHS = [2, 3, 5, 7, 8, 9, 16, 23, 24, 25, 39, 40, 41, 48, 72]
"""With the heads, the width of a head, of the model, of the hidden layer, of q, k and v."""


def structure(workload: Workload) -> list:
    """All of a workload but its numbers."""
    return [
        (
            phase.name, op.name, op.kind, op.inputs, op.tokens == phase.tokens > 1, op.gathers,
            getattr(op, "causal", None), getattr(op, "window", None) is None,
            getattr(op, "stationary_token_axis", None), sorted(op.growth),
        )
        for phase in workload.phases for op in phase.ops
    ]  # fmt: skip


class Attention(nn.Module):
    """Self-attention with two masks to choose from."""

    def __init__(self, mask):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.mask = nn.LayerNorm(WIDTH), mask

    def forward(self, x, given=None):
        n = x.shape[-2]
        q, k, v = self.qkv(self.norm(x)).view(n, 3, HEADS, WIDTH // HEADS).permute(1, 2, 0, 3)
        if self.mask == "library":
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-1, -2) / 3
            if self.mask == "made":
                scores = scores + torch.full((n, n), -torch.inf, device=x.device).triu(1)
            if self.mask == "given":
                scores = scores + given
            y = scores.softmax(-1) @ v
        return x + self.out(y.transpose(0, 1).reshape(n, WIDTH))


def example(mask, tokens):
    given = (torch.full((tokens, tokens), -torch.inf).triu(1),) if mask == "given" else ()
    return (torch.zeros(tokens, WIDTH), *given)


@cache
def attention(mask: str, tokens: int) -> Workload:
    return trace_module(Attention(mask), example(mask, tokens), name="m")


@pytest.mark.parametrize("tokens", LENGTHS)
@pytest.mark.parametrize("mask", ["none", "made", "library", "given"])
def test_attention_has_one_structure(mask, tokens):
    workload = attention(mask, tokens)
    assert structure(workload) == structure(attention(mask, 11))
    flags = [op.causal for _, op in workload.ops() if isinstance(op, MatMul | Softmax)]
    assert flags == [mask != "none"] * 3
    axes = [op.stationary_token_axis for _, op in workload.ops() if isinstance(op, MatMul)]
    assert axes == ["n", "k"]
    with FlopCounterMode(display=False) as counter:
        Attention("made" if mask == "library" else mask)(*example(mask, tokens))
    assert counter.get_total_flops() == 2 * workload.macs


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_library_layers_have_one_structure(tokens, batch_first):
    def made(n):
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=batch_first)
        return trace_module(layer, (torch.zeros(*((1, n) if batch_first else (n, 1)), WIDTH),),
                            name="m")  # fmt: skip

    assert structure(made(tokens)) == structure(made(11))


class Cross(nn.Module):
    """Attention of one sequence to another."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x, memory):
        q, k, v = self.q(x), self.k(memory), self.v(memory)
        y = self.out((q @ k.T).softmax(-1) @ v)
        return self.down(self.up(y).relu())


@pytest.mark.parametrize("tokens", [7, 8, 11, 24, 40])
@pytest.mark.parametrize("others", [7, 8, 11, 24, 40])
def test_another_sequence_of_equal_length_is_another_sequence(tokens, others):
    def made(n, m):
        return trace_module(Cross(), (torch.zeros(n, WIDTH), torch.zeros(m, WIDTH)), name="m")

    workload = made(tokens, others)
    assert structure(workload) == structure(made(10, 13))
    scores, values = (op for _, op in workload.ops() if isinstance(op, MatMul))
    assert (scores.stationary_token_axis, values.stationary_token_axis) == ("n", "k")
    assert not scores.causal
    assert {op.name: op.tokens for _, op in workload.ops()}["k"] == 1


def image(side: int, width: int) -> Workload:
    config = tf.ViTConfig(
        hidden_size=width, intermediate_size=40, num_hidden_layers=1, num_attention_heads=2,
        image_size=8 * side, patch_size=8,
    )  # fmt: skip
    return trace_model(config, task="feature-extraction")


@pytest.mark.parametrize(("side", "width"), [(4, 34), (4, 32), (3, 20), (3, 10), (6, 74), (2, 80)])
def test_an_image_has_one_structure(side, width):
    """17 tokens and 17 channels a head, 16 patches and 16 channels, ..."""
    workload = image(side, width)
    assert structure(workload) == structure(image(5, 24))
    assert workload.phases[0].tokens == side * side + 1


@pytest.mark.parametrize("tokens", [2, 4, 16, 32, 64, 96, 97, 131, 192])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_prompt_has_one_structure(name, tokens):
    member = ZOO[name]
    made = trace_model(member.config, task=member.task, prefill=tokens, decode=2)
    other = trace_model(member.config, task=member.task, prefill=13, decode=2)
    assert structure(made) == structure(other)
    model = build_model(member.config, member.task)
    assert [phase.macs(0) for phase in made.phases] == counted_macs(model, tokens, 1)


class Batched(nn.Module):
    """Attention over the tokens of each row of a batch."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = q @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ v


@pytest.mark.parametrize("tokens", [2, 3, 8, 24])
@pytest.mark.parametrize("batch", [2, 3, 8, 24])
def test_a_batch_of_sequences_is_refused(batch, tokens):
    with pytest.raises(
        WorkloadError,
        match=rf"attention within each of {batch} entries along axis "
        rf"0 of an input of shape \[{batch}, {tokens}, 24\]",
    ):
        trace_module(Batched(), (torch.zeros(batch, tokens, WIDTH),), name="m")
    model = tf.BertModel(tf.BertConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=1,
                                       num_attention_heads=3, vocab_size=50))  # fmt: skip
    with pytest.raises(WorkloadError, match=rf"attention within each of {batch} entries along ax"):
        trace_module(model, (torch.zeros(batch, tokens, dtype=torch.long),), name="m")


def test_a_batch_for_linear_layers_is_more_rows():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    one = trace_module(model, (torch.zeros(2, 5, 6),), name="m").phases
    assert one == trace_module(model, (torch.zeros(10, 6),), name="m").phases


@pytest.mark.parametrize("tokens", [5, 8, 24])
def test_padding_masks_are_refused_where_they_hide_something(tokens):
    seen = torch.ones(1, 1, tokens, dtype=torch.bool)
    x = torch.zeros(1, tokens, WIDTH)
    plain = trace_module(Batched(), (x,), name="m")
    assert trace_module(Batched(), (x, seen), name="m").macs == plain.macs
    for hidden in (seen, seen.expand(1, tokens, tokens)):
        hidden = hidden.clone()
        hidden[..., -2:] = False
        with pytest.raises(WorkloadError, match="the attention mask hides tokens from all others"):
            trace_module(Batched(), (x, hidden), name="m")
    causal = seen.expand(1, tokens, tokens).tril()
    padded = causal & hidden
    with pytest.raises(WorkloadError, match="the attention mask is neither causal nor a window"):
        trace_module(Batched(), (x, padded), name="m")
    assert trace_module(Batched(), (x, causal), name="m").macs == plain.macs


def test_a_mask_on_the_meta_device_cannot_be_read():
    x = torch.zeros(1, 7, WIDTH)
    for mask in (torch.ones(1, 7, 7, dtype=torch.bool), torch.zeros(1, 7, 7)):

        class Added(Batched):
            def forward(self, x, mask):
                q, k, v = self.qkv(x).chunk(3, -1)
                scores = q @ k.transpose(-1, -2)
                scores = (
                    scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, -9)
                )
                return scores.softmax(-1) @ v

        with pytest.raises(WorkloadError, match="the attention mask has no numbers"):
            trace_module(Added(), (x, mask.to("meta")), name="m")


def library_attention(**options):
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(WIDTH, 24), nn.Linear(WIDTH, 16)

        def forward(self, x):
            q = self.q(x).view(1, 7, 6, 4).transpose(1, 2)
            k, v = self.kv(x).view(1, 7, 2, 2, 4).permute(2, 0, 3, 1, 4)
            given = {key: value(x) if callable(value) else value for key, value in options.items()}
            if "enable_gqa" not in options:
                k, v = (part.repeat_interleave(3, 1) for part in (k, v))
            return functional.scaled_dot_product_attention(q, k, v, **given)

    return trace_module(Module(), (torch.zeros(1, 7, WIDTH),), name="m")


OPTIONS = {
    "plain": ({}, False),
    "grouped": ({"enable_gqa": True}, False),
    "causal": ({"is_causal": True}, True),
    "both": ({"enable_gqa": True, "is_causal": True}, True),
    "scale": ({"scale": 0.3}, False),
    "dropout": ({"dropout_p": 0.5}, False),
    "mask": ({"attn_mask": lambda x: torch.ones(7, 7, device=x.device).tril().bool()}, True),
    "added": ({"attn_mask": lambda x: torch.full((7, 7), -1e9, device=x.device).triu(1),
               "enable_gqa": True}, True),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_library_function(name):
    options, causal = OPTIONS[name]
    workload = library_attention(**options)
    scores, values = (op for _, op in workload.ops() if isinstance(op, MatMul))
    assert (scores.batch, scores.m, scores.k, scores.n) == (6, 7, 4, 7)
    assert (scores.stationary_token_axis, values.stationary_token_axis) == ("n", "k")
    assert scores.stationary_batch == values.stationary_batch == 2
    assert scores.causal is values.causal is causal
    assert workload.macs == 7 * WIDTH * 40 + 2 * 6 * 7 * 7 * 4


def test_rows_looked_up_by_position_come_with_the_tokens_that_they_are_added_to():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(11, 6), nn.Embedding(9, 6)
            self.linear = nn.Linear(6, 6)

        def forward(self, ids):
            at = torch.arange(ids.shape[1], device=ids.device)
            return self.linear(self.words(ids) + self.places(at))

    work = trace_module(Model(), (torch.zeros(1, 5, dtype=torch.long),), name="m")
    assert [op.tokens for op in work.phases[0].ops] == [5, 5, 5, 5]
