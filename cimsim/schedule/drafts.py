"""Actors and crews before their times are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cimsim.engines.program import (
    Actor,
    Crew,
    Duration,
    Get,
    Hold,
    IntArray,
    Put,
    Use,
    Verb,
)
from cimsim.schedule.plan import Bits, Portion


@dataclass(frozen=True, slots=True)
class Timed:
    """The time of a number (see `Formulas`) that occupies `units` units of kind `unit`, once
    `resource` is granted where there is one; `portions` and `bits` as in `ActorInfo`.

    No units where it waits for the latency of one, which others share.
    """

    time: int
    unit: str
    units: int = 1
    resource: int | None = None
    portions: tuple[Portion, ...] = ()
    bits: Bits | None = None

    def verb(self, times: Sequence[Duration]) -> Hold | Use:
        """What it is with `times` by number."""
        time = times[self.time]
        return Hold(time) if self.resource is None else Use(self.resource, time)


Step = Get | Put | Timed


@dataclass(frozen=True, slots=True)
class Drafted:
    """An actor whose times are not known yet."""

    name: str
    iterations: int
    steps: tuple[Step, ...]

    def actor(self, times: Sequence[Duration]) -> Actor:
        """The actor with `times` by number."""
        verbs: list[Verb] = [s.verb(times) if isinstance(s, Timed) else s for s in self.steps]
        return Actor(self.name, self.iterations, tuple(verbs))


@dataclass(frozen=True, slots=True)
class DraftedCrew:
    """A crew whose times are not known yet."""

    actors: tuple[Drafted, ...]
    sizes: IntArray
    numbers: range
    elsewhere: dict[int, IntArray]

    def crew(self, times: Sequence[Duration]) -> Crew:
        """The crew with `times` by number."""
        actors = tuple([member.actor(times) for member in self.actors])
        return Crew(actors, self.sizes, self.numbers, self.elsewhere)


Draft = Drafted | DraftedCrew


def made(draft: Draft, times: Sequence[Duration]) -> Actor | Crew:
    """What is drafted, with `times` by number."""
    return draft.crew(times) if isinstance(draft, DraftedCrew) else draft.actor(times)
