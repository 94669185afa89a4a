"""Weights that are not used as they are stored: mapped with a tile of their own, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_module
from cimsim.ir import Linear, MatMul


class Uses(nn.Module):
    """A hidden layer, and a function of it and of a parameter of some shape."""

    def __init__(self, function, *shape):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.weight, self.scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.ones(1))
        self.function = function

    def forward(self, x):
        return self.function(self, self.first(x))


MAPPED = {
    "plain": (lambda m, h: functional.linear(h, m.weight), (5, 8)),
    "transposed": (lambda m, h: h @ m.weight, (8, 5)),
    "reshaped": (lambda m, h: h @ m.weight.reshape(8, 6), (8, 2, 3)),
    "flattened": (lambda m, h: functional.linear(h, m.weight.view(6, 8)), (2, 3, 8)),
    "einsum": (lambda m, h: torch.einsum("td,de->te", h, m.weight), (8, 5)),
    "heads": (lambda m, h: torch.einsum("td,dhe->the", h, m.weight), (8, 2, 3)),
    "bias": (lambda m, h: torch.addmm(m.scale, h, m.weight), (8, 5)),
    "left": (lambda m, h: m.weight @ h.T, (5, 8)),
    "unsqueezed": (lambda m, h: h[None] @ m.weight[None], (8, 5)),
    "expanded": (lambda m, h: h.expand(3, 5, 8) @ m.weight, (8, 5)),
    "all of it": (lambda m, h: functional.linear(h, m.weight[:]), (5, 8)),
}
REFUSED = {
    "scaled": (lambda m, h: functional.linear(h, m.weight * m.scale), (5, 8)),
    "by a constant": (lambda m, h: functional.linear(h, m.weight * 0.5), (5, 8)),
    "normalised": (lambda m, h: functional.linear(h, functional.normalize(m.weight)), (5, 8)),
    "masked": (lambda m, h: functional.linear(h, m.weight.tril()), (8, 8)),
    "merged": (lambda m, h: h @ (m.weight + m.weight.T), (8, 8)),
    "stacked": (lambda m, h: h @ torch.stack([m.weight, m.weight]), (8, 5)),
    "concatenated": (lambda m, h: h @ torch.cat([m.weight, m.weight], 1), (8, 5)),
    "multiplied": (lambda m, h: h @ (m.weight @ m.weight), (8, 8)),
    "looked up": (lambda m, h: h @ m.weight[torch.arange(3, device=h.device)].T, (5, 8)),
    "a softmax": (lambda m, h: h @ m.weight.softmax(-1), (8, 5)),
    "a bank": (lambda m, h: h.expand(3, 5, 8) @ m.weight, (3, 8, 5)),
    "einsum over a bank": (lambda m, h: torch.einsum("td,hde->the", h, m.weight), (2, 8, 3)),
    "gated": (lambda m, h: h @ (m.weight * h.mean()), (8, 5)),
}


@pytest.mark.parametrize("name", MAPPED)
def test_a_weight_is_stationary(name):
    function, shape = MAPPED[name]
    model, x = Uses(function, *shape), torch.zeros(5, 6)
    workload = trace_module(model, (x,), name="m")
    _, op = (op for _, op in workload.ops() if isinstance(op, Linear))
    assert op.weight == "weight"
    assert op.in_features * op.out_features == model.weight.numel()
    assert not any(isinstance(op, MatMul) for _, op in workload.ops())
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() == 2 * workload.macs


@pytest.mark.parametrize("name", REFUSED)
def test_a_computed_weight_is_refused(name):
    function, shape = REFUSED[name]
    with pytest.raises(WorkloadError, match=r"^module '\(the model itself\)': "):
        trace_module(Uses(function, *shape), (torch.zeros(5, 6),), name="m")


PARTS = {
    "rows": (lambda m, h: functional.linear(h, m.weight[:2]), (5, 8)),
    "columns": (lambda m, h: functional.linear(h[:, :3], m.weight[:, :3]), (5, 8)),
    "one of a bank": (lambda m, h: h @ m.weight[1], (3, 8, 5)),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_weight_has_its_own_tile(name):
    function, shape = PARTS[name]
    model, x = Uses(function, *shape), torch.zeros(5, 6)
    workload = trace_module(model, (x,), name="m")
    _, op = (op for _, op in workload.ops() if isinstance(op, Linear))
    part = next(p for p in workload.parameters if p.name == op.weight)
    assert part.size == op.in_features * op.out_features < model.weight.numel()
    assert workload.parameter_count == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() == 2 * workload.macs


def test_a_part_of_a_part_is_counted_from_the_whole():
    def twice(m, h):
        return functional.linear(h, m.weight[2:].T[:, 1:].T[:2])

    workload = trace_module(Uses(twice, 7, 8), (torch.zeros(5, 6),), name="m")
    used = [op.weight for _, op in workload.ops() if isinstance(op, Linear)]
    assert used == ["first.weight", "weight[3:5]"]


def test_parts_that_make_up_a_weight():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x, memory = torch.zeros(1, 5, 8), torch.zeros(1, 7, 8)

    class Crosses(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x, memory):
            return self.attention(x, memory, memory, need_weights=False)[0]

    workload = trace_module(Crosses(), (x, memory), name="m")
    assert workload.parameter_count == sum(p.numel() for p in attention.parameters())
    rows = {op.weight: (op.rows, op.out_features) for _, op in workload.ops()
            if isinstance(op, Linear)}  # fmt: skip
    assert rows == {
        "attention.in_proj_weight[0:8]": (5, 8),
        "attention.in_proj_weight[8:24]": (7, 16),
        "attention.out_proj.weight": (5, 8),
    }


def test_parts_that_overlap_are_refused():
    def both(m, h):
        return functional.linear(h, m.weight[:3]), functional.linear(h, m.weight[2:])

    def whole(m, h):
        return functional.linear(h, m.weight[:3]), functional.linear(h, m.weight)

    for function in (both, whole):
        with pytest.raises(WorkloadError, match=r"parts of the parameter 'weight' that overlap"):
            trace_module(Uses(function, 5, 8), (torch.zeros(5, 6),), name="m")
