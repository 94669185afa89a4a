"""An adaptation that puts given numbers on the columns of every linear layer."""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.adaptation import AdaptedTask
from cimsim.ir import ColumnScale, Linear, Workload
from cimsim.mapping import Mapping


@dataclass(frozen=True)
class OwnColumns:
    """`columns` on all; a switch writes nothing."""

    columns: ColumnScale | None
    unit: str | None = None
    name: str = "own"

    def apply(self, workload: Workload) -> Workload:
        phases = tuple(
            phase.model_copy(
                update={
                    "ops": tuple(
                        op.model_copy(update={"columns": self.columns})
                        if isinstance(op, Linear)
                        else op
                        for op in phase.ops
                    )
                }
            )
            for phase in workload.phases
        )
        return workload.model_copy(update={"phases": phases})

    def home(self, op: Linear) -> str | None:
        return self.unit

    def writes(self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask) -> tuple[()]:
        return ()
