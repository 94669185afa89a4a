"""What programs are made of: buffers, resources, verbs, actors and crews (see `program`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from cimsim.values.display import brief

IntArray: TypeAlias = npt.NDArray[np.int64]
Duration: TypeAlias = int | IntArray
Count: TypeAlias = int | IntArray
Policy: TypeAlias = Literal["fifo", "round_robin"]

CLOCK_MAX_PS = 2**63 - 1
"""The last instant of the event clock: 106 days, the largest signed 64-bit integer."""


@dataclass(frozen=True, slots=True)
class Fifo:
    """A FIFO of `capacity` tokens that holds `initial` tokens at time 0."""

    name: str
    capacity: int
    initial: int = 0

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"buffer {self.name!r}: capacity must be >= 1, got {self.capacity}")
        if not 0 <= self.initial <= self.capacity:
            raise ValueError(
                f"buffer {self.name!r}: initial must be within 0..{self.capacity} (its capacity), "
                f"got {self.initial}"
            )


@dataclass(frozen=True, slots=True)
class Bank:
    """FIFOs alike, one behind the other; each has one of `numbers` behind its name."""

    name: str
    numbers: range
    capacity: int
    initial: int = 0

    def fifos(self) -> tuple[Fifo, ...]:
        """The FIFOs; raises ValueError as `Fifo` does."""
        return tuple(Fifo(f"{self.name}{n}", self.capacity, self.initial) for n in self.numbers)


@dataclass(frozen=True, slots=True)
class Resource:
    """`servers` equal servers that actors queue for; `policy` says who is next."""

    name: str
    servers: int = 1
    policy: Policy = "fifo"

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise ValueError(f"resource {self.name!r}: servers must be >= 1, got {self.servers}")
        if self.policy not in ("fifo", "round_robin"):
            raise ValueError(
                f"resource {self.name!r}: policy must be 'fifo' or 'round_robin', "
                f"got {self.policy!r}"
            )


@final
@brief
@dataclass(frozen=True, slots=True, eq=False)
class Get:
    """Take `count` tokens from `buffer`, one by one as they come.

    A count of two dimensions has a row for `buffer` and each of those behind it, taken in turn.
    """

    buffer: int
    count: Count = 1


@final
@brief
@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """Append `count` tokens to `buffer`, one by one as slots become free.

    A count of two dimensions has a row for `buffer` and each of those behind it, filled in turn.
    """

    buffer: int
    count: Count = 1


@final
@brief
@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Let `duration` picoseconds pass."""

    duration: Duration


@final
@brief
@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """Wait for a server of `resource`, then occupy it for `duration` picoseconds."""

    resource: int
    duration: Duration


Verb: TypeAlias = Get | Put | Hold | Use


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """`iterations` runs of `steps`, one after another."""

    name: str
    iterations: int
    steps: tuple[Verb, ...]


@brief
@dataclass(frozen=True, eq=False)
class Crew:
    """Members that run the same `actors`, each with buffers and amounts of its own.

    Member i has `sizes[i]` iterations, at least 1. Of an actor here, `iterations` is the sum of
    `sizes`, an array of amounts has those of one member behind those of another, and a buffer is
    that of member 0: member i has the one i behind it. `elsewhere` has for a resource in the steps
    that of each member, where they differ. The actors of a member stand one behind the other, each
    with one of `numbers` behind its name.
    """

    actors: tuple[Actor, ...]
    sizes: IntArray
    numbers: range
    elsewhere: Mapping[int, IntArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, total = len(self.numbers), int(self.sizes.sum())
        name = self.actors[0].name if self.actors else ""
        if count < 2 or self.sizes.shape != (count,) or int(self.sizes.min()) < 1:
            raise ValueError(f"crew {name!r}: two members or more, each with iterations, wanted")
        if any(actor.iterations != total for actor in self.actors):
            raise ValueError(f"crew {name!r}: an actor's iterations must be the members', {total}")
        if any(places.shape != (count,) for places in self.elsewhere.values()):
            raise ValueError(f"crew {name!r}: a resource elsewhere must have one entry a member")

    def members(self, known: dict[tuple[int, int], list[Count]]) -> Iterator[Actor]:
        """All actors, member by member; `known` are arrays cut before, by their id."""
        cuts = [0, *np.cumsum(self.sizes).tolist()]

        def cut(amount: Count) -> list[Count]:
            if not isinstance(amount, np.ndarray):
                return [amount] * len(self.numbers)
            key = id(amount), id(self.sizes)
            if key not in known:
                known[key] = [amount[a:b] for a, b in pairwise(cuts)]
            return known[key]

        columns = [
            [_members_of(verb, cut, self.elsewhere) for verb in actor.steps]
            for actor in self.actors
        ]
        for at, number in enumerate(self.numbers):
            for actor, steps in zip(self.actors, columns, strict=True):
                mine = tuple([column[at] for column in steps])
                yield Actor(f"{actor.name}{number}", cuts[at + 1] - cuts[at], mine)


def _members_of(
    verb: Verb, cut: Callable[[Count], list[Count]], elsewhere: Mapping[int, IntArray]
) -> list[Verb]:
    """`verb` for each member of a crew."""
    if isinstance(verb, Hold):
        return [Hold(amount) for amount in cut(verb.duration)]
    if isinstance(verb, Use):
        amounts, own = cut(verb.duration), elsewhere.get(verb.resource)
        places = [verb.resource] * len(amounts) if own is None else own.tolist()
        return [Use(place, amount) for place, amount in zip(places, amounts, strict=True)]
    return [type(verb)(verb.buffer + at, count) for at, count in enumerate(cut(verb.count))]


def rows_of(verb: Verb) -> int:
    """Single verbs that `verb` of an actor stands for."""
    if isinstance(verb, Get | Put) and isinstance(verb.count, np.ndarray):
        return verb.count.shape[0] if verb.count.ndim > 1 else 1
    return 1


def in_turn(actor: Actor) -> Actor:
    """`actor` with a verb for each buffer."""
    if all(rows_of(verb) == 1 for verb in actor.steps):
        return actor
    steps: list[Verb] = []
    for verb in actor.steps:
        if isinstance(verb, Get | Put) and isinstance(verb.count, np.ndarray):
            rows = verb.count if verb.count.ndim > 1 else verb.count[np.newaxis]
            steps += [type(verb)(verb.buffer + at, row) for at, row in enumerate(rows)]
        else:
            steps.append(verb)
    return Actor(actor.name, actor.iterations, tuple(steps))


def members_of(group: Actor | Crew) -> int:
    """How many actors of a group run the same steps."""
    return len(group.numbers) if isinstance(group, Crew) else 1


def roles_of(group: Actor | Crew) -> tuple[Actor, ...]:
    """The actors of one member of a group."""
    return group.actors if isinstance(group, Crew) else (group,)


def sizes_of(group: Actor | Crew) -> IntArray:
    """Iterations of each member."""
    if isinstance(group, Crew):
        return group.sizes
    return np.array([group.iterations], np.int64)


def numbers_of(group: Actor | Crew, first: int) -> IntArray:
    """The numbers of the actors of a role, that of the first member is `first`."""
    return first + len(roles_of(group)) * np.arange(members_of(group))


def resources_of(group: Actor | Crew, verb: Use) -> IntArray:
    """The resource that each member uses."""
    own = group.elsewhere.get(verb.resource) if isinstance(group, Crew) else None
    return np.full(members_of(group), verb.resource) if own is None else own


def timed_verbs(steps: Sequence[Verb]) -> tuple[int, ...]:
    """Positions in `steps` of the verbs that take time (Hold and Use); each makes one interval."""
    return tuple([i for i, verb in enumerate(steps) if type(verb) is Hold or type(verb) is Use])
