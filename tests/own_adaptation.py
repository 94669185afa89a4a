"""An adaptation of a user's own: the tasks share LoRA's A on tiles, only B is a task's."""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.adaptation import AdaptedTask, saved_weights, whole
from cimsim.ir import Linear, Workload
from cimsim.mapping import Mapping, Written


@dataclass(frozen=True)
class SharedA:
    """A is frozen on analog tiles, B and what is saved with it on units of kind `unit`."""

    name: str
    unit: str

    def apply(self, workload: Workload) -> Workload:
        return workload

    def home(self, op: Linear) -> str | None:
        if op.role == "lora_a":
            return "rram"
        return self.unit if op.in_adapter else None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        own = {op.weight for _, op in after.workload.ops()
               if isinstance(op, Linear) and op.role == "lora_b"}  # fmt: skip
        return whole(mapping, own | saved_weights(before.workload) | saved_weights(after.workload))


ON_SRAM = SharedA("b-sram", "sram")
ON_CLUSTERS = SharedA("b-pmca", "pmca")
ON_TILES = SharedA("b-rram", "rram")
NUMBER = 3


class NoWrites:
    """Lacks `writes`."""

    name = "half"

    def apply(self, workload: Workload) -> Workload:
        return workload

    def home(self, op: Linear) -> str | None:
        return None


HALF = NoWrites()
