"""Plain modules: single operations and structures with known answers."""

from __future__ import annotations

import itertools
import re
import warnings

import pytest
import torch
from frontend_zoo import counted_macs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_module
from cimsim.ir import Elementwise, Linear, MatMul, Move, Norm, Reduce, Softmax

assert counted_macs  # the zoo sets one torch thread


def ops_of(module, *inputs):
    return trace_module(module, inputs, name="m").phases[0].ops


def one(module, *inputs):
    (op,) = ops_of(module, *inputs)
    return op


class Do(nn.Module):
    """A module that runs a function, with a weight for it to use."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(shape)) if shape else None

    def forward(self, *inputs):
        return self.function(self, *inputs)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 9),
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    bias=st.booleans(),
)
def test_a_perceptron_counts_rows_times_weights(rows, widths, bias):
    layers = [nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(widths)]
    model = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])
    workload = trace_module(model, (torch.zeros(rows, widths[0]),), name="mlp")
    weights = sum(a * b for a, b in itertools.pairwise(widths))
    assert workload.macs == rows * weights
    assert workload.parameter_count == weights + bias * sum(widths[1:])
    (phase,) = workload.phases
    assert phase.tokens == rows
    assert [op.tokens for op in phase.ops] == [rows] * 2 * len(layers)
    assert [op.kind for op in phase.ops] == ["linear", "elementwise"] * len(layers)
    for before, after in zip(phase.ops, phase.ops[1:], strict=False):
        assert after.inputs == (before.name,)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(rows, widths[0]))
    assert counter.get_total_flops() == 2 * workload.macs


def test_the_module_is_left_as_it_is():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4)).train()
    x = torch.randn(3, 4)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    ops = ops_of(model, x)
    assert [op.kind for op in ops] == ["linear"]
    assert model.training
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("stride", "gathers"), [(4, False), (2, True)])
def test_convolution_is_a_linear_layer_over_patches(stride, gathers):
    model = nn.Sequential(nn.Conv1d(3, 8, kernel_size=4, stride=stride), nn.ReLU())
    x = torch.zeros(1, 3, 16)
    conv, _ = ops_of(model, x)
    rows = (16 - 4) // stride + 1
    assert (conv.rows, conv.in_features, conv.out_features) == (rows, 12, 8)
    assert conv.tokens == rows
    assert not conv.gathers, "its input is no token stream"
    stacked = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Conv1d(4, 4, 3, padding=1))
    assert [op.gathers for op in ops_of(stacked, x)] == [False, True]


def test_an_unknown_operation_is_named_with_its_module():
    model = nn.Sequential(nn.Linear(4, 4), Do(lambda _, x: torch.special.bessel_j0(x)))
    with pytest.raises(WorkloadError, match=re.escape(
        "module '1': cimsim does not know the operation aten::special_bessel_j0. Replace it in "
        "the model, or name its category in cimsim/frontend/aten.py."
    )):  # fmt: skip
        ops_of(model, torch.zeros(3, 4))


def test_a_failing_forward_pass_is_named_with_its_module():
    model = nn.Sequential(nn.Linear(4, 4), Do(lambda _, x: x if x.sum() > 0 else -x))
    with pytest.raises(WorkloadError, match=r"^module '1' cannot run on shapes alone: Runtime"):
        ops_of(model, torch.zeros(3, 4))


RMS = {
    "rsqrt": lambda m, x: m.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
    "plus one": lambda m, x: (
        x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + m.weight)
    ),
    "power": lambda m, x: m.weight * x * torch.pow((x * x).mean(-1, keepdim=True) + 1e-6, -0.5),
    "root": lambda m, x: x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + 1e-6) * m.weight,
    "reciprocal": lambda m, x: (
        x * (x.square().mean(-1, keepdim=True) + 1e-6).sqrt().reciprocal() * m.weight
    ),
    "cast": lambda m, x: (
        m.weight * (x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True))).float()
    ),
}
NO_RMS = {
    "mean": lambda m, x: m.weight * x * torch.rsqrt(x.mean(-1, keepdim=True) + 1e-6),
    "axis": lambda m, x: m.weight * x * torch.rsqrt(x.pow(2).mean(0, keepdim=True) + 1e-6),
    "other": lambda m, x: m.weight * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) + x,
    "cube": lambda m, x: m.weight * x * torch.rsqrt(x.pow(3).mean(-1, keepdim=True) + 1e-6),
    "no root": lambda m, x: m.weight * x * (x.pow(2).mean(-1, keepdim=True) + 1e-6),
}


@pytest.mark.parametrize("spelling", RMS)
def test_rms_norm_is_found_by_structure(spelling):
    op = one(Do(RMS[spelling], 6), torch.zeros(5, 6))
    assert isinstance(op, Norm)
    assert (op.norm, op.rows, op.columns) == ("rms", 5, 6)


@pytest.mark.parametrize("spelling", NO_RMS)
def test_what_only_looks_like_it_stays_what_it_is(spelling):
    ops = ops_of(Do(NO_RMS[spelling], 6), torch.zeros(5, 6))
    assert not any(isinstance(op, Norm) for op in ops)
    assert any(isinstance(op, Reduce) for op in ops)


def test_names_of_classes_decide_nothing():
    class LayerNorm(nn.Linear):
        pass

    assert isinstance(one(LayerNorm(4, 5), torch.zeros(3, 4)), Linear)


def test_built_in_norms():
    for module, norm, columns in [
        (nn.LayerNorm(6), "layer", 6),
        (nn.RMSNorm(6), "rms", 6),
        (nn.GroupNorm(2, 6), "group", 3),
    ]:
        op = one(module, torch.zeros(5, 6))
        assert (op.norm, op.columns, op.rows) == (norm, columns, 30 // columns)


def test_elementwise_chains_are_fused_where_nothing_stands_between():
    def chain(_, x):
        return torch.tanh(x * 2 + 1) * x

    op = one(Do(chain), torch.zeros(5, 6))
    assert op.functions == {"mul": 2, "add": 1, "tanh": 1}
    assert op.elements == 30

    def interrupted(m, x):
        y = x * 2
        z = y @ m.weight
        return z + y

    ops = ops_of(Do(interrupted, 6, 6), torch.zeros(5, 6))
    assert [op.kind for op in ops] == ["elementwise", "linear", "elementwise"]
    assert ops[2].inputs == (ops[1].name, ops[0].name)

    def two(_, x):
        return (x * 2) + (x * 3)

    assert one(Do(two), torch.zeros(5, 6)).functions == {"mul": 2, "add": 1}


def test_chains_do_not_cross_modules_or_sizes():
    ops = ops_of(nn.Sequential(nn.ReLU(), nn.Tanh()), torch.zeros(5, 6))
    assert [op.functions for op in ops] == [{"relu": 1}, {"tanh": 1}]
    ops = ops_of(Do(lambda _, x: (x[:1] * 2) + x), torch.zeros(5, 6))
    assert [op.elements for op in ops] == [6, 30]


def test_mask_arithmetic_is_no_operation():
    def forward(m, x):
        mask = torch.full((5, 5), -1e9).triu(1).to(x.device) * 1.0
        rows = torch.arange(5, device=x.device).cos()
        return (x @ m.weight) * rows[:, None] + mask.sum()

    ops = ops_of(Do(forward, 6, 6), torch.zeros(5, 6))
    assert [op.kind for op in ops] == ["linear", "elementwise"]


def test_a_table_of_constants_is_no_operation():
    def forward(m, x):
        table = torch.arange(5.0, device=x.device)[:, None] @ torch.ones(1, 6, device=x.device)
        return x @ m.weight + table

    linear, add = ops_of(Do(forward, 6, 6), torch.zeros(5, 6))
    assert add.inputs == (linear.name,)

    def fixed(m, x):
        return (x @ m.weight) @ torch.ones(6, 3, device=x.device)

    with pytest.raises(WorkloadError, match=r": a product with a constant matrix \(a buffer, or"):
        ops_of(Do(fixed, 6, 6), torch.zeros(5, 6))


def test_writes_in_place_are_followed():
    def forward(m, x):
        y = x @ m.weight
        y.mul_(2)
        z = torch.zeros_like(y)
        z[:, :3] = y[:, :3]
        return z + 1

    linear, scale, copy, add = ops_of(Do(forward, 6, 6), torch.zeros(5, 6))
    assert scale.inputs == (linear.name,)
    assert isinstance(copy, Move)
    assert copy.inputs == (scale.name,)
    assert copy.name in add.inputs


def attention(causal):
    def forward(m, x):
        q, k, v = (x @ m.weight).view(1, 7, 3, 2, 8).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return Do(forward, 16, 48)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_the_library_function(causal):
    ops = ops_of(attention(causal), torch.zeros(1, 7, 16))
    scores, values = (op for op in ops if isinstance(op, MatMul))
    (softmax,) = (op for op in ops if isinstance(op, Softmax))
    assert (scores.batch, scores.m, scores.k, scores.n) == (2, 7, 8, 7)
    assert (values.batch, values.m, values.k, values.n) == (2, 7, 7, 8)
    assert (scores.stationary_token_axis, values.stationary_token_axis) == ("n", "k")
    assert scores.causal is softmax.causal is values.causal is causal


def test_library_layers_count_like_the_flop_counter():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    x = torch.zeros(1, 7, 16)
    workload = trace_module(layer, {"src": x}, name="layer")
    with FlopCounterMode(display=False) as counter:
        layer.train()(x)
    assert workload.macs == counter.get_total_flops() // 2
    assert {op.tokens for op in workload.phases[0].ops} == {7}


MASKS = {
    "added": (lambda s, m: s + m.masked_fill(m == 0, float("-inf")), torch.ones(7, 7).tril()),
    "filled": (lambda s, m: s.masked_fill(m == 0, -1e9), torch.ones(7, 7).tril()),
    "chosen": (lambda s, m: torch.where(m > 0, s, -1e9), torch.ones(7, 7).tril()),
    "inverse": (lambda s, m: torch.where(m > 0, -1e9, s), torch.ones(7, 7).triu(1)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_causal_mask_is_read_from_its_numbers(kind):
    apply, mask = MASKS[kind]

    class Masked(nn.Module):
        def __init__(self, mask):
            super().__init__()
            self.qkv = nn.Linear(8, 24)
            self.register_buffer("mask", mask)

        def forward(self, x):
            q, k, v = self.qkv(x).split(8, dim=-1)
            return apply(q @ k.T, self.mask).softmax(-1) @ v

    for numbers, causal in [(mask, True), (torch.ones(7, 7) - mask * 0, None)]:
        if kind == "inverse" and causal is None:
            numbers = torch.zeros(7, 7)
        flags = [op.causal for op in ops_of(Masked(numbers), torch.zeros(7, 8))
                 if isinstance(op, MatMul | Softmax)]  # fmt: skip
        assert flags == [causal is True] * 3
    with torch.device("meta"):
        unknown = Masked(torch.ones(7, 7))
    with pytest.raises(WorkloadError, match="so whether it is causal cannot be told"):
        ops_of(unknown, torch.zeros(7, 8))


def test_a_shift_along_the_tokens_gathers():
    def rolled(m, x):
        return torch.roll(x @ m.weight, 1, dims=0) * 2

    linear, roll, scale = ops_of(Do(rolled, 6, 6), torch.zeros(5, 6))
    assert [op.gathers for op in (linear, roll, scale)] == [False, True, False]

    def turned(m, x):
        return torch.roll(x @ m.weight, 1, dims=1)

    assert not any(op.gathers for op in ops_of(Do(turned, 6, 6), torch.zeros(5, 6)))

    def broadcast(m, x):
        y = x @ m.weight
        return y + y[-1:]

    assert [op.gathers for op in ops_of(Do(broadcast, 6, 6), torch.zeros(5, 6))] == [False, True]

    def reversed_scores(m, x):
        scores = (x @ m.weight) @ x.T.clone()
        return scores + scores.T

    ops = ops_of(Do(reversed_scores, 6, 6), torch.zeros(5, 6))
    assert ops[-1].gathers


def test_experts_in_one_parameter_are_refused():
    def forward(m, x):
        return x.expand(3, 5, 6) @ m.weight

    with pytest.raises(WorkloadError, match=r"^module '\(the model itself\)': 3 products with 3"):
        ops_of(Do(forward, 3, 6, 6), torch.zeros(5, 6))


def test_a_shared_layer_is_called_twice_with_two_names():
    shared = nn.Linear(4, 4)
    first, second = ops_of(nn.Sequential(shared, shared), torch.zeros(3, 4))
    assert (first.name, second.name) == ("0", "0/linear.1")
    assert first.weight == second.weight == "0.weight"


def test_elementwise_takes_the_larger_of_two():
    op = one(Do(lambda _, x: torch.max(x, x * 2)), torch.zeros(3, 4))
    assert isinstance(op, Elementwise)
    assert op.functions == {"mul": 1, "maximum": 1}
    reduce = one(Do(lambda _, x: x.amax(-1)), torch.zeros(3, 4))
    assert (reduce.function, reduce.elements, reduce.inputs_per_output) == ("max", 3, 4)


@pytest.mark.filterwarnings("error")
def test_what_a_model_warns_of_is_no_error_of_ours():
    class Warns(nn.Linear):
        def forward(self, x):
            warnings.warn("renamed", FutureWarning, stacklevel=1)
            return super().forward(x)

    assert isinstance(one(Warns(4, 4), torch.zeros(3, 4)), Linear)


def test_numbers_that_stand_in_the_code_are_known():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 4) for _ in range(3))

        def forward(self, x):
            at = torch.arange(5, device=x.device)
            zero, least = (torch.tensor(number, device=x.device) for number in (0.0, -1e9))
            mask = torch.where(at[:, None] >= at, zero, least)
            scores = self.q(x) @ self.k(x).T + mask
            return scores.softmax(-1) @ self.v(x)

    *_, values = ops_of(Attention(), torch.zeros(5, 6))
    assert values.causal
