"""A grouped convolution on tiles: each array holds some groups on a diagonal, or a part of one.

Every such array, or row and column of arrays of a large group, is a product of its own, which sees
the inputs of its groups alone. Cells beside the diagonal of an array hold zero, with the errors of
cells that do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from cimsim.analog.crossbar import Cuts
from cimsim.errors import SpecError
from cimsim.functional.layers import AnalogLayer, Path
from cimsim.functional.operands import F32, Deployment
from cimsim.functional.sites import Layer
from cimsim.functional.training import Redraw
from cimsim.mapping import Grid


class _Part(AnalogLayer):
    """The product of some groups of a weight, `first` to `last`; without bias."""

    def __init__(
        self, name: str, layer: Layer, recipe: Deployment, seeds: tuple[int, ...], replicas: int,
        path: Path, redraw: Redraw, first: int, last: int, groups: int,
    ) -> None:  # fmt: skip
        super().__init__(name, layer, recipe, seeds, replicas, path, redraw)
        self._first, self._last, self._groups = first, last, groups
        self.bias = None

    def weight_KN(self) -> torch.Tensor:
        """The groups on a diagonal; gradients reach the groups alone."""
        blocks = self.weight.flatten(1).chunk(self._groups)[self._first : self._last]
        return _diagonal([block.T for block in blocks])

    def numbers_TN(self) -> torch.Tensor | None:
        """The numbers on the columns of these groups."""
        found = super().numbers_TN()
        if found is None:
            return None
        columns = found.shape[1] // self._groups
        return found[:, self._first * columns : self._last * columns].contiguous()


class GroupedLayer(AnalogLayer):
    """A grouped convolution that computes what its tiles compute, as `AnalogLayer` does."""

    def __init__(
        self, name: str, layer: Layer, recipe: Deployment, grid: Grid, seeds: tuple[int, ...],
        replicas: int, path: Path, redraw: Redraw,
    ) -> None:  # fmt: skip
        super().__init__(name, layer, recipe, seeds, replicas, path, redraw)
        parts: list[tuple[slice, _Part]] = []
        tile = (grid.block_rows, grid.block_columns)
        rows, columns = grid.group
        for first in range(0, grid.groups, grid.packed):
            last = min(first + grid.packed, grid.groups)
            shape = ((last - first) * rows, (last - first) * columns)
            cut = replace(recipe, grid=Cuts.of(shape, tile))
            part = _Part(f"{name} groups {first} to {last}", layer, cut, seeds, replicas, path,
                         redraw, first, last, grid.groups)  # fmt: skip
            parts.append((slice(first * rows, last * rows), part))
        # in a tuple: no second owner of the parameters
        self._arrays = tuple(parts)
        self._share()

    def _share(self) -> None:
        for _, part in self._arrays:
            part.counts = self.counts

    def weight_KN(self) -> torch.Tensor:
        """The groups on a diagonal, inputs x outputs."""
        return _diagonal([part.weight_KN() for _, part in self._arrays])

    def parts(self) -> tuple[AnalogLayer, ...]:
        """The products of the groups that stand on one array, or row and column of arrays."""
        return tuple(part for _, part in self._arrays)

    def train(self, mode: bool = True) -> GroupedLayer:
        """As of any module, for the products of all groups."""
        for _, part in self._arrays:
            part.train(mode)
        return super().train(mode)

    def restart(self) -> None:
        """Number vectors from 0 again, forget counts: the next pass repeats the first."""
        super().restart()
        for _, part in self._arrays:
            part.restart()
        self._share()

    def seek(self, step: int) -> None:
        """The next training pass draws what pass number `step` (from 0) draws."""
        for _, part in self._arrays:
            part.seek(step)

    def advance(self) -> None:
        """The model begins another forward pass: in training, time for new noise."""
        for _, part in self._arrays:
            part.advance()

    def convert(self, adc_bits: int) -> None:
        """Read the same cells through ADCs of so many bits in the same ranges."""
        super().convert(adc_bits)
        for _, part in self._arrays:
            part.convert(adc_bits)

    def _all(self, x_DBK: torch.Tensor) -> torch.Tensor:
        return torch.cat([part._all(x_DBK[..., rows]) for rows, part in self._arrays], -1)

    def _without_padding(self, x_DBK: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        found = [part._without_padding(x_DBK[..., rows], tokens) for rows, part in self._arrays]
        return torch.cat(found, -1)

    def calibrate(self, rows_BK: torch.Tensor) -> None:
        """Set the converter ranges of every array from typical vectors (see `rows_of`)."""
        for rows, part in self._arrays:
            part.calibrate(rows_BK[:, rows])

    def recalibrate(self, rows_BK: torch.Tensor) -> None:
        """Fit scale and offset of every column of every array (see `rows_of`)."""
        for rows, part in self._arrays:
            part.recalibrate(rows_BK[:, rows])

    def cells_as_weight(self) -> F32:
        """The weight [K, N] that the cells of the first copy stand for, zero between arrays."""
        return self._diagonal([part.cells_as_weight() for _, part in self._arrays])

    def clipped_away(self) -> F32:
        """What clipping takes from the weight [K, N], array by array."""
        return self._diagonal([part.clipped_away() for _, part in self._arrays])

    def _diagonal(self, blocks: list[F32]) -> F32:
        whole = np.zeros(self.recipe.grid.shape, np.float32)
        column = 0
        for (rows, _), found in zip(self._arrays, blocks, strict=True):
            whole[rows, column : column + found.shape[1]] = found
            column += found.shape[1]
        return whole

    def take_ranges(self, other: AnalogLayer) -> None:
        """Use the converter ranges that `other`, of the same weight, was calibrated to."""
        assert isinstance(other, GroupedLayer)
        for (_, mine), (_, theirs) in zip(self._arrays, other._arrays, strict=True):
            mine.take_ranges(theirs)

    @property
    def calibrated(self) -> bool:
        """Whether converter ranges are known, or none need samples."""
        return all(part.calibrated for _, part in self._arrays)

    def extra_repr(self) -> str:
        """Shape, arrays and copies for `print(model)`."""
        products = f"{len(self._arrays)} products of groups"
        return f"{self.in_features} x {self.out_features}, {products}, {len(self._seeds)} chips"


def _diagonal(blocks: list[torch.Tensor]) -> torch.Tensor:
    found: torch.Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return found


def require_converters(name: str, layer: nn.Module) -> None:
    """Raise SpecError for a grouped convolution whose converters are left out."""
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        raise SpecError(
            f"{name}: a grouped convolution has cells beside the weights of its groups, which "
            "noise on weights alone does not know. Leave the converters in."
        )
