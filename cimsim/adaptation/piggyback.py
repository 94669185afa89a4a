"""Piggyback: a task is a binary mask over the pretrained weights, which stand on the tiles masked.

Source: Mallya et al., ECCV 2018 (arXiv 1801.06519). A mask bit that differs from that of the task
before is a weight to write: its cells go to zero, or back to the pretrained weight, which is kept
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cimsim.adaptation.lora import without_lora
from cimsim.adaptation.protocol import BASE_TASK, AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import saved_weights, tuned_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mapping import Mapping, Masked, WeightUnit, Written
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class WeightMasks:
    """Binary masks over weights, which zero a share `zeroed`; a switch rewrites what differs.

    Masks are over the weights that the workload's adapter adapts, or all linear ones of a workload
    without adapter or masks. Those of two tasks are taken as independent, so that 2 z (1 - z) of
    their bits differ. `zeroed` is assumed: the share is logged by the published code, not shipped.
    """

    # assumed: the share is logged by the published code, not shipped
    zeroed: float = 0.3
    name: ClassVar[str] = "piggyback"

    def __post_init__(self) -> None:
        if not 0.0 <= self.zeroed <= 1.0:
            raise MappingError(f"zeroed is a share of weights, 0 to 1, got {self.zeroed:g}.")

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter: masked weights run as the pretrained ones do."""
        return without_lora(workload)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def flipped(self, before: AdaptedTask, after: AdaptedTask) -> float:
        """Share of mask bits that differ between two tasks; the base model masks nothing."""
        if BASE_TASK in (before.name, after.name):
            return self.zeroed
        return 2.0 * self.zeroed * (1.0 - self.zeroed)

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        """Weights whose mask bit differs, rounded for each block; what either saves, whole.

        Between two tasks as many go to zero as come back; to the base model all come back.
        """
        share = self.flipped(before, after)
        masks = [task.name != BASE_TASK for task in (before, after)]
        change = Masked(masks[1] / max(1, sum(masks)))
        tasks = before.workload, after.workload
        saved, masked = saved_weights(*tasks), tuned_weights(*tasks)
        changed = [
            replace(part, values=np.rint(part.values * share).astype(np.int64), change=change)
            for part in whole(mapping, masked - saved)
        ]
        return (*changed, *whole(mapping, saved))

    def task_bits(self, architecture: Architecture, mapping: Mapping, task: AdaptedTask) -> int:
        """A bit for each masked weight, and what is saved with the task; none of the base task.

        The pretrained weights, kept once for all tasks, are not counted.
        """
        if task.name == BASE_TASK:
            return 0
        saved = saved_weights(task.workload)
        held = {name: placement.grid.weights for name, placement in mapping.placements.items()}
        masked = sum(held[name] for name in tuned_weights(task.workload) - saved)
        bits = architecture.units[architecture.weights_on].value_bits
        return masked + bits * sum(held[name] for name in saved)

    def functional(self, model: AdaptedModel) -> nn.Module:
        """A copy whose masked layers are linear ones of the masked weight.

        Raises MappingError for a model with an adapter, or without a masked layer.
        """
        from cimsim.adaptation.layers.masked import folded

        if model.adapters:
            raise MappingError(
                f"piggyback masks weights, but the model carries {len(model.adapters)} adapter(s): "
                "merge it, or choose an adaptation with LoRA."
            )
        return folded(model.module)
