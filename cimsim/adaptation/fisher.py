"""FibecFed's sparse update as a filter of writes: LoRA neurons of little Fisher information stay.

Source: Liu et al., EMNLP 2024 (arXiv 2410.00131): neurons of LoRA, its rank channels of A and
output channels of B, are chosen by the Fisher diagonal summed over each; the others keep what every
task starts from. The paper has no crossbars: that whole columns stay unwritten is this reading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cimsim.adaptation.protocol import BASE_TASK, AdaptedTask
from cimsim.adaptation.writes import drawn_order, lora_weights, magnitudes, saved_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mapping import IntArray, Mapping, Placement, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class FisherSparse:
    """LoRA of which a task changes only a `share` of neurons, chosen by Fisher information.

    It is on `unit`. Other neurons keep the values that all tasks start from. `share` is assumed:
    the paper's is not published. Which neurons a task chose is drawn by its name, anew for each
    matrix, as many of each.
    """

    # assumed: the share is not published
    share: float = 0.1
    unit: WeightUnit = "rram"
    name: ClassVar[str] = "fisher-sparse"

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise MappingError(
                f"share is the part of neurons that a task changes, above 0 to 1, got "
                f"{self.share:g}."
            )

    def apply(self, workload: Workload) -> Workload:
        """The workload as it is."""
        return workload

    def home(self, op: Linear) -> WeightUnit | None:
        """`unit` for LoRA and what is saved with it."""
        return self.unit if op.in_adapter else None

    def chosen(self, task: str, weight: str, neurons: int) -> IntArray:
        """Numbers of the neurons of `weight` that `task` changes, in order; none of the base."""
        if task == BASE_TASK:
            return np.zeros(0, np.int64)
        order = drawn_order(task, weight, neurons)
        return np.sort(order[: max(1, round(self.share * neurons))])

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """Columns of neurons that either task changed; magnitudes and what either saves, whole."""
        workloads = before.workload, after.workload
        lora, saved = lora_weights(*workloads), saved_weights(*workloads)
        whole(mapping, lora)  # refuses a weight without a place
        tasks = before.name, after.name
        found = [
            self._columns(placement, tasks)
            for name, placement in mapping.placements.items()
            if name in lora
        ]
        return (*found, *whole(mapping, saved), *magnitudes(mapping, before, after))

    def _columns(self, placement: Placement, tasks: tuple[str, str]) -> Written:
        grid = placement.grid
        neurons = np.union1d(*(self.chosen(t, placement.weight, grid.columns) for t in tasks))
        every = placement.written()
        if not placement.units.size:
            values = np.array([placement.replicas * grid.rows * neurons.size])
        else:
            heights, _ = grid.sizes()
            widths = np.bincount(neurons // grid.block_columns, minlength=grid.column_blocks)
            values = np.tile((heights * widths).ravel(), placement.replicas)
        return replace(every, values=values)
