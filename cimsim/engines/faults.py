"""The two ways in which a program fails to run to its end, said alike by every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cimsim.engines.program import CLOCK_MAX_PS, Get, Program, Put, count_in, ends_of
from cimsim.errors import SimulationError

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Blocked:
    """An actor that waits for ever at `step` (a Get or Put) with `missing` tokens to go."""

    actor: int
    iteration: int
    step: int
    missing: int


def deadlock(program: Program, time_ps: int, blocked: Sequence[Blocked]) -> SimulationError:
    """The error for a run that stopped at `time_ps` with `blocked` actors, in order of index."""
    ends = ends_of(program)
    waiting = {entry.actor for entry in blocked}
    told = [_tell(program, entry, ends, waiting) for entry in blocked[:_NAMED]]
    if len(blocked) > _NAMED:
        told.append(f"and {len(blocked) - _NAMED} more")
    return SimulationError(
        f"deadlock at {time_ps} ps: {len(blocked)} of {len(program.actors)} actors wait for ever: "
        + "; ".join(told)
        + ". Make puts and gets of each buffer match, or give a buffer in the circle more "
        "capacity or initial tokens."
    )


def clock_overflow() -> SimulationError:
    """The error for an interval that would end after the last instant of the event clock."""
    return SimulationError(
        f"an interval would end after {CLOCK_MAX_PS} ps (106 days), the last instant of the event "
        "clock. Simulate fewer iterations in one program, or shorten its durations."
    )


def _tell(
    program: Program, entry: Blocked, ends: dict[int, tuple[int, int]], waiting: set[int]
) -> str:
    actor = program.actors[entry.actor]
    verb = actor.steps[entry.step]
    assert isinstance(verb, (Get, Put))
    count = count_in(verb, entry.iteration)
    buffer = program.buffers[verb.buffer]
    producer, consumer = ends[verb.buffer]
    if isinstance(verb, Get):
        wants, state, partner, does = "token(s) from", "empty", producer, "fills"
    else:
        wants, state, partner, does = "slot(s) in", f"full at {buffer.capacity}", consumer, "drains"
    other = repr(program.actors[partner].name) + ("" if partner in waiting else ", now done,")
    return (
        f"{actor.name!r} (iteration {entry.iteration}, step {entry.step}) lacks {entry.missing} "
        f"of {count} {wants} {buffer.name!r} ({state}; {other} {does} it)"
    )
