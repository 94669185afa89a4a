"""Full fine-tuning: every weight of a linear op is the task's own, none is shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cimsim.adaptation.lora import without_lora
from cimsim.adaptation.protocol import AdaptedTask
from cimsim.adaptation.writes import linear_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mapping import Mapping, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class FullTuning:
    """Every task has linear weights of its own; a switch writes them all.

    What the other strategies are measured against, and the only one that asks nothing of training.
    Embeddings, norms and biases are shared.
    """

    name: ClassVar[str] = "full"

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter."""
        return without_lora(workload)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        """Every linear weight but LoRA, whole."""
        return whole(mapping, linear_weights(before.workload, after.workload))
