"""Engines: two ways to run a Program, which agree on every interval to the picosecond.

"simpy" is the reference, written to be read; "compiled" runs the same rules as machine code.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cimsim.engines.program import Program
from cimsim.engines.record import Layout, Run

Engine: TypeAlias = Literal["simpy", "compiled"]

__all__ = ["Engine", "Layout", "Run", "run"]


def run(program: Program, engine: Engine = "compiled") -> Run:
    """Run `program` to its end and return when every interval started and ended.

    Raises SimulationError if the program deadlocks, naming the actors that wait and for what,
    or if an interval would end after the last instant of the event clock.
    """
    if engine == "simpy":
        from cimsim.engines.reference import simulate
    elif engine == "compiled":
        from cimsim.engines.compiled import simulate
    else:
        raise ValueError(f"engine must be 'simpy' or 'compiled', got {engine!r}")
    return simulate(program)


def __dir__() -> list[str]:
    return sorted(__all__)
