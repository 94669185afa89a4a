"""Modules of a converted model: a linear layer on analog tiles, and one in FP16 on a cluster."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cimsim.adaptation.layers.columns import ColumnLayer
from cimsim.adaptation.layers.protected import ProtectedLinear, divided, with_rest
from cimsim.adaptation.layers.shared import conv_arguments
from cimsim.analog.crossbar import Readout
from cimsim.analog.hardware import with_bits
from cimsim.analog.mvm import ColumnNumbers, Mvm, not_computable
from cimsim.errors import SpecError
from cimsim.functional.operands import (
    F32,
    Deployment,
    Normals,
    Places,
    Ranges,
    TorchOperands,
    clipped_away,
    counted_normals,
    find_ranges,
    generated_normals,
    kernel_operands,
    read_out,
    seed_for,
    torch_operands,
)
from cimsim.functional.padding import Padding
from cimsim.functional.product import Counts, multiply
from cimsim.functional.recalibration import ColumnFit, fit_columns
from cimsim.functional.sites import Layer
from cimsim.functional.training import (
    Redraw,
    TileSigma,
    can_draw,
    exact_device,
    tile_sigmas,
    with_fresh_noise,
)
from cimsim.values.display import brief
from cimsim.values.ranges import LARGEST

Path = Literal["auto", "kernel", "torch"]
PATHS = ("auto", "kernel", "torch")


@brief
@dataclass
class Copy:
    """One programmed copy, what was calibrated of it, and what it was last laid out for."""

    seed: int
    places: Places = field(default=None, repr=False)
    ranges: Ranges | None = None
    fit: ColumnFit | None = None
    key: tuple[object, ...] = ()
    operands: Mvm | TorchOperands | None = field(default=None, repr=False)
    sigmas: tuple[TileSigma, ...] | None = field(default=None, repr=False)


SATURATION_WARNING = 0.01
"""Share of saturated conversions above which a layer warns, once until the next restart."""


class SaturationWarning(UserWarning):
    """The range of an ADC is too small for what its columns sum to."""


class AnalogLayer(nn.Module):
    """A linear layer (or a convolution, as one) that computes what its tiles compute.

    It shares weight and bias with the layer that it replaces. Inputs [draws x ..., K]: the first
    axis is cut into as many equal parts as chips are evaluated side by side. Vectors are dealt
    to the replicas of a chip in turn and numbered from the last `restart`, so that the noise of a
    vector does not depend on how a batch was split. Vectors that are `padding` get no number and
    do not reach the tiles. Numbers on columns (`columns`) act on codes behind the ADC.
    """

    divisors: torch.Tensor | None
    rest: torch.Tensor | None

    def __init__(
        self, name: str, layer: Layer, recipe: Deployment, seeds: tuple[int, ...], replicas: int,
        path: Path, redraw: Redraw,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.recipe, self.path, self.redraw = name, recipe, path, redraw
        self.weight, self.bias = layer.weight, layer.bias
        self.columns = layer.columns if isinstance(layer, ColumnLayer) else None
        own = layer if isinstance(layer, ProtectedLinear) else None
        self.register_buffer("divisors", None if own is None else own.divisors, persistent=False)
        self.register_buffer("rest", None if own is None else own.rest, persistent=False)
        self.in_features, self.out_features = recipe.grid.shape
        self.training = layer.training
        self.counts = Counts()
        self.padding: Padding | None = None
        self._patches = _Patches.of(layer)
        self._transposed = not isinstance(layer, nn.Linear | nn.Conv2d)
        self._seeds = seeds
        self._copies = [[Copy(seed_for(s, name, r)) for r in range(replicas)] for s in seeds]
        self._vectors = self._steps = 0
        self._warned = False

    def restart(self) -> None:
        """Number vectors from 0 again, forget counts: the next pass repeats the first."""
        self._vectors = self._steps = 0
        self._warned = False
        self.counts = Counts()

    def seek(self, step: int) -> None:
        """The next training pass draws what pass number `step` (from 0) draws."""
        self._steps, self._vectors = step, 0

    def convert(self, adc_bits: int) -> None:
        """Read the same cells through ADCs of so many bits in the same ranges."""
        hardware = with_bits(self.recipe.hardware, adc_bits=adc_bits)
        self.recipe = replace(self.recipe, hardware=hardware)
        through = self.recipe.compensate and hardware.compensation == "converters"
        for copy in (copy for copies in self._copies for copy in copies):
            if through:
                copy.operands = None
            elif isinstance(copy.operands, Mvm):
                copy.operands = copy.operands.converted(hardware.adc)
            elif copy.operands is not None:
                copy.operands = replace(copy.operands, hardware=hardware)

    def advance(self) -> None:
        """The model begins another forward pass: in training, time for new noise."""
        self._steps += self.training

    @property
    def _draw(self) -> int:
        return max(0, self._steps - 1) // self.redraw.every

    def weight_KN(self) -> torch.Tensor:
        """The weight as inputs x outputs; a view that passes gradients on."""
        return self.weight if self._transposed else self.weight.flatten(1).T

    def numbers_TN(self) -> torch.Tensor | None:
        """The numbers on the columns of each row of tiles, if there are any."""
        return None if self.columns is None else self.columns.numbers().to(torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs with bias, in the type of the input."""
        rows = self.rows_of(x)
        draws = self._parts(rows)
        flat = rows.reshape(draws, -1, rows.shape[-1]).to(torch.float32)
        tokens = None if self.padding is None else self.padding.tokens(self.name, rows)
        out = self._all(flat) if tokens is None else self._without_padding(flat, tokens)
        self._warn()
        out = out.view(*rows.shape[:-1], out.shape[-1]).to(x.dtype)
        out = with_rest(out, rows, self.rest)
        if self.bias is not None:
            out = out + self.bias
        return out if self._patches is None else self._patches.image(out, x)

    def _all(self, x_DBK: torch.Tensor) -> torch.Tensor:
        out = torch.cat([self._chip(copies, x_DBK[d]) for d, copies in enumerate(self._copies)])
        self._vectors += x_DBK.shape[1]
        return out

    def _without_padding(self, x_DBK: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """As `_all`, with zeros for all vectors but those numbered in `tokens`."""
        draws, vectors, _ = x_DBK.shape
        own = [tokens[tokens // vectors == d] - d * vectors for d in range(draws)]
        found = [self._chip(c, x_DBK[d][own[d]]) for d, c in enumerate(self._copies)]
        self._vectors += max(len(numbers) for numbers in own)
        out = x_DBK.new_zeros((draws * vectors, self.out_features))
        return out.index_copy(0, tokens, torch.cat(found))

    def _parts(self, rows: torch.Tensor) -> int:
        """Chips side by side; raises SpecError unless the first axis has as many equal parts."""
        draws = len(self._copies)
        if rows.shape[0] % draws:
            raise SpecError(
                f"{self.name}: {draws} chips side by side need a first axis of {draws} equal "
                f"parts, got {rows.shape[0]}; repeat the inputs (see `side_by_side`)."
            )
        return draws

    def _warn(self) -> None:
        share = self.counts.saturated / max(1, self.counts.conversions)
        if share > SATURATION_WARNING and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name}: {share:.1%} of the ADC conversions saturate; widen the ADC's range "
                "or calibrate it on typical inputs.",
                SaturationWarning,
                stacklevel=3,
            )

    def rows_of(self, x: torch.Tensor) -> torch.Tensor:
        """The vectors that go to the tiles, [..., K]: inputs, divided, or patches of an image."""
        return divided(x, self.divisors) if self._patches is None else self._patches.rows(x)

    def tokens_of(self, x: torch.Tensor) -> torch.Tensor:
        """The vectors [B, K] of an input that reach the tiles: no padding."""
        rows = self.rows_of(x)
        flat = rows.reshape(-1, rows.shape[-1])
        tokens = None if self.padding is None else self.padding.tokens(self.name, rows)
        return flat if tokens is None else flat[tokens]

    def calibrate(self, rows_BK: torch.Tensor) -> None:
        """Set the converter ranges of all copies from typical vectors (see `rows_of`)."""
        samples = rows_BK.detach().to("cpu", torch.float32).numpy()
        for copy in (copy for copies in self._copies for copy in copies):
            recipe = replace(self.recipe, compensate=False)  # which no range depends on
            readout = read_out(self.weight_KN(), recipe, copy.seed, copy.places)
            copy.ranges = find_ranges(readout, self.recipe.hardware, samples)
            copy.operands = None

    def recalibrate(self, rows_BK: torch.Tensor) -> None:
        """Fit scale and offset of every column of all copies to typical vectors (see `rows_of`).

        Raises SpecError where numbers of a task stand on the columns already.
        """
        if self.columns is not None:
            raise SpecError(
                f"{self.name}: its columns have numbers of a task, which recalibration would "
                "change: leave it out."
            )
        rows = rows_BK.detach().to("cpu", torch.float32).numpy()
        weight = self.weight_KN().detach().to("cpu", torch.float32).numpy()
        for copy in (copy for copies in self._copies for copy in copies):
            copy.fit = copy.operands = None
            readout, hardware = self._read(copy), self.recipe.hardware
            mvm = kernel_operands(readout, hardware, copy.ranges)
            copy.fit = fit_columns(mvm, weight, rows, seed_for(copy.seed, "recalibration", 0))
            # Kept for the kernels, which would program the copy once more.
            copy.operands = kernel_operands(copy.fit.on(readout), hardware, copy.ranges)
            copy.key = ("kernel", *self._key(copy))

    def _read(
        self, copy: Copy, recipe: Deployment | None = None, seed: int | None = None
    ) -> Readout:
        """The copy as it is read, with the scales that were fitted to it."""
        readout = read_out(
            self.weight_KN(), recipe or self.recipe, copy.seed if seed is None else seed,
            copy.places, copy.ranges,
        )  # fmt: skip
        return readout if copy.fit is None else copy.fit.on(readout)

    def cells_as_weight(self) -> F32:
        """The weight [K, N] that the cells of the first copy stand for."""
        return self._read(self._copies[0][0]).weights()

    def clipped_away(self) -> F32:
        """What clipping takes from the weight [K, N]."""
        return clipped_away(self.weight_KN(), self.recipe)

    def take_ranges(self, other: AnalogLayer) -> None:
        """Use the converter ranges that `other`, of the same weight, was calibrated to."""
        for mine, theirs in zip(self._copies, other._copies, strict=True):
            for copy, source in zip(mine, theirs, strict=True):
                copy.ranges = source.ranges

    @property
    def calibrated(self) -> bool:
        """Whether converter ranges are known, or none need samples."""
        return not self.recipe.hardware.needs_samples or self._copies[0][0].ranges is not None

    def _chip(self, copies: list[Copy], x_BK: torch.Tensor) -> torch.Tensor:
        if not self.calibrated:
            raise SpecError(
                f"{self.name}: converter ranges are calibrated, but no samples were given: pass "
                "`samples` to Chip.at, or an Adc and Dac with ranges of their own."
            )
        # One pass without a copy: the largest magnitude is at most this norm, which NaN is not.
        if not float(torch.linalg.vector_norm(x_BK.detach())) <= LARGEST:
            largest = float(x_BK.detach().abs().max())
            if not largest <= LARGEST:
                raise SpecError(not_computable(f"{self.name}: ", largest))
        count = len(copies)
        if count == 1:
            return self._copy(copies[0], x_BK, self._vectors)
        out = x_BK.new_empty((len(x_BK), self.out_features))
        for r, copy in enumerate(copies):
            # Vector v of the chip goes to copy v mod count, as its vector v // count.
            first = -(-(self._vectors - r) // count)
            mine = slice(first * count + r - self._vectors, None, count)
            part = self._copy(copy, x_BK[mine], first)
            out = out.slice_scatter(part, 0, mine.start, None, count) if len(part) else out
        return out

    def _copy(self, copy: Copy, x_BK: torch.Tensor, first: int) -> torch.Tensor:
        out = self._converted(copy, x_BK, first)
        if copy.fit is None:
            return out
        return out + torch.from_numpy(copy.fit.offset_N).to(out)

    def _converted(self, copy: Copy, x_BK: torch.Tensor, first: int) -> torch.Tensor:
        if self._path(x_BK) == "kernel":
            return self._by_kernel(copy, x_BK, first)
        operands = self._torch_operands(copy, x_BK.device)
        trained = self.weight.requires_grad and torch.is_grad_enabled()
        weight = self.weight_KN().to(torch.float32) if trained else None
        normals = self._normals(copy, operands, x_BK, first)
        numbers = self.numbers_TN()
        if self.columns is None or numbers is None:
            return multiply(x_BK, weight, operands, normals, self.counts)
        word_bits = self.columns.word_bits
        return multiply(x_BK, weight, operands, normals, self.counts, numbers, word_bits)

    def _path(self, x: torch.Tensor) -> str:
        trained = self.weight.requires_grad or (
            self.columns is not None and any(p.requires_grad for p in self.columns.parameters())
        )
        grad = torch.is_grad_enabled() and (x.requires_grad or trained)
        needs_torch = grad or self.training or x.device.type != "cpu"
        if self.path == "auto":
            return "torch" if needs_torch else "kernel"
        if self.path == "kernel" and needs_torch:
            raise SpecError(
                f"{self.name}: the kernels compute on the CPU, in evaluation, without gradients; "
                "use path `auto` or `torch`, or torch.no_grad()."
            )
        return self.path

    def parts(self) -> tuple[AnalogLayer, ...]:
        """The products that arrays compute: this one."""
        return (self,)

    def copies(self, replica: int) -> list[Copy]:
        """One copy on each of the chips."""
        return [copies[replica] for copies in self._copies]

    def state(self) -> tuple[object, ...]:
        """Equal as long as the weight is the same."""
        return self.weight.data_ptr(), self.weight._version, self.weight.device

    def _key(self, copy: Copy) -> tuple[object, ...]:
        """Equal as long as what is in the tiles of a copy is the same."""
        beside = (other.version() for place in copy.places or () for other in place.neighbours)
        return *self.state(), *beside

    def _by_kernel(self, copy: Copy, x_BK: torch.Tensor, first: int) -> torch.Tensor:
        mvm = copy.operands
        key = ("kernel", *self._key(copy))
        if not isinstance(mvm, Mvm) or copy.key != key:
            copy.operands = None
            mvm = kernel_operands(self._read(copy), self.recipe.hardware, copy.ranges)
            copy.operands, copy.key = mvm, key
        threads = torch.get_num_threads()
        numbers, found = None, self.numbers_TN()
        if self.columns is not None and found is not None:
            numbers = ColumnNumbers(found.detach().numpy(), self.columns.word_bits)
        result = mvm(
            x_BK.detach().numpy(), seed=copy.seed, first_vector=first, threads=threads,
            numbers=numbers,
        )  # fmt: skip
        self.counts.conversions += result.conversion_count
        self.counts.saturated += result.saturated_count
        self.counts.clipped += result.clipped_count
        self.counts.overflowed += result.overflowed_count
        self.counts.shortened += result.shortened_count
        return torch.from_numpy(np.ascontiguousarray(result.y_BN))

    def _torch_operands(self, copy: Copy, device: torch.device) -> TorchOperands:
        native = self.training and can_draw(self.recipe.hardware)
        draw = self._draw if self.training and not native else -1
        key = ("torch", device, native, draw, *self._key(copy))
        found = copy.operands
        if not isinstance(found, TorchOperands) or copy.key != key:
            copy.operands = copy.sigmas = found = None
            recipe, seed = self.recipe, copy.seed
            if native:
                recipe = replace(recipe, hardware=exact_device(recipe.hardware))
            elif self.training:
                seed = seed_for(seed, f"{self.name} step {draw}", 0)
            found = torch_operands(
                self._read(copy, recipe, seed), self.recipe.hardware, copy.ranges, device
            )
            copy.operands, copy.key = found, key
        if not native:
            return found
        if copy.sigmas is None:
            copy.sigmas = tile_sigmas(found, self.recipe.grid)
        return with_fresh_noise(found, copy.sigmas, copy.seed, self._draw)

    def _normals(
        self, copy: Copy, operands: TorchOperands, x_BK: torch.Tensor, first: int
    ) -> Normals | None:
        if operands.variance_KSN is None and self.recipe.hardware.adc.noise_ratio == 0.0:
            return None
        size = (len(x_BK), self.out_features)
        if not self.training:
            return counted_normals(copy.seed, *size, first, x_BK.device)
        source = torch.Generator()
        source.manual_seed(seed_for(copy.seed, f"outputs {self._vectors}", self._steps) >> 1)
        return generated_normals(*size, source, x_BK.device)

    def extra_repr(self) -> str:
        """Shape, tiles and copies for `print(model)`."""
        grid = self.recipe.grid
        tiles = (len(grid.row_cuts) - 1) * (len(grid.column_cuts) - 1)
        return f"{self.in_features} x {self.out_features}, {tiles} tiles, {len(self._seeds)} chips"


@dataclass(frozen=True)
class _Patches:
    """How a convolution becomes a product over patches."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    sides: tuple[int, ...]
    mode: str

    @staticmethod
    def of(layer: Layer) -> _Patches | None:
        if not isinstance(layer, nn.Conv2d):
            return None
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return _Patches(layer.kernel_size, layer.stride, layer.dilation, _sides(layer), mode)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        return functional.pad(x, self.sides, self.mode) if any(self.sides) else x

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        padded = self._padded(x)
        return functional.unfold(padded, self.window, self.dilation, 0, self.stride).transpose(1, 2)

    def image(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        left, right, top, bottom = self.sides
        whole = (x.shape[2] + top + bottom, x.shape[3] + left + right)
        sizes = zip(whole, self.window, self.stride, self.dilation, strict=True)
        shape = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes]
        return out.transpose(1, 2).reshape(len(x), -1, *shape)


def _sides(layer: nn.Conv2d) -> tuple[int, ...]:
    """Padding left, right, at the top and at the bottom; `same` puts an odd one behind."""
    found: list[int] = []
    for axis in (1, 0):
        if layer.padding == "same":
            whole = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            found += [whole // 2, whole - whole // 2]
        else:
            found += [0 if isinstance(layer.padding, str) else int(layer.padding[axis])] * 2
    return tuple(found)


class HalfLayer(nn.Module):
    """A linear layer on a cluster with FP16 arithmetic; gradients pass straight through.

    Weight, inputs and outputs are rounded to FP16 and products summed in float32; a cluster that
    also accumulates in FP16 rounds more often (not modelled).
    """

    divisors: torch.Tensor | None

    def __init__(self, name: str, layer: nn.Linear) -> None:
        super().__init__()
        self.name = name
        self.weight, self.bias = layer.weight, layer.bias
        own = layer.divisors if isinstance(layer, ProtectedLinear) else None
        self.register_buffer("divisors", own, persistent=False)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.training = layer.training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rounded x W^T + b."""
        bias = None if self.bias is None else _half(self.bias)
        inputs = divided(x, self.divisors)
        return _half(functional.linear(_half(inputs), _half(self.weight), bias))


class HalfConv2d(nn.Conv2d):
    """A convolution on a cluster, with the arithmetic of `HalfLayer`."""

    def __init__(self, name: str, layer: nn.Conv2d) -> None:
        super().__init__(**conv_arguments(layer))
        self.name = name
        self.weight, self.bias = layer.weight, layer.bias
        self.training = layer.training

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """An image to an image, rounded."""
        bias = None if self.bias is None else _half(self.bias)
        out: torch.Tensor = self._conv_forward(_half(input), _half(self.weight), bias)
        return _half(out)


def _half(x: torch.Tensor) -> torch.Tensor:
    return x + (x.detach().to(torch.float16).to(x.dtype) - x.detach())
