"""What can go wrong, as types; every message says what was asked, the limit and the lever."""

from __future__ import annotations

from collections.abc import Sequence


class CimsimError(Exception):
    """Any error that cimsim raises on purpose; the command line prints it without a traceback."""

    exit_code = 2


class OutputError(CimsimError):
    """A place that cannot be written: a full disk, a directory of others, a closed stream."""

    exit_code = 1


class SpecError(CimsimError):
    """An architecture or GPU file that cannot be read or is not valid."""


class WorkloadError(CimsimError):
    """A workload or model that cannot be read, traced or is not valid."""


class MappingError(CimsimError):
    """A workload that the architecture has no units for."""


class CapacityError(MappingError):
    """A valid workload that does not fit a valid architecture.

    `demand`, `bound` and `gap` count `unit`; `largest` are the biggest contributors as
    (name, count); `levers` name the settings that would make it fit. An error over several walls
    has the values of the first, and all of them in `shortages`.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        unit: str,
        demand: int,
        bound: int,
        largest: tuple[tuple[str, int], ...] = (),
        levers: tuple[str, ...] = (),
    ) -> None:
        top = ", ".join(f"{name} ({count})" for name, count in largest)
        parts = [message]
        if top:
            parts.append(f"Largest: {top}.")
        if levers:
            parts.append(" or ".join(levers) + ".")
        super().__init__(" ".join(parts))
        self.unit = unit
        self.demand = demand
        self.bound = bound
        self.gap = demand - bound
        self.largest = largest
        self.levers = levers
        self.shortages: tuple[CapacityError, ...] = (self,)

    @classmethod
    def together(cls, shortages: Sequence[CapacityError]) -> CapacityError:
        """One error that says every shortage, a line each."""
        first, *others = shortages
        if not others:
            return first
        whole = cls(
            "\n".join(str(short) for short in shortages),
            unit=first.unit,
            demand=first.demand,
            bound=first.bound,
        )
        whole.largest, whole.levers = first.largest, first.levers
        whole.shortages = tuple(shortages)
        return whole


class SimulationError(CimsimError):
    """A program that cannot run to its end, such as a deadlock."""

    exit_code = 1


class TaskError(CimsimError):
    """A task's model, data or adapter that is missing or does not fit."""


class LimitError(CimsimError):
    """A search in which no design keeps to the limits; a wider one may have some."""

    exit_code = 1


class WorkerError(TaskError):
    """A process that worked for this one and died; the input may be right."""

    exit_code = 1


class ClusterError(CimsimError):
    """A cluster of machines that does not answer, or has something else installed."""


class CacheError(TaskError):
    """A cache of models and data that cannot be read or kept; the input may be right."""

    exit_code = 1
