"""XMA2: a task rewrites a share of the arrays, and scales the columns of all others.

Source: Zhang et al., Frontiers in Electronics 3, 2022 (abstract): a mask over arrays picks the most
critical ones, which are reprogrammed; the weights of the others are frozen and their columns
scaled. Neither the share nor the bits of a scale are published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cimsim.adaptation.columns import carrying, check_bare, numbered_weights, with_columns
from cimsim.adaptation.protocol import BASE_TASK, AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import drawn_order, saved_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import ColumnScale, Linear, Workload
from cimsim.mapping import IntArray, Mapping, Placement, Registers, WeightUnit, Written
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class ArraysAndScales:
    """A `share` of each weight's arrays rewritten, scales of `bits` on the columns of the others.

    Which arrays a task chose is drawn by its name. A switch writes those of the task to come and
    restores the pretrained weights of those that only the former task had chosen.
    """

    # assumed: the share is not published
    share: float = 0.1
    # assumed: the precision is not published, that of 8-bit weights
    bits: int = 8
    name: ClassVar[str] = "xma2"

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise MappingError(f"share is the part of arrays rewritten, 0 to 1, got {self.share}.")
        # counted: a scale of one bit is a gate; a float32 holds 24
        if not 2 <= self.bits <= 24:
            raise MappingError(f"bits of a scale are 2 to 24, got {self.bits}.")

    @property
    def columns(self) -> ColumnScale:
        """The numbers of a weight."""
        return ColumnScale(kind="scale", bits=self.bits)

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter, with scales on the columns that it adapted."""
        return with_columns(workload, self.columns)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def chosen(self, task: str, placement: Placement) -> IntArray:
        """1 for the arrays of a weight that `task` rewrites, else 0, [row_blocks, column_blocks].

        None of the base task.
        """
        grid = placement.grid
        found = np.zeros(grid.blocks, np.int64)
        if task != BASE_TASK:
            order = drawn_order(task, placement.weight, grid.blocks)
            found[order[: round(self.share * grid.blocks)]] = 1
        return found.reshape(grid.row_blocks, grid.column_blocks)

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """Arrays that either task chose, scales of the others and a bit an array; what is saved."""
        tasks = before.workload, after.workload
        found: list[Written | Registers] = list(whole(mapping, saved_weights(*tasks)))
        for every in whole(mapping, numbered_weights(*tasks)):
            placement = mapping.placements[every.weight]
            own, former = self.chosen(after.name, placement), self.chosen(before.name, placement)
            changed = np.tile((own | former).ravel(), placement.replicas)
            found.append(replace(every, values=every.values * changed))
            bits = placement.replicas * self._register_bits(placement, own)
            found.append(Registers(placement.weight, placement.unit, bits))
        return tuple(found)

    def _register_bits(self, placement: Placement, own: IntArray) -> int:
        _, widths = placement.grid.sizes()
        kept = int(((1 - own) * widths).sum())
        return kept * self.bits + placement.grid.blocks

    def task_bits(self, architecture: Architecture, mapping: Mapping, task: AdaptedTask) -> int:
        """Bits that memory keeps of `task`: its arrays, scales, a bit an array, and what it saves.

        Of the base task the pretrained weights, kept once for all tasks: those of the arrays that a
        task chose come back from there.
        """
        value_bits = architecture.units[architecture.weights_on].value_bits
        placed, total = mapping.placements, 0
        for name in numbered_weights(task.workload):
            placement = placed[name]
            own = self.chosen(task.name, placement)
            if task.name == BASE_TASK:
                total += placement.grid.weights * value_bits
                continue
            total += int((own * placement.grid.held()).sum()) * value_bits
            total += self._register_bits(placement, own)
        saved = saved_weights(task.workload) if task.name != BASE_TASK else ()
        return total + sum(placed[name].grid.weights for name in saved) * value_bits

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model, whose layers carry scales and the weights that the task has rewritten.

        Raises MappingError for a model without scales, for one with an adapter, and for arrays
        that the mapping does not have.
        """
        from cimsim.adaptation.layers.columns import array_layers, scales_of

        check_bare(model, "xma2")
        found = carrying(model, "xma2", self.columns)
        for path, layer in array_layers(found).items():
            scales = scales_of(layer)
            _check_arrays(model.mapping, path, tuple(scales.chosen.shape), scales.array_columns)
        return found


def _check_arrays(mapping: Mapping, path: str, chosen: tuple[int, ...], width: int) -> None:
    """Raise MappingError unless a layer's arrays, so many down and across, are those mapped."""
    held = mapping.placements.get(f"{path}.weight")
    if held is None:
        raise MappingError(
            f"{path} has arrays that a task rewrites, and the mapping of {mapping.workload!r} has "
            "no place for its weight: map the model that they were chosen of."
        )
    grid = held.grid
    if width != grid.block_columns:
        raise MappingError(
            f"{path} has arrays of {width} weights in a row, the mapping cuts it for "
            f"{grid.block_columns}: arrays were chosen for one size; train for this one (columns)."
        )
    if chosen != (grid.row_blocks, grid.column_blocks):
        raise MappingError(
            f"{path} names {chosen[0]} x {chosen[1]} arrays, the mapping has {grid.row_blocks} x "
            f"{grid.column_blocks} for it: the model is another than the one that was mapped."
        )
