"""What is written, and by whom: the first programming by the mapping, a switch by its adaptation.

Each is a fold over the placements of a mapping. What writing costs is `cimsim.report.writes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import numpy as np

from cimsim.adaptation.protocol import AdaptedTask, adaptation_of
from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mapping import IntArray, Mapping, Registers, Written
from cimsim.spec import Architecture
from cimsim.unit_kinds import holding
from cimsim.values.display import shown


def programmed(mapping: Mapping) -> tuple[Written, ...]:
    """Every weight of the mapping, adapter included, into cells that were erased.

    Of weights that take turns those that the units hold at rest.
    """
    placed = ((p, mapping.standing(p)) for p in mapping.placements.values())
    return tuple(
        p.written(erased=True, only=only) for p, only in placed if only is None or only.any()
    )


def switched(
    mapping: Mapping, before: AdaptedTask, after: AdaptedTask
) -> tuple[Written | Registers, ...]:
    """What the mapping's adaptation writes when the task `after` takes the place of `before`.

    Nothing for one and the same task. Raises MappingError where the adaptation gives anything but
    `Written` and `Registers`.
    """
    adaptation = adaptation_of(mapping)
    if before.name == after.name:
        return ()
    found = tuple(adaptation.writes(mapping, before, after))
    for part in found:
        if not isinstance(part, Written | Registers):
            raise MappingError(
                f"adaptation {adaptation.name!r} writes {shown(part)}: `writes` gives values of "
                "cimsim.mapping.Written, such as Placement.written(), or of Registers."
            )
    return found


def two_tasks(workload: Workload) -> tuple[AdaptedTask, AdaptedTask]:
    """Two tasks whose adapters have the same shape."""
    return AdaptedTask("1", workload), AdaptedTask("2", workload)


def whole(mapping: Mapping, weights: Collection[str]) -> tuple[Written, ...]:
    """The weights of these names, all of each; raises MappingError for one that has no place."""
    if missing := sorted(name for name in weights if name not in mapping.placements):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MappingError(
            f"{missing[0]!r}{more} is to be written, but the mapping of {mapping.workload!r} has "
            "no place for it: map a workload that has it."
        )
    return tuple(p.written() for name, p in mapping.placements.items() if name in weights)


def adapted_weights(*workloads: Workload) -> frozenset[str]:
    """Names of the base weights that the adapter of any of the workloads adapts."""
    found: set[str] = set()
    for workload in workloads:
        by_op = {op.name: op for op in _linear(workload)}
        adapted = (by_op.get(op.adapts) for op in by_op.values() if op.adapts is not None)
        found.update(base.weight for base in adapted if base is not None)
    return frozenset(found)


def linear_weights(*workloads: Workload) -> frozenset[str]:
    """Names of the weights of every linear op of the model itself."""
    return frozenset(op.weight for op in _linear(*workloads) if op.role == "base")


def masked_weights(*workloads: Workload) -> frozenset[str]:
    """Names of the weights that had masks, numbers or a difference as the model was traced."""
    return frozenset(op.weight for op in _linear(*workloads) if op.tuned)


def tuned_weights(*workloads: Workload) -> frozenset[str]:
    """Names of the weights that tasks without LoRA act on.

    Those that a workload's adapter adapts, or on which it was traced with masks; all linear ones of
    a workload with neither.
    """
    each = (
        adapted_weights(workload) or masked_weights(workload) or linear_weights(workload)
        for workload in workloads
    )
    return frozenset().union(*each)


def saved_weights(*workloads: Workload) -> frozenset[str]:
    """Names of the weights that are trained and exchanged with an adapter of the workloads."""
    return frozenset(op.weight for op in _linear(*workloads) if op.saved)


MAGNITUDE_BITS = 16
"""assumed: half precision, as clusters compute"""


def magnitudes(mapping: Mapping, *tasks: AdaptedTask) -> tuple[Registers, ...]:
    """Magnitudes of DoRA that any of the tasks has, in the clusters that multiply with them."""
    found = {
        parameter.name.replace(".lora_magnitude_vector", ""): parameter.size
        for task in tasks
        for parameter in task.workload.parameters
        if parameter.role == "magnitude"
    }
    placed = mapping.placements
    return tuple(
        Registers(name, "pmca", MAGNITUDE_BITS * size * placed[name].replicas)
        for name, size in found.items()
        if name in placed
    )


def lora_weights(*workloads: Workload) -> frozenset[str]:
    """Names of A and B of every LoRA branch of the workloads."""
    return frozenset(op.weight for op in _linear(*workloads) if op.role != "base")


def _linear(*workloads: Workload) -> Iterator[Linear]:
    ops = (op for workload in workloads for _, op in workload.ops())
    return (op for op in ops if isinstance(op, Linear))


def moved_bits(architecture: Architecture, part: Written | Registers) -> int:
    """Bits of `part` as it comes to be written; MappingError for a unit that the machine lacks."""
    if isinstance(part, Registers):
        return part.bits
    if part.unit not in architecture.units:
        raise MappingError(
            f"{part.weight!r} is written into {part.unit!r} units, which architecture "
            f"{architecture.name!r} lacks: map for the machine that is to run it."
        )
    return part.count * holding(architecture.units[part.unit], part.narrow).value_bits


def drawn_order(task: str, weight: str, count: int) -> IntArray:
    """0 .. `count` - 1 in an order of a task's own, for what it chooses of a weight.

    Drawn by both names: a task that comes back has chosen the same.
    """
    text = hashlib.sha256(f"{task}\0{weight}".encode()).digest()
    return np.random.default_rng(int.from_bytes(text[:8], "little")).permutation(count)
