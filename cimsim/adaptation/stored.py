"""What memory keeps of a task: the bits that a machine needs to bring it back at any time."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cimsim.adaptation.protocol import BASE_TASK, AdaptedTask, adaptation_of
from cimsim.adaptation.writes import moved_bits, switched
from cimsim.mapping import Mapping
from cimsim.spec import Architecture


@runtime_checkable
class StoredTask(Protocol):
    """An adaptation that keeps something else of a task than what a switch from the base writes."""

    def task_bits(self, architecture: Architecture, mapping: Mapping, task: AdaptedTask) -> int:
        """Bits that memory keeps of `task`; of the base task what is needed to return to it."""


@runtime_checkable
class TasksBeside(Protocol):
    """An adaptation whose tasks stand on the machine together, as many as it has places for."""

    def check_tasks(self, count: int) -> None:
        """Raise MappingError for more tasks than there are places."""


def task_bits(architecture: Architecture, mapping: Mapping, task: AdaptedTask) -> int:
    """Bits that memory keeps of `task`: what its adaptation says, by default what is written
    going to it from the base task, one copy of a weight that the mapping has several times.

    None of the base task itself. Raises MappingError for units that the machine lacks.
    """
    adaptation = adaptation_of(mapping)
    if isinstance(adaptation, StoredTask):
        return adaptation.task_bits(architecture, mapping, task)
    return sum(
        moved_bits(architecture, part) // mapping.placements[part.weight].replicas
        for part in switched(mapping, AdaptedTask(BASE_TASK, task.workload), task)
    )
