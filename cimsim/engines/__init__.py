"""Engines: two ways to run a Program, which agree on every interval to the picosecond.

"simpy" is the reference, written to be read; "compiled" runs the same rules as machine code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from cimsim.engines.program import Program
from cimsim.engines.record import Ends, Finished, Kept, Layout, Run, check_kept, check_marks
from cimsim.engines.times import TimeTable

if TYPE_CHECKING:
    from cimsim.engines.compiled import Prepared

Engine: TypeAlias = Literal["simpy", "compiled"]
Progress: TypeAlias = Callable[[float], None]
"""Called by the SimPy engine with the share of all iterations that is done, for each hundredth."""

__all__ = [
    "Ends",
    "Engine",
    "Finished",
    "Kept",
    "Layout",
    "Progress",
    "Run",
    "TimeTable",
    "prepared",
    "run",
    "run_for_ends",
]


def run(program: Program, engine: Engine = "compiled", progress: Progress | None = None) -> Run:
    """Run `program` to its end and return when every interval started and ended.

    Raises SimulationError if the program deadlocks, naming the actors that wait and for what,
    if an interval would end after the last instant of the event clock, or for more intervals than
    are kept.
    """
    check_kept(program)
    if engine == "simpy":
        from cimsim.engines import reference

        return reference.simulate(program, progress)
    if engine == "compiled":
        from cimsim.engines import compiled

        return compiled.simulate(program)
    raise ValueError(f"engine must be 'simpy' or 'compiled', got {engine!r}")


def run_for_ends(
    program: Program, kept: Kept, engine: Engine = "compiled", progress: Progress | None = None
) -> Ends:
    """Run `program` to its end and return what `kept` asks for, and no more.

    Takes 8 bytes a mark with the compiled engine, whatever the intervals. Raises as `run` does, and
    ValueError for marks that are no iterations of their actor in order, its last one with them.
    """
    if engine == "compiled":
        from cimsim.engines.compiled import simulate_ends

        return simulate_ends(program, kept)
    check_marks(program, kept.marks)
    return run(program, engine, progress).ends(kept)


def prepared(program: Program, kept: Kept, times: TimeTable) -> Prepared:
    """`program`, encoded once for runs of the compiled engine with other times.

    Raises ValueError as `run_for_ends` does.
    """
    from cimsim.engines.compiled import Prepared

    return Prepared(program, kept, times)


def __dir__() -> list[str]:
    return sorted(__all__)
