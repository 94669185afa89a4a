"""Adaptation: which ops of a workload a task's adapter adds, and which unit runs them.

An adaptation is a pure transform of the workload plus the home of the LoRA branch. `none` and
`merged` take the LoRA branch out of the graph; merged weights live in the base cells, so that an
adapter switch rewrites them. Weights that are trained and saved with an adapter (`Linear.saved`)
live where its LoRA branch does, and with the base weights where there is no branch.
"""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Linear, Op, Phase, Workload
from cimsim.mapping import WeightUnit
from cimsim.spec import AdaptationName
from cimsim.values.arguments import checked
from cimsim.values.display import shown


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Adaptation:
    """Where the LoRA branch runs (`lora_unit`), or None where the graph has no branch.

    After `apply`, an op with `in_adapter` is one that `lora_unit` holds.
    """

    name: AdaptationName
    description: str
    lora_unit: WeightUnit | None

    def apply(self, workload: Workload) -> Workload:
        """The workload as this adaptation runs it."""
        if self.lora_unit is not None:
            return workload
        replaced: dict[str, str] = {}
        phases = tuple(
            phase.model_copy(update={"ops": _without_lora(phase, replaced)})
            for phase in workload.phases
        )
        return workload.model_copy(update={"phases": phases})


ADAPTATIONS: dict[str, Adaptation] = {
    a.name: a
    for a in (
        Adaptation("none", "the base model alone, no adapter", None),
        Adaptation("lora-sram", "LoRA on SRAM compute-in-memory units (HaLoRA)", "sram"),
        Adaptation("lora-pmca", "LoRA on the cluster beside each tile (AHWA-LoRA)", "pmca"),
        Adaptation("lora-rram", "LoRA on analog tiles like the base weights", "rram"),
        Adaptation("merged", "LoRA merged into the base cells; a switch rewrites them", None),
    )
}


@checked(MappingError)
def adaptation_named(name: Adaptation | str) -> Adaptation:
    """The adaptation called `name`, an adaptation as it is; MappingError lists the known ones."""
    if isinstance(name, Adaptation):
        return name
    if name not in ADAPTATIONS:
        raise MappingError(f"unknown adaptation {shown(name)}; known: {', '.join(ADAPTATIONS)}")
    return ADAPTATIONS[name]


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
