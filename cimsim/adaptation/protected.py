"""What saves a model on analog tiles without training: rescaled inputs and exact outliers.

Both wrap the adaptation that runs the task. Inputs of a weight are divided by a number each before
the DAC and its rows multiplied by it before they are programmed, folded into the norm before where
nothing else reads that. The largest weights are clipped on the tiles, and what the clipping takes
is added exactly by the clusters beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from cimsim.adaptation.lora import BaseAlone
from cimsim.adaptation.protocol import (
    Adaptation,
    AdaptedModel,
    AdaptedTask,
    Functional,
)
from cimsim.adaptation.shared_inputs import SharedInput, shared_inputs
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Linear, Op, Parameter, Phase, Workload
from cimsim.mapping import Mapping, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.codec import MAIN
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn

CLUSTERS = "pmca"
"""Where outliers are: values with their places are read by cores."""
OUTLIERS_MAX = 0.1


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class Protected:
    """Inputs rescaled before the DAC, outliers of the weights exact on clusters, around `inner`.

    `rescale` is lambda of s = max|x|^lambda / max|w|^(1 - lambda) for each input, from one batch
    (NORA, DATE 2025); None: no rescaling. With `fold` it goes into the norm before, where only
    linear layers read that. `outliers` is the share of each weight that is clipped, the largest in
    units of their column's standard deviation. The model that runs is made by
    `cimsim.functional.protected`.
    """

    rescale: Annotated[float | None, MAIN] = None
    outliers: float = 0.0
    fold: bool = True
    inner: Adaptation = field(default_factory=lambda: BaseAlone("none"))
    name: ClassVar[str] = "protected"

    def __post_init__(self) -> None:
        if self.rescale is not None and not 0.0 <= self.rescale <= 1.0:
            raise MappingError(
                f"rescale is lambda, 0 (weights alone) to 1 (inputs alone), got {self.rescale:g}."
            )
        if not 0.0 <= self.outliers <= OUTLIERS_MAX:
            raise MappingError(
                f"outliers are a share of the weights, 0 to {OUTLIERS_MAX:g}, got "
                f"{self.outliers:g}: each takes a multiply-add on a core and two words."
            )
        if isinstance(self.inner, Protected):
            raise MappingError("protected has one inner adaptation, which is not protected itself.")

    def apply(self, workload: Workload) -> Workload:
        """The workload as `inner` runs it, with the multiplications and products of both."""
        found = self.inner.apply(workload)
        groups = self.groups(found)
        phases = tuple(self._phase(phase, groups) for phase in found.phases)
        parameters = found.parameters
        if self.outliers:
            mine = {
                op.weight for _, op in found.ops() if isinstance(op, Linear) and self._on_arrays(op)
            }
            parameters = (*parameters, *(_outliers(p) for p in parameters if p.name in mine))
        return found.model_copy(update={"phases": phases, "parameters": parameters})

    @property
    def changes(self) -> bool:
        """Whether the model that runs is another one than `inner` runs."""
        return self.rescale is not None or self.outliers > 0.0

    def groups(self, applied: Workload) -> tuple[SharedInput, ...]:
        """Inputs that are rescaled, of a workload as `inner` runs it; none without rescaling."""
        if self.rescale is None:
            return ()
        return shared_inputs(applied, self._on_arrays, fold=self.fold)

    def _on_arrays(self, op: Op) -> bool:
        """Whether the weight of `op` is one of the pretrained ones, and whole."""
        return (
            isinstance(op, Linear)
            and op.role == "base"
            and op.nonzeros is None
            and self.inner.home(op) is None
        )

    def _phase(self, phase: Phase, groups: Sequence[SharedInput]) -> Phase:
        scaled = {layer: g for g in groups if not g.folded for layer in g.layers}
        summed = {op.name for op in phase.ops if self._splits(op)}
        ops: list[Op] = []
        made: set[str] = set()
        for op in phase.ops:
            inputs = tuple(_rerouted(source, summed) for source in op.inputs)
            if (group := scaled.get(op.name)) is not None and isinstance(op, Linear):
                if group.name not in made:
                    made.add(group.name)
                    ops.append(_multiplied(group.name, op, inputs))
                inputs = (group.name,)
            ops.append(op.model_copy(update={"inputs": inputs}))
            if op.name in summed and isinstance(op, Linear):
                ops += self._split(op, inputs)
        return phase.model_copy(update={"ops": tuple(ops)})

    def _splits(self, op: Op) -> bool:
        if not isinstance(op, Linear) or not self._on_arrays(op):
            return False
        return self.nonzeros(op.in_features, op.out_features) > 0

    def nonzeros(self, inputs: int, outputs: int) -> int:
        """Weights of inputs x outputs that are clipped."""
        return math.floor(self.outliers * inputs * outputs)

    def _split(self, op: Linear, inputs: tuple[str, ...]) -> tuple[Op, Op]:
        """What is clipped of `op`, and the sum that takes its place."""
        rest = op.model_copy(
            update={
                "name": f"{op.name}/outliers",
                "weight": outliers_of(op.weight),
                "inputs": inputs,
                "bias": False,
                "adapts": op.name,
                "nonzeros": self.nonzeros(op.in_features, op.out_features),
            }
        )
        whole = _elementwise(
            f"{op.name}/whole", (op.name, rest.name), op, op.out_features, {"add": 1}
        )
        return rest, whole

    def home(self, op: Linear) -> WeightUnit | None:
        """Clusters for outliers; else as `inner`."""
        return CLUSTERS if op.nonzeros is not None else self.inner.home(op)

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> Sequence[Written | Registers]:
        """As `inner`: all tasks share scales and outliers."""
        return self.inner.writes(mapping, before, after)

    def functional(self, model: AdaptedModel) -> nn.Module:
        """As `inner`; `cimsim.functional.protected` makes the rest of it."""
        inner = self.inner
        return inner.functional(model) if isinstance(inner, Functional) else model.module


def outliers_of(weight: str) -> str:
    """The name of what is clipped of a weight."""
    stem = weight.removesuffix(".weight")
    return f"{stem}.outliers.weight" if stem != weight else f"{weight}.outliers"


def _outliers(parameter: Parameter) -> Parameter:
    name = outliers_of(parameter.name)
    return parameter.model_copy(update={"name": name, "role": "narrow", "tied_to": None})


def _rerouted(source: str, summed: set[str]) -> str:
    name = source.removeprefix("cache:")
    return f"{source}/whole" if name in summed else source


def _multiplied(name: str, op: Linear, inputs: tuple[str, ...]) -> Elementwise:
    """The multiplication of every input of `op`."""
    return _elementwise(name, inputs, op, op.in_features, {"mul": 1})


def _elementwise(
    name: str, inputs: tuple[str, ...], op: Linear, width: int, functions: dict[str, int]
) -> Elementwise:
    growth = {"elements": op.growth["rows"] * width} if "rows" in op.growth else {}
    return Elementwise(
        name=name, inputs=inputs, tokens=op.tokens, elements=op.rows * width, functions=functions,
        growth=growth, growth_steps=op.growth_steps if growth else None,
    )  # fmt: skip
