"""Linear layers and convolutions with a trained number on each column of each row block.

y[o] = sum over row blocks t of a[t, o] p[t, o] + b[o], p the partial sum of `rows` inputs. So that
dL/da[t, o] is the sum of dL/dy[o] p[t, o]: training needs partial sums alone, no weight changes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from cimsim.adaptation.layers.shared import conv_arguments, share_frozen
from cimsim.errors import MappingError

Kind = Literal["gate", "shift", "scale"]
SCORE = 1e-2
"""Score of a kept column at the start, as of a weight in Piggyback (Mallya et al., ECCV 2018)."""
WORD_BITS = 16
"""Choice: the width of a result word on most of the shipped machines."""
THRESHOLD = 5e-3
"""Scores above it keep their column. Source: Mallya et al., ECCV 2018, of weights."""


class _Hard(torch.autograd.Function):
    """A value in the forward pass; the gradient passes straight through to the soft one."""

    @staticmethod
    def forward(ctx: Any, soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
        return hard.to(soft.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


def hardened(soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """`hard` with the gradient of `soft`."""
    found: torch.Tensor = _Hard.apply(soft, hard)  # type: ignore[no-untyped-call]
    return found


class Columns(nn.Module):
    """The numbers of one weight, [blocks, outputs], from `scores`, which are trained.

    `rows` inputs a row block. `gate`: 1 for scores above a threshold, else 0. `shift`: 2 to the
    power of the score rounded to a signed number of `bits`; the least of them may stand for `zero`.
    `scale`: the score rounded to `bits` of fixed point, 0 to below 2. All begin at 1. A shifted
    result has `word_bits`: on tiles a shift to the left saturates, one to the right drops low bits.
    """

    def __init__(
        self, kind: Kind, bits: int, rows: int, shape: tuple[int, int], *,
        zero: bool = False, word_bits: int = WORD_BITS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind, self.bits, self.rows, self.zero = kind, bits, rows, zero
        self.shape = shape
        self.word_bits = word_bits if kind == "shift" else None
        start = {"gate": SCORE, "shift": 0.0, "scale": 1.0}[kind]
        self.scores = nn.Parameter(torch.full(shape, start))

    def numbers(self) -> torch.Tensor:
        """The numbers as the machine has them; a gradient passes straight through rounding."""
        found = hardened(self.scores, self.codes / self._one)
        if self.kind != "shift":
            return found
        shifted = torch.exp2(found)
        return shifted * (found > self._ends[0]) if self.zero else shifted

    @property
    def codes(self) -> torch.Tensor:
        """What registers hold, whole numbers [blocks, outputs]: a bit, a power, a fixed point."""
        scores = self.scores.detach()
        if self.kind == "gate":
            return (scores > THRESHOLD).to(torch.int32)
        return (scores * self._one).round().clamp(*self._ends).to(torch.int32)

    def set_codes(self, codes: torch.Tensor) -> None:
        """Scores of which `codes` [blocks, outputs] are made, as at the start where a gate is 1."""
        one = SCORE if self.kind == "gate" else 1.0 / self._one
        with torch.no_grad():
            self.scores.copy_(codes.to(self.scores.dtype) * one)

    @property
    def _ends(self) -> tuple[int, int]:
        """Least and largest code of a shift or scale."""
        half = 1 << (self.bits - 1)
        return (-half, half - 1) if self.kind == "shift" else (0, 2 * half - 1)

    @property
    def _one(self) -> int:
        """The code of a number of 1, of a shift that of a score of 1."""
        return 1 << (self.bits - 1) if self.kind == "scale" else 1

    @property
    def kept_share(self) -> float:
        """Share of columns that are not 0."""
        return float((self.numbers() != 0).double().mean())

    @property
    def numbered(self) -> torch.Tensor:
        """True where a column has a number, [blocks, outputs]: everywhere."""
        return torch.ones(self.shape, dtype=torch.bool)

    def blocks(self, inputs: int) -> list[slice]:
        """The inputs of each row block."""
        return [slice(a, min(inputs, a + self.rows)) for a in range(0, inputs, self.rows)]

    def spread(self, inputs: int) -> torch.Tensor:
        """The number of every weight, [outputs, inputs]."""
        return self.numbers().T.repeat_interleave(self.rows, 1)[:, :inputs]

    def learning(self, weight: torch.Tensor) -> torch.Tensor:
        """`weight` with a gradient where it learns beside the numbers: nowhere."""
        return weight

    def extra_repr(self) -> str:
        """What they are, for `print(model)`."""
        return f"{self.kind} of {self.bits} bits, {self.rows} rows a block"


class ArrayScales(Columns):
    """Scales of `bits` on the columns of arrays that stay, beside arrays that a task rewrites.

    Arrays hold `rows` x `array_columns` weights; those that are `chosen` [blocks, column blocks],
    none at the start, have numbers of 1 and weights that learn.
    """

    chosen: torch.Tensor

    def __init__(self, bits: int, rows: int, array_columns: int, shape: tuple[int, int]) -> None:
        super().__init__("scale", bits, rows, shape)
        self.array_columns = array_columns
        across = math.ceil(shape[1] / array_columns)
        self.register_buffer("chosen", torch.zeros((shape[0], across), dtype=torch.bool))

    def numbers(self) -> torch.Tensor:
        """The scales, 1 where an array is rewritten; a gradient passes through rounding."""
        return torch.where(self._rewritten, 1.0, super().numbers())

    @property
    def codes(self) -> torch.Tensor:
        """What registers hold, that of a number of 1 where an array is rewritten."""
        return torch.where(self._rewritten, self._one, super().codes)

    @property
    def numbered(self) -> torch.Tensor:
        """True where a column has a number: not where an array is rewritten."""
        return ~self._rewritten

    def places(self, weight: torch.Tensor) -> torch.Tensor:
        """True for the values of `weight` [outputs, ...] that are in chosen arrays."""
        inputs = weight[0].numel()
        every = self._rewritten.T.repeat_interleave(self.rows, 1)[:, :inputs]
        return every.reshape(weight.shape)

    def learning(self, weight: torch.Tensor) -> torch.Tensor:
        """`weight` with a gradient in the arrays that are rewritten."""
        return torch.where(self.places(weight), weight, weight.detach())

    @property
    def _rewritten(self) -> torch.Tensor:
        """[blocks, outputs]."""
        return self.chosen.repeat_interleave(self.array_columns, 1)[:, : self.shape[1]]


class ChannelGates(Columns):
    """Gates of whole channels, [blocks, outputs], from `theta` [outputs], which is trained.

    In training mode a gate is drawn: 1 where sigmoid((theta + g1 - g2) / `temperature`) > 1/2 with
    Gumbel noise g, the gradient that of the sigmoid; else it is 1 where theta > 0. Draws are of
    torch's generator. Source: Jang et al., ICLR 2017 (Gumbel-softmax), of two classes.
    """

    def __init__(
        self, rows: int, shape: tuple[int, int], start: float, temperature: float = 1.0
    ) -> None:
        super().__init__("gate", 1, rows, shape)
        del self.scores
        self.start, self.temperature = start, temperature
        self.theta = nn.Parameter(torch.full(shape[1:], start))

    def numbers(self) -> torch.Tensor:
        """The gates, drawn in training mode."""
        logits: torch.Tensor = self.theta
        if self.training:
            # choice: away from 0 and 1, where the logarithms end
            uniform = torch.rand_like(logits).clamp(1e-6, 1.0 - 1e-6)
            logits = logits + torch.log(uniform) - torch.log1p(-uniform)
        return hardened(torch.sigmoid(logits / self.temperature), logits > 0).expand(self.shape)

    @property
    def codes(self) -> torch.Tensor:
        """A bit for each channel, [blocks, outputs]."""
        return (self.theta.detach() > 0).to(torch.int32).expand(self.shape)

    def set_codes(self, codes: torch.Tensor) -> None:
        """Theta as far on either side of 0 as at the start; of `codes` the first row counts."""
        with torch.no_grad():
            self.theta.copy_((2.0 * codes[0].to(self.theta.dtype) - 1.0) * abs(self.start))


class ColumnLinear(nn.Linear):
    """A linear layer with `columns`; weight and bias are those of `layer`, frozen.

    Beside `ArrayScales` the weight is its own: that of arrays that are rewritten learns.
    """

    def __init__(self, layer: nn.Linear, columns: Columns) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, "meta")
        _take(self, layer, columns)
        self.columns = columns

    def partial_sums(self, x: torch.Tensor) -> torch.Tensor:
        """[..., blocks, out] of inputs [..., in]."""
        weight = self.columns.learning(self.weight)
        parts = [
            functional.linear(x[..., rows], weight[:, rows])
            for rows in self.columns.blocks(self.in_features)
        ]
        return torch.stack(parts, -2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        out = (self.partial_sums(x) * self.columns.numbers().to(x.dtype)).sum(-2)
        return out if self.bias is None else out + self.bias


class ColumnConv2d(nn.Conv2d):
    """A convolution with `columns`; rows are inputs by kernel place, as im2col has, of a group.

    The number is multiplied into the kernel, which is the same sum. Raises MappingError for
    groups beside `ArrayScales`.
    """

    def __init__(self, layer: nn.Conv2d, columns: Columns) -> None:
        if layer.groups != 1 and isinstance(columns, ArrayScales):
            raise MappingError(
                f"arrays to rewrite of a convolution in {layer.groups} groups: groups share arrays "
                "there, in blocks of their own; leave it out, or scale its columns alone "
                "(xma:kind=scale)."
            )
        super().__init__(**conv_arguments(layer))
        _take(self, layer, columns)
        self.columns = columns

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """An image to an image."""
        numbers = self.columns.spread(self.weight[0].numel()).reshape(self.weight.shape)
        kernel = self.columns.learning(self.weight) * numbers.to(self.weight.dtype)
        out: torch.Tensor = self._conv_forward(input, kernel, self.bias)
        return out


ColumnLayer = ColumnLinear | ColumnConv2d


def numbered_layer(layer: nn.Linear | nn.Conv2d, columns: Columns) -> ColumnLayer:
    """`layer` with `columns`; raises MappingError for those of another shape, and for
    `ArrayScales` on groups.
    """
    if isinstance(layer, nn.Linear):
        return ColumnLinear(layer, columns)
    return ColumnConv2d(layer, columns)


def _take(mine: nn.Linear | nn.Conv2d, layer: nn.Linear | nn.Conv2d, columns: Columns) -> None:
    """Share the parameters of `layer`, frozen; raises MappingError for numbers of another shape."""
    wanted = shape_of(layer, columns.rows)
    if columns.shape != wanted:
        raise MappingError(
            f"a weight of {layer.weight[0].numel()} inputs and {layer.weight.shape[0]} outputs has "
            f"{wanted[0]} x {wanted[1]} columns in blocks of {columns.rows} rows, the numbers are "
            f"{columns.shape}."
        )
    share_frozen(mine, layer)
    columns.to(layer.weight.device)
    if isinstance(columns, ArrayScales):
        mine.weight = nn.Parameter(layer.weight.detach().clone())


def shape_of(layer: nn.Linear | nn.Conv2d, rows: int) -> tuple[int, int]:
    """Row blocks (of a group) and outputs of a layer on arrays of `rows` rows."""
    return math.ceil(layer.weight[0].numel() / rows), layer.weight.shape[0]


def with_numbers(
    model: nn.Module, kind: Kind, bits: int, rows: int, names: Collection[str] | None = None,
    *, zero: bool = False, word_bits: int = WORD_BITS,
) -> nn.Module:  # fmt: skip
    """A copy of `model` with numbers, all 1, on its linear layers and convolutions, those `names`.

    `rows` is that of an array (`rram.rows`). Raises MappingError for a name that is none of them,
    and where there is none.
    """
    twin = copy.deepcopy(model)
    found = {n: m for n, m in twin.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    chosen = list(found) if names is None else list(names)
    if unknown := [name for name in chosen if name not in found]:
        raise MappingError(
            f"{unknown[0]!r} is no linear layer or convolution of {type(model).__name__}."
        )
    if not chosen:
        raise MappingError(f"{type(model).__name__} has no linear layer to put numbers on.")
    for name in chosen:
        layer = found[name]
        columns = Columns(kind, bits, rows, shape_of(layer, rows), zero=zero, word_bits=word_bits)
        made = numbered_layer(layer, columns)
        if not name:
            return made
        twin.set_submodule(name, made)
    return twin


def with_word_bits(model: nn.Module, bits: int) -> nn.Module:
    """A copy of `model` whose shifted results go through words of `bits`."""
    twin = copy.deepcopy(model)
    for layer in column_layers(twin).values():
        layer.columns.word_bits = bits if layer.columns.kind == "shift" else None
    return twin


def column_layers(model: nn.Module) -> dict[str, ColumnLayer]:
    """The layers of `model` that have numbers on their columns, by path."""
    return {n: m for n, m in model.named_modules() if isinstance(m, ColumnLayer)}


def array_layers(model: nn.Module) -> dict[str, ColumnLayer]:
    """The layers of `model` of which arrays may be rewritten, by path."""
    found = column_layers(model).items()
    return {path: layer for path, layer in found if isinstance(layer.columns, ArrayScales)}


def scales_of(layer: ColumnLayer) -> ArrayScales:
    """The scales of a layer of `array_layers`."""
    assert isinstance(layer.columns, ArrayScales)
    return layer.columns


def check_numbers(model: nn.Module, strategy: str, kind: Kind, bits: int, rows: int) -> None:
    """Raise MappingError unless `model` has numbers of this kind, for arrays of `rows` rows."""
    layers = column_layers(model)
    if not layers:
        raise MappingError(
            f"{strategy} needs numbers on columns, but {type(model).__name__} has none: put them "
            "there with cimsim.adaptation.layers.columns.with_numbers, and train them."
        )
    for name, layer in layers.items():
        columns = layer.columns
        if (columns.kind, columns.bits) != (kind, bits):
            raise MappingError(
                f"{name} has a {columns.kind} of {columns.bits} bits on its columns, {strategy} "
                f"has a {kind} of {bits}: choose the adaptation that it was trained for."
            )
        if columns.rows != rows:
            raise MappingError(
                f"{name} has masks for arrays of {columns.rows} rows, the machine's have {rows}: "
                "masks are those of one array size; train them for this one."
            )


def check_channels(model: nn.Module) -> None:
    """Raise MappingError where a gate of `model` is not that of a whole channel."""
    for name, layer in column_layers(model).items():
        numbers = layer.columns.numbers().detach()
        if not bool((numbers == numbers[:1]).all()):
            raise MappingError(
                f"{name} has gates that differ between the row blocks of a channel: a channel is "
                "kept or gated as a whole."
            )
