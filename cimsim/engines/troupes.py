"""Troupes: actors that have the same code, but for places and amounts."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from cimsim.engines.actors import (
    Actor,
    Crew,
    Get,
    IntArray,
    Put,
    Use,
    members_of,
    numbers_of,
    roles_of,
    sizes_of,
)
from cimsim.engines.record import Marks
from cimsim.engines.scenes import ActorScene, Stand
from cimsim.engines.survey import Survey
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Troupe:
    """The actors of a group in some of the times that its scene stands.

    `roles` are the numbers of its first role each time. Arrays have an entry for each actor of a
    role: members of one time behind those of another. `sizes` are their iterations, `begins` where
    the amounts of each begin; `numbers` has the actors by role and `clients` for each Use which of
    the clients of its resource each of them is.
    """

    scene: ActorScene
    group: Actor | Crew
    times: IntArray
    roles: list[int]
    clients: Iterator[IntArray]
    sizes: IntArray
    begins: IntArray
    numbers: list[IntArray]

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The roles of the group."""
        return roles_of(self.group)

    @property
    def members(self) -> int:
        """Actors of a role each time."""
        return members_of(self.group)

    @property
    def count(self) -> int:
        """Actors of a role in all."""
        return int(self.sizes.size)

    @property
    def sizes_id(self) -> int:
        """Tells the sizes of members from others, 1 of one alone."""
        return id(self.group.sizes) if isinstance(self.group, Crew) else 1

    def buffers_of(self, verb: Get | Put) -> IntArray:
        """The buffer of each actor, its first where it has several."""
        first = self.scene.buffers_of(verb.buffer)[self.times]
        if self.members == 1:
            return first
        return (first[:, np.newaxis] + np.arange(self.members)).ravel()

    def resources_of(self, verb: Use) -> tuple[IntArray, list[int]]:
        """The resource of each actor, and which these are."""
        places = self.scene.places_of(self.group, verb)[self.times].ravel()
        return places, list(set(places.tolist()))

    def log_rows(
        self, logs: list[tuple[IntArray, list[tuple[bool, int]]]]
    ) -> tuple[IntArray, IntArray]:
        """Where to read the intervals and the iterations of all actors, see `MachineCode`.

        Each row begins with its actor. `logs` has for each role where the log of each actor begins
        and its intervals.
        """
        verbs = sum(len(intervals) for _, intervals in logs)
        rows = np.empty((self.count, verbs, 6), np.int64)
        turns = np.empty((self.count, len(logs), 4), np.int64)
        at = 0
        for own, (log_at, intervals) in enumerate(logs):
            here = slice(at, at + len(intervals))
            rows[:, here, 0] = self.numbers[own][:, np.newaxis]
            turns[:, own, 0] = self.numbers[own]
            rows[:, here, 1] = log_at[:, np.newaxis] + np.arange(len(intervals))
            rows[:, here, 2] = turns[:, own, 2] = len(intervals) + 1
            rows[:, here, 3] = self.sizes[:, np.newaxis]
            rows[:, here, 4] = [each for each, _ in intervals]
            rows[:, here, 5] = [duration for _, duration in intervals]
            rows[:, here, 5] += rows[:, here, 4] * self.begins[:, np.newaxis]
            turns[:, own, 1], turns[:, own, 3] = log_at + len(intervals), self.sizes
            at += len(intervals)
        return rows.reshape(-1, 6), turns.reshape(-1, 4)


def alone(group: Crew, first: int, role: int, seen: Survey) -> Troupe:
    """The troupe of a crew that stands once."""
    clients = [next(seen.together) for _ in range(_uses(group))]
    return _troupe(
        ActorScene((group,)), group, np.zeros(1, np.int64), np.array([first]), [role], clients
    )


def troupes(stand: Stand, units: IntArray, marks: Marks | None, seen: Survey) -> Iterator[Troupe]:
    """Those of a scene: its groups, in the times in which tokens and marks are alike.

    `units` are the tokens of each buffer that count as one.
    """
    scene, before, roles = stand.scene, 0, 0
    alike = _alike(stand, units, marks)
    for group in scene.groups:
        members, width = members_of(group), len(roles_of(group))
        every = [next(seen.together) for _ in range(_uses(group))]
        for times in alike:
            clients = [one.reshape(scene.times, members)[times].ravel() for one in every]
            firsts, mine = stand.actors[times] + before, (stand.roles[times] + roles).tolist()
            yield _troupe(scene, group, times, firsts, mine, clients)
        before, roles = before + members * width, roles + width


def _troupe(
    scene: ActorScene, group: Actor | Crew, times: IntArray, firsts: IntArray, roles: list[int],
    clients: list[IntArray],
) -> Troupe:  # fmt: skip
    sizes = sizes_of(group)
    begins = np.cumsum(sizes) - sizes
    first = (firsts[:, np.newaxis] + numbers_of(group, 0)).ravel()
    numbers = [first + own for own in range(len(roles_of(group)))]
    each, start = (np.tile(column, times.size) for column in (sizes, begins))
    return Troupe(scene, group, times, roles, iter(clients), each, start, numbers)


def _uses(group: Actor | Crew) -> int:
    """Uses of a member."""
    return sum(isinstance(verb, Use) for actor in roles_of(group) for verb in actor.steps)


def _alike(stand: Stand, units: IntArray, marks: Marks | None) -> list[IntArray]:
    """The times of a scene, those together in which its buffers have the same units, and its roles
    the same marks.
    """
    scene = stand.scene
    grouped = np.concatenate([units[scene.ends(side)[0]] for side in (Put, Get)], axis=1)
    found: dict[Hashable, list[int]] = {}
    for time, (role, row) in enumerate(zip(stand.roles.tolist(), grouped, strict=True)):
        key: tuple[Hashable, ...] = (row.tobytes(),)
        if marks is not None:
            key += tuple([id(one) for one in marks[role : role + len(scene.roles)]])
        found.setdefault(key, []).append(time)
    return [np.array(times) for times in found.values()]
