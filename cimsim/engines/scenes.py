"""Scenes: groups of actors that stand several times in a program, written once.

Layers of a model repeat. A scene has the groups of one of them, and for every other one which
buffers and resources it has in their place, and what it is called. What works on a whole program
takes a scene at a time, for all times that it stands; the single groups are made when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from cimsim.engines.actors import (
    Actor,
    Bank,
    Crew,
    Fifo,
    Get,
    Hold,
    IntArray,
    Put,
    Use,
    Verb,
    members_of,
    roles_of,
    rows_of,
)
from cimsim.values.display import brief
from cimsim.values.late import MadeLate


@brief
@dataclass(frozen=True, eq=False)
class ActorScene:
    """`groups` as they stand the first time; their names begin with the first of `names`.

    Another time they begin with another one, and `buffers` and `resources` have for each number in
    the groups that of every time. Of a bank, or of rows of a count, that is the first.
    """

    groups: tuple[Actor | Crew, ...]
    names: tuple[str, ...] = ("",)
    buffers: Mapping[int, IntArray] | None = None
    resources: Mapping[int, IntArray] | None = None

    @property
    def times(self) -> int:
        """How often it stands in the program."""
        return len(self.names)

    @cached_property
    def roles(self) -> tuple[Actor, ...]:
        """The roles of the groups, as they stand the first time."""
        return tuple([actor for group in self.groups for actor in roles_of(group)])

    @cached_property
    def actor_count(self) -> int:
        """Actors of the scene, each time."""
        return sum(members_of(group) * len(roles_of(group)) for group in self.groups)

    @cached_property
    def bands(self) -> tuple[tuple[Actor | Crew, tuple[Actor, ...]], ...]:
        """Groups whose actors are written together, each with all roles: a crew, or neighbours that
        stand alone and have as many iterations.
        """
        found: list[tuple[Actor | Crew, tuple[Actor, ...]]] = []
        for group in self.groups:
            before = found[-1][0] if found else None
            if isinstance(group, Crew):
                found.append((group, group.actors))
            elif isinstance(before, Actor) and before.iterations == group.iterations:
                found[-1] = before, (*found[-1][1], group)
            else:
                found.append((group, (group,)))
        return tuple(found)

    def ends(self, side: type[Get] | type[Put]) -> tuple[IntArray, IntArray]:
        """The buffers at which actors get or put, a row for every time, and which actors do.

        Of actors how many stand before them in the scene. A column for each single verb.
        """
        if side not in self._ends:
            self._ends[side] = self._side(side)
        return self._ends[side]

    @cached_property
    def _ends(self) -> dict[type[Get] | type[Put], tuple[IntArray, IntArray]]:
        return {}

    def _side(self, side: type[Get] | type[Put]) -> tuple[IntArray, IntArray]:
        table: list[tuple[int, int, int]] = []
        buffers: list[IntArray] = []
        for group, role, actor in self.cast:
            members, width = members_of(group), len(roles_of(group))
            for verb in actor.steps:
                if type(verb) is side:
                    rows = members if members > 1 else rows_of(verb)
                    table.append((rows, role, width if members > 1 else 0))
                    buffers.append(self.buffers_of(verb.buffer))
        if not table:
            return np.zeros((self.times, 0), np.int64), np.zeros(0, np.int64)
        rows, owner, apart = np.array(table, np.int64).T
        behind = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
        first = np.repeat(np.array(buffers), rows, axis=0).T
        return first + behind, np.repeat(owner, rows) + behind * np.repeat(apart, rows)

    @cached_property
    def cast(self) -> tuple[tuple[Actor | Crew, int, Actor], ...]:
        """For each role its group, and the actor that it is the first time, by its number there."""
        found, first = [], 0
        for group in self.groups:
            actors = roles_of(group)
            found += [(group, first + own, actor) for own, actor in enumerate(actors)]
            first += members_of(group) * len(actors)
        return tuple(found)

    def standing(self, time: int) -> tuple[Actor | Crew, ...]:
        """The groups as they stand that time."""
        if time == 0:
            return self.groups
        return tuple([self._group(group, time) for group in self.groups])

    def buffers_of(self, buffer: int) -> IntArray:
        """The buffer that is in the place of `buffer`, for every time."""
        return np.array([buffer]) if self.buffers is None else self.buffers[buffer]

    def places_of(self, group: Actor | Crew, verb: Use) -> IntArray:
        """The resource that each member of a group uses, a row for every time."""
        if isinstance(group, Crew) and verb.resource in group.elsewhere:
            return self.resources_of(group.elsewhere[verb.resource])
        each = np.array([verb.resource])
        if self.resources is not None:
            each = self.resources[verb.resource]
        return np.broadcast_to(each[:, np.newaxis], (each.size, members_of(group)))

    def resources_of(self, resources: IntArray) -> IntArray:
        """The resources that are in the place of each of `resources`, a row for every time."""
        if self.resources is None:
            return resources[np.newaxis]
        found = np.empty((self.times, resources.size), np.int64)
        for one in np.unique(resources).tolist():
            found[:, resources == one] = self.resources[one][:, np.newaxis]
        return found

    def _group(self, group: Actor | Crew, time: int) -> Actor | Crew:
        if isinstance(group, Actor):
            return self._actor(group, time)
        elsewhere = {
            int(self.resources_of(np.array([own]))[time, 0]): self.resources_of(places)[time]
            for own, places in group.elsewhere.items()
        }
        actors = tuple([self._actor(actor, time) for actor in group.actors])
        return replace(group, actors=actors, elsewhere=elsewhere)

    def _actor(self, actor: Actor, time: int) -> Actor:
        name = self.names[time] + actor.name.removeprefix(self.names[0])
        return Actor(name, actor.iterations, tuple([self._verb(v, time) for v in actor.steps]))

    def _verb(self, verb: Verb, time: int) -> Verb:
        if isinstance(verb, Hold):
            return verb
        if isinstance(verb, Use):
            place = self.resources_of(np.array([verb.resource]))[time, 0]
            return Use(int(place), verb.duration)
        return type(verb)(int(self.buffers_of(verb.buffer)[time]), verb.count)


@brief
@dataclass(frozen=True, eq=False)
class BufferShelf:
    """Buffers of a scene as they are the first time, when their names begin with `name`."""

    stores: tuple[Fifo | Bank, ...]
    name: str

    @cached_property
    def columns(self) -> Columns:
        """Those of the stores, see `store_columns`."""
        return _columns(self.stores)

    @cached_property
    def buffer_count(self) -> int:
        """How many buffers there are."""
        return sum(self.columns[0])

    def named(self, name: str) -> tuple[Fifo | Bank, ...]:
        """The buffers with names that begin otherwise."""
        return tuple(
            [
                replace(store, name=name + store.name.removeprefix(self.name))
                for store in self.stores
            ]
        )


@dataclass(frozen=True, slots=True)
class ShelfAgain:
    """The buffers of a shelf under another name."""

    shelf: BufferShelf
    name: str


Columns: TypeAlias = tuple[list[int], list[int], list[int]]
"""How many buffers each store has, their capacity, and how many tokens they hold at time 0."""


class Stores(MadeLate[Fifo | Bank]):
    """The stores of a program, some of them those of shelves."""

    def __init__(self, parts: Iterable[Fifo | Bank | ShelfAgain]) -> None:
        self._parts = tuple(parts)

    @cached_property
    def columns(self) -> Columns:
        """Those of all stores, see `store_columns`."""
        return _columns(self._parts)

    def _make(self) -> Iterator[Fifo | Bank]:
        for part in self._parts:
            yield from part.shelf.named(part.name) if isinstance(part, ShelfAgain) else (part,)

    def __len__(self) -> int:
        return len(self.columns[0])


def store_columns(stores: Sequence[Fifo | Bank]) -> Columns:
    """How many buffers each store has, their capacity, and how many they hold at time 0."""
    return stores.columns if isinstance(stores, Stores) else _columns(stores)


def _columns(parts: Iterable[Fifo | Bank | ShelfAgain]) -> Columns:
    counts: list[int] = []
    capacities: list[int] = []
    initials: list[int] = []
    for part in parts:
        if isinstance(part, ShelfAgain):
            for column, more in zip(
                (counts, capacities, initials), part.shelf.columns, strict=True
            ):
                column += more
            continue
        counts.append(len(part.numbers) if isinstance(part, Bank) else 1)
        capacities.append(part.capacity)
        initials.append(part.initial)
    return counts, capacities, initials


@brief
@dataclass(frozen=True, eq=False)
class Stand:
    """A scene with the numbers of its first actor and its first role, for every time."""

    scene: ActorScene
    actors: IntArray
    roles: IntArray


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """Roles that are the same: those of a scene in all times that it stands.

    `actor` is that of the first member the first time. `numbers` has the actors, a row for every
    time, `sizes` the iterations of each member and `roles` the number of each role.
    """

    actor: Actor
    numbers: IntArray
    sizes: IntArray
    roles: tuple[int, ...]


class Groups(MadeLate[Actor | Crew]):
    """The groups of a program, of which scenes have some; `order` has the scene of each standing.

    The first time that a scene stands it is the first of its names, and so on.
    """

    def __init__(self, scenes: Sequence[ActorScene], order: Sequence[int]) -> None:
        self.scenes = tuple(scenes)
        self._order = np.array(order, np.int64)
        times = np.bincount(self._order, minlength=len(self.scenes)).tolist()
        if times != [scene.times for scene in self.scenes]:
            raise ValueError("every scene must stand as often as it has names")

    @cached_property
    def stands(self) -> tuple[Stand, ...]:
        """All scenes, and where they stand."""
        first = [self._firsts([s.actor_count for s in self.scenes]),
                 self._firsts([len(s.roles) for s in self.scenes])]  # fmt: skip
        by_scene = np.argsort(self._order, kind="stable")
        ends = np.cumsum([scene.times for scene in self.scenes])[:-1]
        actors, roles = (np.split(each[by_scene], ends) for each in first)
        return tuple(map(Stand, self.scenes, actors, roles))

    def once(self) -> Iterator[tuple[Actor | Crew, int, int]]:
        """The groups of scenes that stand once, each with the first of its actors and roles."""
        for stand in self.stands:
            if stand.scene.times > 1:
                continue
            first, role = int(stand.actors[0]), int(stand.roles[0])
            for group in stand.scene.groups:
                yield group, first, role
                width = len(roles_of(group))
                first, role = first + members_of(group) * width, role + width

    def _firsts(self, widths: list[int]) -> IntArray:
        """How many there are before each standing, of which scenes have `widths`."""
        each = np.array(widths, np.int64)[self._order]
        return np.asarray(np.cumsum(each) - each)

    def _make(self) -> Iterator[Actor | Crew]:
        done = [0] * len(self.scenes)
        for scene in self._order.tolist():
            yield from self.scenes[scene].standing(done[scene])
            done[scene] += 1

    def __len__(self) -> int:
        return int(np.array([len(s.groups) for s in self.scenes], np.int64)[self._order].sum())
