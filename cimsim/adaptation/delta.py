"""Delta: every task's own weights stand beside the pretrained ones, as differences of few levels.

Source: Kang et al., ICCAD 2021: BERT on ReRAM with a base and a near-ternary delta for each task,
of which 2.6 to 42 % are not zero and an element takes 1.12 cells in the mean. y = W0 x + D_t x; the
deltas of all tasks are resident, so that a switch chooses arrays and writes none. That base and
delta run side by side and are added behind the converters is this reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cimsim.adaptation.columns import numbered_weights
from cimsim.adaptation.lora import without_lora
from cimsim.adaptation.protocol import AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import saved_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Linear, Narrow, Op, Workload
from cimsim.mapping import Mapping, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn

TASKS_MAX = 1_024
"""Choice: most tasks whose deltas stand side by side."""


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class NarrowDelta:
    """A difference of few levels for each of `tasks`, resident beside the pretrained weights.

    Differences are of the weights that the workload's adapter adapts, or of all linear ones of a
    workload without adapter or differences. An element takes `cells` columns in the mean, of which
    a share `nonzero` is not at the least level. A switch writes the number of the task beside each
    weight.
    """

    # choice: as many as the published areas go to
    tasks: int = 8
    # Source: Kang et al., ICCAD 2021
    cells: float = 1.12
    # Source: Kang et al., ICCAD 2021: 2.6 to 42 %; the dense one loses no accuracy
    nonzero: float = 0.42
    name: ClassVar[str] = "delta"

    def __post_init__(self) -> None:
        if not 1 <= self.tasks <= TASKS_MAX:
            raise MappingError(f"tasks with a delta are 1 to {TASKS_MAX}, got {self.tasks}.")
        # counted: an element that takes less than a cell is none
        if not 1.0 <= self.cells <= TASKS_MAX:
            raise MappingError(f"cells of an element are 1 or more, got {self.cells:g}.")
        if not 0.0 <= self.nonzero <= 1.0:
            raise MappingError(f"nonzero is a share of cells, 0 to 1, got {self.nonzero:g}.")

    @property
    def narrow(self) -> Narrow:
        """What is so of the weight of a delta."""
        return Narrow(cells=self.cells, nonzero=self.nonzero, beside=self.tasks)

    @property
    def select_bits(self) -> int:
        """Bits that choose one of the tasks."""
        # counted: the least that tell them apart
        return max(1, (self.tasks - 1).bit_length())

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter, with a delta beside each weight and their sum."""
        named = numbered_weights(workload)
        plain = without_lora(workload)
        phases = tuple(
            phase.model_copy(
                update={"ops": tuple(op for old in phase.ops for op in self._beside(old, named))}
            )
            for phase in plain.phases
        )
        deltas = (
            p.model_copy(update={"name": delta_of(p.name), "role": "narrow", "tied_to": None})
            for p in plain.parameters
            if p.name in named
        )
        return plain.model_copy(
            update={"phases": phases, "parameters": (*plain.parameters, *deltas)}
        )

    def _beside(self, op: Op, named: frozenset[str]) -> tuple[Op, ...]:
        """The op; of a weight with a delta both products, and their sum under its name."""
        if not isinstance(op, Linear) or op.role != "base" or op.weight not in named:
            return (op,)
        base, delta = f"{op.name}/base", f"{op.name}/delta"
        growth = {"elements": op.growth["rows"] * op.out_features} if "rows" in op.growth else {}
        return (
            op.model_copy(update={"name": base}),
            op.model_copy(update={"name": delta, "weight": delta_of(op.weight), "bias": False,
                                  "narrow": self.narrow, "tuned": False}),
            Elementwise(
                name=op.name, inputs=(base, delta), tokens=op.tokens,
                elements=op.rows * op.out_features, functions={"add": 1}, growth=growth,
                growth_steps=op.growth_steps if growth else None,
            ),
        )  # fmt: skip

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """The number of the task beside each weight, and what either saves, whole; no delta."""
        tasks = before.workload, after.workload
        deltas = whole(mapping, {delta_of(name) for name in numbered_weights(*tasks)})
        placed = mapping.placements
        chosen = tuple(
            Registers(part.weight, part.unit, self.select_bits * placed[part.weight].replicas)
            for part in deltas
        )
        return (*chosen, *whole(mapping, saved_weights(*tasks)))

    def check_tasks(self, count: int) -> None:
        """Raise MappingError for more tasks than have a delta."""
        if count > self.tasks:
            raise MappingError(
                f"{count} tasks are to be served, and delta has differences of {self.tasks} side "
                f"by side: say delta:tasks={count}."
            )

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model with base and difference as matrices of their own, added digitally.

        A weight without a trained difference has one of zeros, as its arrays stand there and are
        read. Raises MappingError for a model without differences or with an adapter.
        """
        from cimsim.adaptation.layers.delta import on_arrays

        if model.adapters:
            raise MappingError(
                f"delta has differences in the place of LoRA, but the model carries "
                f"{len(model.adapters)} adapter(s): merge, or choose an adaptation with LoRA."
            )
        placed = model.mapping.placements
        beside = {name: delta_of(name) for name in placed if delta_of(name) in placed}
        return on_arrays(model.module, beside)


def delta_of(weight: str) -> str:
    """The name of the difference of a weight; those of further tasks have a number behind it."""
    stem = weight.removesuffix(".weight")
    return f"{stem}.delta.weight" if stem != weight else f"{weight}.delta"
