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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
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


def _in_turn(actor: Actor) -> Actor:
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


@brief
@dataclass(frozen=True, eq=False)
class Program:
    """A closed system of actors; immutable and valid (arrays in it must not be changed).

    Raises ValueError, naming the object, for an index out of range, a buffer that has not
    exactly one producing and one consuming actor, an array whose length is not the actor's
    number of iterations, and any duration or count that is not a whole number >= 0.
    """

    groups: tuple[Actor | Crew, ...]
    stores: tuple[Fifo | Bank, ...]
    resources: tuple[Resource, ...]

    def __post_init__(self) -> None:
        checked: set[int] = set()
        for group in self.groups:
            members = _members(group)
            if isinstance(group, Crew):
                self._check_elsewhere(group)
            for actor in _roles(group):
                if actor.iterations < 0:
                    raise ValueError(
                        f"actor {actor.name!r}: iterations must be >= 0, got {actor.iterations}"
                    )
                for index, verb in enumerate(actor.steps):
                    if members > 1 or not self._plainly_valid(actor, verb, checked):
                        self._check_verb(actor, index, verb, members, checked)
        self._check_ends(Put, "producing", "puts tokens into")
        self._check_ends(Get, "consuming", "gets tokens from")

    @cached_property
    def actors(self) -> tuple[Actor, ...]:
        """All single actors, in the order of their numbers."""
        known: dict[tuple[int, int], list[Count]] = {}
        return tuple(
            chain.from_iterable(
                group.members(known) if isinstance(group, Crew) else (_in_turn(group),)
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
        return tuple(chain.from_iterable(_roles(group) for group in self.groups))

    @cached_property
    def single(self) -> Program:
        """The same program of single actors and buffers."""
        return Program(self.actors, self.buffers, self.resources)

    @cached_property
    def cast(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """For each role the numbers of its actors, and how many iterations each of them has."""
        found, first = [], 0
        for group in self.groups:
            if isinstance(group, Crew):
                width = len(group.actors)
                numbers = first + width * np.arange(len(group.numbers))
                found += [(numbers + at, group.sizes) for at in range(width)]
                first += width * len(group.numbers)
            else:
                found.append((np.array([first]), np.array([group.iterations], np.int64)))
                first += 1
        return tuple(found)

    @cached_property
    def actor_count(self) -> int:
        """How many actors there are."""
        return sum(_members(group) * len(_roles(group)) for group in self.groups)

    @cached_property
    def buffer_count(self) -> int:
        """How many buffers there are."""
        return sum(len(s.numbers) if isinstance(s, Bank) else 1 for s in self.stores)

    def _plainly_valid(self, actor: Actor, verb: Verb, checked: set[int]) -> bool:
        """Whether a verb of an actor that stands alone is seen at a glance to be valid."""
        amount: Duration | Count
        if type(verb) is Get or type(verb) is Put:
            amount, known = verb.count, 0 <= verb.buffer < self.buffer_count
        elif type(verb) is Use:
            amount, known = verb.duration, 0 <= verb.resource < len(self.resources)
        elif type(verb) is Hold:
            amount, known = verb.duration, True
        else:
            return False
        if isinstance(amount, np.ndarray):
            return known and id(amount) in checked and amount.shape == (actor.iterations,)
        return known and type(amount) is int and 0 <= amount <= CLOCK_MAX_PS

    def _check_verb(
        self, actor: Actor, index: int, verb: Verb, members: int, checked: set[int]
    ) -> None:
        if isinstance(verb, (Get, Put)):
            amount, what = verb.count, "count"
            target, bound, kind = verb.buffer, self.buffer_count, "buffer"
        elif isinstance(verb, Use):
            amount, what = verb.duration, "duration"
            target, bound, kind = verb.resource, len(self.resources), "resource"
        elif isinstance(verb, Hold):
            amount, what, target, bound, kind = verb.duration, "duration", 0, 1, ""
        else:
            raise ValueError(
                f"actor {actor.name!r}, step {index}: a step must be a Get, Put, Hold or Use, "
                f"got {verb!r}"
            )
        behind = (rows_of(verb) if members == 1 else members) - 1 if kind == "buffer" else 0
        if not 0 <= target < bound - behind:
            target += behind * (target >= 0)
            raise ValueError(
                f"{_where(actor, index)}: {kind} index must be within 0..{bound - 1}, got {target}"
                if bound
                else f"{_where(actor, index)}: {kind} {target} asked for, the program has none"
            )
        rows = rows_of(verb) if members == 1 and kind == "buffer" else 0
        fault = _amount_fault(amount, rows, actor.iterations, checked)
        if fault:
            raise ValueError(f"{_where(actor, index)}: {what} must be {fault}")

    def _check_elsewhere(self, crew: Crew) -> None:
        for places in crew.elsewhere.values():
            if places.min() < 0 or places.max() >= len(self.resources):
                raise ValueError(
                    f"crew {crew.actors[0].name!r}: resource index must be within "
                    f"0..{len(self.resources) - 1}, got {places.min()} to {places.max()}"
                )

    def _check_ends(self, verb_type: type[Get] | type[Put], role: str, does: str) -> None:
        owner = [-1] * self.buffer_count
        first = 0
        for group in self.groups:
            members, roles = _members(group), _roles(group)
            for number, actor in enumerate(roles, first):
                for verb in actor.steps:
                    if type(verb) is not verb_type:
                        continue
                    if members == 1 and type(verb.count) is int:
                        mine = [number]
                    elif members > 1:
                        mine = list(range(number, number + members * len(roles), len(roles)))
                    else:
                        mine = [number] * rows_of(verb)
                    for at, own in enumerate(mine, verb.buffer):
                        if owner[at] not in (-1, own):
                            first_owner, second = (self.actors[n].name for n in (owner[at], own))
                            raise ValueError(
                                f"buffer {self.buffers[at].name!r}: one {role} actor allowed, both "
                                f"{first_owner!r} and {second!r} are; give each its own buffer"
                            )
                        owner[at] = own
            first += members * len(roles)
        if -1 in owner:
            raise ValueError(
                f"buffer {self.buffers[owner.index(-1)].name!r}: no actor {does} it; "
                f"add one or drop the buffer"
            )

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
        head = (
            f"program: {_plural(self.actor_count, 'actor')}, "
            f"{_plural(self.buffer_count, 'buffer')}, "
            f"{_plural(len(self.resources), 'resource')}, {_plural(self.verb_count, 'verb')}"
        )
        lines = [head]
        for kind in (self._buffer_lines(), self._resource_lines(), self._actor_lines()):
            for shown, line in enumerate(kind):
                if shown >= limit:
                    lines.append(f"  ... {_plural(1 + sum(1 for _ in kind), 'line')} more")
                    break
                lines.append("  " + line)
        return "\n".join(lines)

    def _buffer_lines(self) -> Iterator[str]:
        producer: dict[int, str] = {}
        consumer: dict[int, str] = {}
        for actor in self.actors:
            for verb in actor.steps:
                if isinstance(verb, (Get, Put)):
                    (producer if isinstance(verb, Put) else consumer)[verb.buffer] = actor.name
        for index, buffer in enumerate(self.buffers):
            filled = f", {buffer.initial} at time 0" if buffer.initial else ""
            yield (
                f"buffer {buffer.name}: {producer[index]} -> {consumer[index]}, "
                f"capacity {buffer.capacity}{filled}"
            )

    def _resource_lines(self) -> Iterator[str]:
        clients: list[set[int]] = [set() for _ in self.resources]
        for number, actor in enumerate(self.actors):
            for verb in actor.steps:
                if isinstance(verb, Use):
                    clients[verb.resource].add(number)
        for resource, users in zip(self.resources, clients, strict=True):
            servers = _plural(resource.servers, "server")
            shared = _plural(len(users), "actor")
            yield f"resource {resource.name}: {servers}, {resource.policy}, shared by {shared}"

    def _actor_lines(self) -> Iterator[str]:
        for actor in self.actors:
            steps = "; ".join(self._verb_text(verb) for verb in actor.steps)
            yield f"actor {actor.name} x {actor.iterations}: {steps or 'nothing'}"

    def _verb_text(self, verb: Verb) -> str:
        if isinstance(verb, Hold):
            return f"hold {_range(verb.duration)} ps"
        if isinstance(verb, Use):
            return f"use {self.resources[verb.resource].name} {_range(verb.duration)} ps"
        kind = "get" if isinstance(verb, Get) else "put"
        return f"{kind} {_range(verb.count)} {self.buffers[verb.buffer].name}"


class ProgramBuilder:
    """Collects buffers, resources and actors; each call returns the index to refer to it by."""

    def __init__(self) -> None:
        self._stores: list[Fifo | Bank] = []
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

    def build(self) -> Program:
        """Return the valid program; raises ValueError as `Program` does."""
        return Program(tuple(self._groups), tuple(self._stores), tuple(self._resources))


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


def _where(actor: Actor, index: int) -> str:
    return f"actor {actor.name!r}, step {index} ({type(actor.steps[index]).__name__})"


def _members(group: Actor | Crew) -> int:
    return len(group.numbers) if isinstance(group, Crew) else 1


def _roles(group: Actor | Crew) -> tuple[Actor, ...]:
    return group.actors if isinstance(group, Crew) else (group,)


def _amount_fault(amount: Duration | Count, rows: int, iterations: int, checked: set[int]) -> str:
    """What is wrong with a duration or count, or ""; `checked` holds ids of arrays seen valid."""
    if isinstance(amount, (int, np.integer)):
        return "" if 0 <= amount <= CLOCK_MAX_PS else f"within 0..2**63 - 1, got {amount}"
    if not isinstance(amount, np.ndarray):
        return f"an int or an int64 array, got {amount!r}"
    if amount.shape not in ((iterations,), (rows, iterations)):
        return f"one entry an iteration, shape ({iterations},), got shape {amount.shape}"
    if id(amount) in checked:
        return ""
    if amount.dtype != np.int64:
        return f"an int64 array, got dtype {amount.dtype}"
    if iterations and amount.min() < 0:
        return f">= 0, got {amount.min()} in iteration {amount.argmin() % iterations}"
    checked.add(id(amount))
    return ""


def _range(amount: Duration | Count) -> str:
    if not isinstance(amount, np.ndarray):
        return str(amount)
    if amount.size == 0:
        return "none"
    low, high = int(amount.min()), int(amount.max())
    return str(low) if low == high else f"{low}..{high}"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def timed_verbs(steps: Sequence[Verb]) -> tuple[int, ...]:
    """Positions in `steps` of the verbs that take time (Hold and Use); each makes one interval."""
    return tuple([i for i, verb in enumerate(steps) if type(verb) is Hold or type(verb) is Use])
