"""LoRA on the machine: left out, beside the weights on a unit of its own, or within the weights.

Weights that are trained and saved with an adapter (`Linear.saved`) live where its LoRA branch does,
and with the base weights where there is no branch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from cimsim.adaptation.protocol import BASE_TASK, AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import adapted_weights, lora_weights, magnitudes, saved_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Linear, Op, Phase, Workload
from cimsim.mapping import Correlated, Mapping, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class BaseAlone:
    """The base model alone; a switch of adapters changes nothing."""

    name: str

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter."""
        return without_lora(workload)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        """Nothing."""
        del mapping, before, after
        return ()

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model as it is; raises MappingError for one with an adapter."""
        if model.adapters:
            raise MappingError(
                f"an adapter was given, but adaptation {self.name!r} runs the base model alone: "
                "choose another adaptation or leave the adapter out."
            )
        return model.module


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class LoraBeside:
    """LoRA on units of kind `unit`, beside the pretrained weights; a switch writes the branch."""

    name: str
    unit: WeightUnit

    def apply(self, workload: Workload) -> Workload:
        """The workload as it is."""
        return workload

    def home(self, op: Linear) -> WeightUnit | None:
        """`unit` for LoRA and what is saved with it."""
        return self.unit if op.in_adapter else None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """The branch of `after`, magnitudes, and what either saves with its adapter."""
        saved = saved_weights(before.workload, after.workload)
        written = whole(mapping, lora_weights(after.workload) | saved)
        return (*written, *magnitudes(mapping, before, after))


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class MergedLora:
    """LoRA added into the base weights; a switch writes every weight that either adapter changes.

    Weights that only the adapter of before has changed go back to the pretrained ones. What an
    adapter adds is taken as normal, independent of the pretrained weight and of what another task
    adds, with `delta_ratio` times the standard deviation of the pretrained weights (assumed): a
    cell of two tasks holds weights of correlation 1 / (1 + ratio^2). Those saved with a task are
    its own and foreign to any other.
    """

    # assumed: that of rank-8 LoRA of MiniLM, root mean square over all layers, 0.055 to 0.057 over
    # three seeds (plain in benchmarks/figures/accuracy); 0.010 to 0.076 at other ranks and losses
    delta_ratio: float = 0.055
    name: ClassVar[str] = "merged"

    def __post_init__(self) -> None:
        if not 0.0 <= self.delta_ratio < math.inf:
            raise MappingError(
                f"delta_ratio is the deviation of what an adapter adds over that of the weights, 0 "
                f"or more, got {self.delta_ratio:g}."
            )

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter."""
        return without_lora(workload)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        """The adapted and saved weights of both, whole; adapters of ratio 0 change none."""
        tasks = before.workload, after.workload
        saved = saved_weights(*tasks)
        own = [frozenset() if task.name == BASE_TASK else adapted_weights(task.workload)
               for task in (before, after)]  # fmt: skip
        adapted = own[0] | own[1] if self.delta_ratio else frozenset()
        changed = (
            replace(part, change=self._change(sum(part.weight in of for of in own)))
            for part in whole(mapping, adapted - saved)
        )
        return (*changed, *whole(mapping, saved))

    def _change(self, adapters: int) -> Correlated:
        """That of a weight to which so many of the two tasks add something."""
        return Correlated((1.0 + self.delta_ratio**2) ** (-adapters / 2.0))

    def functional(self, model: AdaptedModel) -> nn.Module:
        """A copy with the adapter in its weights; without an adapter the model as it is."""
        return model.merged() if model.adapters else model.module


def without_lora(workload: Workload) -> Workload:
    """The workload with every LoRA branch removed; what is saved with it counts as base.

    Raises MappingError where a branch is not merged by an addition.
    """
    replaced: dict[str, str] = {}
    phases = tuple(
        phase.model_copy(update={"ops": _without_lora(phase, replaced)})
        for phase in workload.phases
    )
    return workload.model_copy(update={"phases": phases})


def _without_lora(phase: Phase, replaced: dict[str, str]) -> tuple[Op, ...]:
    """Ops of `phase` with every LoRA branch removed and its merging addition short-circuited.

    `replaced` collects the additions over the phases: the cache names those of the prefill.
    """
    branch: set[str] = set()
    kept: list[Op] = []
    for op in phase.ops:
        if isinstance(op, Linear) and op.role != "base":
            branch.add(op.name)
            continue
        from_branch = [source for source in op.inputs if source in branch]
        others = [_rerouted(s, replaced) for s in op.inputs if s not in branch]
        if from_branch:
            if not isinstance(op, Elementwise):
                raise MappingError(
                    f"op {op.name!r} reads the LoRA branch but is no elementwise merge: "
                    "this adapter cannot be taken out of the graph"
                )
            if others:
                replaced[op.name] = others[0]
            else:
                branch.add(op.name)
            continue
        alone = {"saved": False} if isinstance(op, Linear) else {}
        kept.append(op.model_copy(update={"inputs": tuple(others), **alone}))
    return tuple(kept)


def _rerouted(source: str, replaced: dict[str, str]) -> str:
    """`source` with a merging addition that is gone replaced by what it added to."""
    cache, name = ("cache:", source[6:]) if source.startswith("cache:") else ("", source)
    return cache + replaced.get(name, name)
