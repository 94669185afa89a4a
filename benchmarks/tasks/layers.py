"""Layers of strategies, trained or as a chip runs them; a weight [out, in] is that of `layer`."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

ROWS = COLUMNS = 64
"""Arrays of halora_rram_sram."""
KEPT, THRESHOLD = 1e-2, 5e-3
"""Scores: at the start, and above which a column is kept. Published for weights: Piggyback."""
SHIFTS = (-2, 1)
"""Choice: two bits."""


class _Hard(torch.autograd.Function):
    @staticmethod
    def forward(ctx, soft, hard):
        """The hard value; the gradient passes straight through."""
        return hard

    @staticmethod
    def backward(ctx, slope):
        """See forward."""
        return slope, None


class _Over(nn.Linear):
    """A linear layer that shares the frozen weight and bias of another."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, True, "meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)

    def by_rows(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers [row blocks, out] for every weight, [out, in]."""
        return numbers.repeat_interleave(ROWS, 0)[: self.in_features].T


class ColumnNumbers(_Over):
    """A gate (xbm) or a shift (xma) on each column of each row block."""

    def __init__(self, layer: nn.Linear, kind: str) -> None:
        super().__init__(layer)
        self.kind = kind
        shape = math.ceil(layer.in_features / ROWS), layer.out_features
        self.scores = nn.Parameter(torch.full(shape, KEPT if kind == "gate" else 0.0))

    def numbers(self) -> torch.Tensor:
        """As the machine has them, [row blocks, out]."""
        scores = self.scores
        if self.kind == "gate":
            return _Hard.apply(scores, (scores > THRESHOLD).to(scores.dtype))
        return torch.exp2(_Hard.apply(scores, scores.round().clamp(*SHIFTS)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        return functional.linear(x, self.weight * self.by_rows(self.numbers()), self.bias)


class ChosenArrays(_Over):
    """xma2: arrays that are `chosen` [row blocks, column blocks] change, others are scaled."""

    def __init__(self, layer: nn.Linear, chosen: torch.Tensor) -> None:
        super().__init__(layer)
        self.register_buffer("chosen", chosen)
        self.scale = nn.Parameter(torch.ones(chosen.shape[0], layer.out_features))
        self.change = nn.Parameter(torch.zeros_like(layer.weight))

    def places(self) -> torch.Tensor:
        """Weights of chosen arrays, [out, in]."""
        return self.by_rows(self.chosen.repeat_interleave(COLUMNS, 1)[:, : self.out_features])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        scaled = self.weight * self.by_rows(self.scale)
        weight = torch.where(self.places(), self.weight + self.change, scaled)
        return functional.linear(x, weight, self.bias)


class Fused(_Over):
    """lora-fusion, merged: coefficients c [K] of a block, magnitudes m [out]."""

    def __init__(
        self, layer: nn.Linear, a: torch.Tensor, b: torch.Tensor, c: nn.Parameter, scale: float
    ) -> None:
        super().__init__(layer)
        self.register_buffer("A", a)
        self.register_buffer("B", b)
        self.c, self.s = c, scale
        self.m = nn.Parameter(layer.weight.norm(dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        a = torch.einsum("k,kri->ri", self.c, self.A)
        b = torch.einsum("k,kor->or", self.c, self.B)
        weight = self.weight + self.s * (b @ a)
        gain = self.m / weight.norm(dim=1).detach()
        return functional.linear(x, weight * gain[:, None], self.bias)


class PrunedLora(_Over):
    """pruned-lora: Gumbel-sigmoid gates on output channels of the frozen weight, LoRA beside it."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, source: torch.Generator) -> None:
        super().__init__(layer)
        self.theta = nn.Parameter(torch.full((layer.out_features,), 2.0))
        self.A = nn.Parameter(torch.empty(rank, layer.in_features))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5), generator=source)
        self.B = nn.Parameter(torch.zeros(layer.out_features, rank))
        self.s = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        logits = self.theta
        if self.training:
            drawn = torch.rand(2, len(logits)).clamp_min(1e-9)
            gumbel = -torch.log(-torch.log(drawn))
            logits = logits + gumbel[0] - gumbel[1]
        soft = torch.sigmoid(logits)
        gate = soft + ((soft > 0.5).to(soft.dtype) - soft).detach()
        lora = functional.linear(functional.linear(x, self.A), self.B)
        return functional.linear(x, self.weight) * gate + self.bias + lora * self.s


class Beside(_Over):
    """LoRA in exact units beside the array, with a number g on each output, a gate behind W."""

    def __init__(self, layer, a, b, scale, g=None, gate=None) -> None:
        super().__init__(layer)
        self.A, self.B, self.s, self.g, self.gate = a, b, scale, g, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        out = functional.linear(x, self.weight)
        if self.gate is not None:
            out = out * self.gate
        out = out + functional.linear(functional.linear(x, self.A), self.B) * self.s
        return (out if self.g is None else out * self.g) + self.bias


class OnArrays(nn.Module):
    """W and K adapters on arrays, with LoRAFusion's data flow; K = 1 with c = 1 is plain LoRA."""

    def __init__(self, layer, a, b, c, g, scale) -> None:
        super().__init__()
        self.K, self.r, self.s = a.shape[0], a.shape[1], scale
        self.base = nn.Linear(layer.in_features, layer.out_features, False)
        self.base.weight = layer.weight
        self.a = nn.Linear(layer.in_features, self.K * self.r, False)
        self.a.weight = nn.Parameter(a.reshape(self.K * self.r, -1), False)
        self.b = nn.Linear(self.K * self.r, layer.out_features, False)
        wide = b.permute(1, 0, 2).reshape(layer.out_features, self.K * self.r)
        self.b.weight = nn.Parameter(wide.contiguous(), False)
        for name, tensor in (("c", c), ("g", g), ("bias", layer.bias.detach())):
            self.register_buffer(name, tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        if self.K == 1:
            branch = self.b(self.a(x))
        else:
            parts = self.a(x).view(*x.shape[:-1], self.K, self.r)
            z = (parts * self.c[:, None]).sum(-2, keepdim=True)
            branch = self.b((z * self.c[:, None]).flatten(-2))
        return self.g * (self.base(x) + self.s * branch) + self.bias


class WithDelta(nn.Module):
    """W and a difference, each on arrays of its own."""

    def __init__(self, layer: nn.Linear, difference: torch.Tensor) -> None:
        super().__init__()
        self.base = nn.Linear(layer.in_features, layer.out_features)
        self.base.weight, self.base.bias = layer.weight, layer.bias
        self.delta = nn.Linear(layer.in_features, layer.out_features, False)
        self.delta.weight = nn.Parameter(difference, False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        return self.base(x) + self.delta(x)


def ternary(difference: torch.Tensor) -> torch.Tensor:
    """-s, 0 or s a weight with one s an output.

    Threshold 0.7 mean |d| and s the mean |d| above it: Li and Liu, arXiv 1605.04711.
    """
    size = difference.abs()
    kept = size > 0.7 * size.mean(1, keepdim=True)
    scale = (size * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
    return difference.sign() * kept * scale
