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
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """Take `count` tokens from `buffer`, one by one as they come."""

    buffer: int
    count: Count = 1


@final
@brief
@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """Append `count` tokens to `buffer`, one by one as slots become free."""

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
class Program:
    """A closed system of actors; immutable and valid (arrays in it must not be changed).

    Raises ValueError, naming the object, for an index out of range, a buffer that has not
    exactly one producing and one consuming actor, an array whose length is not the actor's
    number of iterations, and any duration or count that is not a whole number >= 0.
    """

    actors: tuple[Actor, ...]
    buffers: tuple[Fifo, ...]
    resources: tuple[Resource, ...]

    def __post_init__(self) -> None:
        checked: set[int] = set()
        for actor in self.actors:
            if actor.iterations < 0:
                raise ValueError(
                    f"actor {actor.name!r}: iterations must be >= 0, got {actor.iterations}"
                )
            for index, verb in enumerate(actor.steps):
                if not self._plainly_valid(actor, verb, checked):
                    self._check_verb(actor, index, verb, checked)
        self._check_ends(Put, "producing", "puts tokens into")
        self._check_ends(Get, "consuming", "gets tokens from")

    def _plainly_valid(self, actor: Actor, verb: Verb, checked: set[int]) -> bool:
        """Whether a verb is seen at a glance to be valid, as almost all are."""
        amount: Duration | Count
        if type(verb) is Get or type(verb) is Put:
            amount, known = verb.count, 0 <= verb.buffer < len(self.buffers)
        elif type(verb) is Use:
            amount, known = verb.duration, 0 <= verb.resource < len(self.resources)
        elif type(verb) is Hold:
            amount, known = verb.duration, True
        else:
            return False
        if isinstance(amount, np.ndarray):
            return known and id(amount) in checked and amount.shape == (actor.iterations,)
        return known and type(amount) is int and 0 <= amount <= CLOCK_MAX_PS

    def _check_verb(self, actor: Actor, index: int, verb: Verb, checked: set[int]) -> None:
        if isinstance(verb, (Get, Put)):
            amount, what = verb.count, "count"
            target, bound, kind = verb.buffer, len(self.buffers), "buffer"
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
        if not 0 <= target < bound:
            raise ValueError(
                f"{_where(actor, index)}: {kind} index must be within 0..{bound - 1}, got {target}"
                if bound
                else f"{_where(actor, index)}: {kind} {target} asked for, the program has none"
            )
        fault = _amount_fault(amount, actor.iterations, checked)
        if fault:
            raise ValueError(f"{_where(actor, index)}: {what} must be {fault}")

    def _check_ends(self, verb_type: type[Get] | type[Put], role: str, does: str) -> None:
        owner = [-1] * len(self.buffers)
        for number, actor in enumerate(self.actors):
            for verb in actor.steps:
                if isinstance(verb, verb_type) and owner[verb.buffer] != number:
                    if owner[verb.buffer] >= 0:
                        first = self.actors[owner[verb.buffer]].name
                        raise ValueError(
                            f"buffer {self.buffers[verb.buffer].name!r}: one {role} actor allowed, "
                            f"both {first!r} and {actor.name!r} are; give each its own buffer"
                        )
                    owner[verb.buffer] = number
        if -1 in owner:
            raise ValueError(
                f"buffer {self.buffers[owner.index(-1)].name!r}: no actor {does} it; "
                f"add one or drop the buffer"
            )

    def _facts(self) -> dict[str, object]:
        return {
            "actors": len(self.actors),
            "buffers": len(self.buffers),
            "resources": len(self.resources),
            "verbs": self.verb_count,
        }

    @property
    def verb_count(self) -> int:
        """Verbs that a complete run executes, the skipped ones (of 0 tokens or 0 ps) included."""
        return sum(actor.iterations * len(actor.steps) for actor in self.actors)

    def describe(self, limit: int = 20) -> str:
        """The program as text, at most `limit` lines each for buffers, resources and actors."""
        head = (
            f"program: {_plural(len(self.actors), 'actor')}, "
            f"{_plural(len(self.buffers), 'buffer')}, "
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
        self._buffers: list[Fifo] = []
        self._resources: list[Resource] = []
        self._actors: list[Actor] = []

    def buffer(self, name: str, capacity: int, initial: int = 0) -> int:
        """Add a buffer; return its index."""
        self._buffers.append(Fifo(name, capacity, initial))
        return len(self._buffers) - 1

    def resource(self, name: str, servers: int = 1, policy: Policy = "fifo") -> int:
        """Add a resource; return its index."""
        self._resources.append(Resource(name, servers, policy))
        return len(self._resources) - 1

    def actor(self, name: str, iterations: int, *steps: Verb) -> int:
        """Add an actor; return its index."""
        self._actors.append(Actor(name, iterations, steps))
        return len(self._actors) - 1

    def build(self) -> Program:
        """Return the valid program; raises ValueError as `Program` does."""
        return Program(tuple(self._actors), tuple(self._buffers), tuple(self._resources))


def unlimited(program: Program) -> Program:
    """`program` with a server of every resource for each actor, so that none waits for another.

    It takes no longer than `program`: buffers and actors alone make a Kahn network, in which no
    event comes later when another one comes earlier.
    """
    servers = max(1, len(program.actors))
    resources = tuple(Resource(r.name, servers, r.policy) for r in program.resources)
    return Program(program.actors, program.buffers, resources)


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


def _amount_fault(amount: Duration | Count, iterations: int, checked: set[int]) -> str:
    """What is wrong with a duration or count, or ""; `checked` holds ids of arrays seen valid."""
    if isinstance(amount, (int, np.integer)):
        return "" if 0 <= amount <= CLOCK_MAX_PS else f"within 0..2**63 - 1, got {amount}"
    if not isinstance(amount, np.ndarray):
        return f"an int or an int64 array, got {amount!r}"
    if amount.shape != (iterations,):
        return f"one entry an iteration, shape ({iterations},), got shape {amount.shape}"
    if id(amount) in checked:
        return ""
    if amount.dtype != np.int64:
        return f"an int64 array, got dtype {amount.dtype}"
    if iterations and amount.min() < 0:
        return f">= 0, got {amount.min()} in iteration {amount.argmin()}"
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
    return tuple(i for i, verb in enumerate(steps) if type(verb) is Hold or type(verb) is Use)
