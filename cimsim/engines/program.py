"""Program: what an engine runs, as actors that pass tokens through buffers and share resources.

An actor repeats a straight line of verbs `iterations` times:

    Get(buffer, m)           take m tokens one by one, waiting while the buffer is empty
    Hold(duration)           a private delay
    Use(resource, duration)  queue at a shared resource, then occupy one of its servers
    Put(buffer, m)           append m tokens one by one, waiting while the buffer is full

Rules that make the times of a program independent of how an engine orders simultaneous events:

* a buffer has one producing and one consuming actor, so the data flow is a Kahn network
  (G. Kahn, "The semantics of a simple language for parallel programming", IFIP 1974);
* a resource grants at the end of an instant, when every action of that instant is done, in a
  total order. "fifo": earlier request first, then lower actor index. "round_robin": the waiting
  actor whose index follows that of the last one granted, cyclically, beginning with actor 0;
* a Get or Put of 0 tokens and a Hold or Use of 0 ps are skipped: no waiting, no queueing.

Times are whole picoseconds. Actors, buffers and resources are named by their index.

Many actors that run the same steps are written as one `Crew`, buffers alike as one `Bank`, and
moves at all buffers of a bank as one verb. They stand for single ones (`Program.actors`,
`Program.buffers`), which alone decide what a program means; what runs and reports many actors
works on `Program.roles` instead, one for each actor of a crew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat

import numpy as np

from cimsim.engines.actors import (
    CLOCK_MAX_PS,
    Actor,
    Bank,
    Count,
    Crew,
    Duration,
    Fifo,
    Get,
    Hold,
    IntArray,
    Policy,
    Put,
    Resource,
    Use,
    Verb,
    in_turn,
    members_of,
    numbers_of,
    roles_of,
    rows_of,
    sizes_of,
    timed_verbs,
)
from cimsim.engines.checks import check
from cimsim.engines.description import described
from cimsim.engines.scenes import (
    BufferShelf,
    Company,
    Groups,
    ShelfAgain,
    Stand,
    Stores,
    store_columns,
)
from cimsim.values.display import brief

__all__ = [
    "CLOCK_MAX_PS",
    "Actor",
    "Bank",
    "Count",
    "Crew",
    "Duration",
    "Fifo",
    "Get",
    "Hold",
    "IntArray",
    "Policy",
    "Program",
    "ProgramBuilder",
    "Put",
    "Resource",
    "Use",
    "Verb",
    "count_in",
    "ends_of",
    "rows_of",
    "timed_verbs",
    "unlimited",
]


@brief
@dataclass(frozen=True, eq=False)
class Program:
    """A closed system of actors; immutable and valid (arrays in it must not be changed).

    Raises ValueError, naming the object, for an index out of range, a buffer that has not
    exactly one producing and one consuming actor, an array whose length is not the actor's
    number of iterations, and any duration or count that is not a whole number >= 0.
    """

    groups: Sequence[Actor | Crew]
    stores: Sequence[Fifo | Bank]
    resources: tuple[Resource, ...]

    def __post_init__(self) -> None:
        check(self)

    @cached_property
    def actors(self) -> tuple[Actor, ...]:
        """All single actors, in the order of their numbers."""
        known: dict[tuple[int, int], list[Count]] = {}
        return tuple(
            chain.from_iterable(
                group.members(known) if isinstance(group, Crew) else (in_turn(group),)
                for group in self.groups
            )
        )

    @cached_property
    def buffers(self) -> tuple[Fifo, ...]:
        """All single buffers, in the order of their numbers."""
        return tuple(
            chain.from_iterable(
                store.fifos() if isinstance(store, Bank) else (store,) for store in self.stores
            )
        )

    @cached_property
    def roles(self) -> tuple[Actor, ...]:
        """Actors that stand alone and those of crews, each once for all members."""
        return tuple(chain.from_iterable(roles_of(group) for group in self.groups))

    @cached_property
    def single(self) -> Program:
        """The same program of single actors and buffers."""
        return Program(self.actors, self.buffers, self.resources)

    @cached_property
    def companies(self) -> tuple[Company, ...]:
        """All actors of roles that are the same in all times that a scene stands."""
        found = [
            Company(
                actor, numbers_of(group, first + own)[np.newaxis], sizes_of(group), (role + own,)
            )
            for group, first, role in self.alone
            for own, actor in enumerate(roles_of(group))
        ]
        for stand in self.stands:
            firsts, roles = stand.actors[:, np.newaxis], stand.roles.tolist()
            for at, (group, own, actor) in enumerate(stand.scene.cast):
                numbers = firsts + numbers_of(group, own)
                mine = tuple([role + at for role in roles])
                found.append(Company(actor, numbers, sizes_of(group), mine))
        return tuple(found)

    @cached_property
    def cast(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """For each role the numbers of its actors, and how many iterations each of them has."""
        found = {
            role: (numbers, company.sizes)
            for company in self.companies
            for role, numbers in zip(company.roles, company.numbers, strict=True)
        }
        return tuple([found[role] for role in range(len(found))])

    def resources_of(self, role: int, verb: Use) -> IntArray:
        """The resource that each actor of a role uses."""
        own = self._elsewhere[role].get(verb.resource)
        return np.full(self.cast[role][0].size, verb.resource) if own is None else own

    @cached_property
    def _elsewhere(self) -> tuple[Mapping[int, IntArray], ...]:
        """For each role the resources that differ from actor to actor."""
        return tuple(
            chain.from_iterable(
                repeat(group.elsewhere, len(group.actors)) if isinstance(group, Crew) else ({},)
                for group in self.groups
            )
        )

    @cached_property
    def alone(self) -> tuple[tuple[Actor | Crew, int, int], ...]:
        """The groups that stand once, each with the numbers of its first actor and first role."""
        if isinstance(self.groups, Groups):
            return tuple(self.groups.once())
        found, first, role = [], 0, 0
        for group in self.groups:
            found.append((group, first, role))
            width = len(roles_of(group))
            first, role = first + members_of(group) * width, role + width
        return tuple(found)

    @cached_property
    def stands(self) -> tuple[Stand, ...]:
        """The scenes that stand several times."""
        if not isinstance(self.groups, Groups):
            return ()
        return tuple(stand for stand in self.groups.stands if stand.scene.times > 1)

    @cached_property
    def actor_count(self) -> int:
        """How many actors there are."""
        if isinstance(self.groups, Groups):
            return sum(scene.times * scene.actor_count for scene in self.groups.scenes)
        return sum(members_of(group) * len(roles_of(group)) for group in self.groups)

    @cached_property
    def buffer_count(self) -> int:
        """How many buffers there are."""
        return sum(store_columns(self.stores)[0])

    def _facts(self) -> dict[str, object]:
        return {
            "actors": self.actor_count,
            "buffers": self.buffer_count,
            "resources": len(self.resources),
            "verbs": self.verb_count,
        }

    @property
    def verb_count(self) -> int:
        """Verbs that a complete run executes, the skipped ones (of 0 tokens or 0 ps) included."""
        return sum(a.iterations * sum(map(rows_of, a.steps)) for a in self.roles)

    def describe(self, limit: int = 20) -> str:
        """The program as text, at most `limit` lines each for buffers, resources and actors."""
        return described(self, limit)


class ProgramBuilder:
    """Collects buffers, resources and actors; each call returns the index to refer to it by."""

    def __init__(self) -> None:
        self._stores: list[Fifo | Bank | ShelfAgain] = []
        self._resources: list[Resource] = []
        self._groups: list[Actor | Crew] = []
        self._actors = self._buffers = 0

    def buffer(self, name: str, capacity: int, initial: int = 0) -> int:
        """Add a buffer; return its index."""
        self._stores.append(Fifo(name, capacity, initial))
        self._buffers += 1
        return self._buffers - 1

    def bank(self, name: str, numbers: range, capacity: int, initial: int = 0) -> int:
        """Add a buffer for each of `numbers`; return the index of the first."""
        self._stores.append(Bank(name, numbers, capacity, initial))
        self._buffers += len(numbers)
        return self._buffers - len(numbers)

    def resource(self, name: str, servers: int = 1, policy: Policy = "fifo") -> int:
        """Add a resource; return its index."""
        self._resources.append(Resource(name, servers, policy))
        return len(self._resources) - 1

    def actor(self, name: str, iterations: int, *steps: Verb) -> int:
        """Add an actor; return its index."""
        self._groups.append(Actor(name, iterations, steps))
        self._actors += 1
        return self._actors - 1

    def crew(self, crew: Crew) -> int:
        """Add the actors of a crew; return the index of the first."""
        self._groups.append(crew)
        first = self._actors
        self._actors += len(crew.actors) * len(crew.numbers)
        return first

    def again(self, shelf: BufferShelf, name: str) -> int:
        """Add the buffers of a shelf under another name; return the index of the first."""
        self._stores.append(ShelfAgain(shelf, name))
        self._buffers += shelf.buffer_count
        return self._buffers - shelf.buffer_count

    def shelf(self, first: int, name: str) -> BufferShelf:
        """The buffers that were added as the store `first` and behind it, for `name`."""
        return BufferShelf(
            tuple(s for s in self._stores[first:] if not isinstance(s, ShelfAgain)), name
        )

    @property
    def store_count(self) -> int:
        """How many single buffers and banks were added one by one, and shelves again."""
        return len(self._stores)

    @property
    def buffer_count(self) -> int:
        """How many buffers were added."""
        return self._buffers

    def build(self, groups: Groups | None = None) -> Program:
        """Return the valid program, of `groups` where there are some instead of those added.

        Raises ValueError as `Program` does.
        """
        stores, resources = Stores(self._stores), tuple(self._resources)
        return Program(tuple(self._groups) if groups is None else groups, stores, resources)


def unlimited(program: Program) -> Program:
    """`program` with a server of every resource for each actor, so that none waits for another.

    It takes no longer than `program`: buffers and actors alone make a Kahn network, in which no
    event comes later when another one comes earlier.
    """
    servers = max(1, program.actor_count)
    resources = tuple(Resource(r.name, servers, r.policy) for r in program.resources)
    return Program(program.groups, program.stores, resources)


def ends_of(program: Program) -> dict[int, tuple[int, int]]:
    """Producing and consuming actor of each buffer."""
    producer: dict[int, int] = {}
    consumer: dict[int, int] = {}
    for number, actor in enumerate(program.actors):
        for verb in actor.steps:
            if isinstance(verb, Put):
                producer[verb.buffer] = number
            elif isinstance(verb, Get):
                consumer[verb.buffer] = number
    return {index: (producer[index], consumer[index]) for index in producer}


def count_in(verb: Get | Put, iteration: int) -> int:
    """Tokens that `verb` moves in `iteration`."""
    return int(verb.count[iteration]) if isinstance(verb.count, np.ndarray) else verb.count
