"""What an adaptation is: what a task adds to a model, which unit runs it, what a switch writes.

Three methods and a name are all that simulating needs; any object that has them will do. A fourth,
`functional`, says what becomes of a torch model that carries an adapter; without it the model runs
as it is, which is refused where the mapping has no unit for a LoRA branch that the model carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mapping import HasName, Mapping, Registers, WeightUnit, Written
from cimsim.values.display import brief, shown

if TYPE_CHECKING:
    from torch import nn


@brief
@dataclass(frozen=True, slots=True)
class AdaptedTask:
    """A task that a model is adapted to: its name, and its workload before `Adaptation.apply`.

    Tasks of one name are one task: they have the same values.
    """

    name: str
    workload: Workload


BASE_TASK = ""
"""Name of the task of the pretrained model, whose adapter changes nothing."""


@runtime_checkable
class Adaptation(HasName, Protocol):
    """What a task adds to a model, and where; `name` is what reports and errors call it."""

    def apply(self, workload: Workload) -> Workload:
        """The workload as this adaptation runs it; raises MappingError where it cannot."""

    def home(self, op: Linear) -> WeightUnit | None:
        """The kind of unit that holds the weight of `op`, which is one of an applied workload.

        None: where the machine holds pretrained weights (`Architecture.weights_on`), which is no
        answer for LoRA.
        """

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> Sequence[Written | Registers]:
        """What is written when the task `after`, another one, takes the place of `before`.

        Both are of one model; `mapping` holds the weights of both.
        """


class AdaptedModel(Protocol):
    """A torch model and what can be made of it, as `functional` gets it."""

    @property
    def module(self) -> nn.Module:
        """The model as the user gave it, which is not to be changed."""

    @property
    def mapping(self) -> Mapping:
        """Where its weights are."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the LoRA adapters in use, whose branches add up; none without one."""

    def merged(self) -> nn.Module:
        """A copy with the adapters in use added into the weights."""


@runtime_checkable
class Functional(Protocol):
    """An adaptation that changes the model which runs on the machine."""

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model whose linear layers are those of the mapping; MappingError refuses one."""


def adaptation_of(mapping: Mapping) -> Adaptation:
    """The adaptation that `mapping` was made with; MappingError for a mapping without one."""
    found = mapping.adaptation
    if not isinstance(found, Adaptation):
        raise MappingError(
            f"the mapping of {mapping.workload!r} carries {shown(found)} for an adaptation, which "
            "lacks one of name, apply, home and writes: make it with build_mapping."
        )
    return found
