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
    sizes_of,
)
from cimsim.engines.record import Marks
from cimsim.engines.scenes import ActorScene, Stand
from cimsim.engines.survey import Survey
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Troupe:
    """The actors of a band of a scene in some of the times that it stands: a crew, or one that
    stands alone and those beside it.

    `members` are the actors of a role each time, `roles` the numbers of its first role each time.
    Arrays have an entry for each actor of a role: members of one time behind those of another.
    `sizes` are their iterations, `begins` where the amounts of each begin; `numbers` has the actors
    by role and `clients` for each Use which of the clients of its resource each of them is.
    """

    scene: ActorScene
    group: Actor | Crew
    actors: tuple[Actor, ...]
    members: int
    times: IntArray
    roles: list[int]
    clients: Iterator[IntArray]
    sizes: IntArray
    begins: IntArray
    numbers: list[IntArray]

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
        widths = [len(intervals) for _, intervals in logs]
        verbs = [
            (own, entry, widths[own] + 1, each, duration)
            for own, (_, intervals) in enumerate(logs)
            for entry, (each, duration) in enumerate(intervals)
        ]
        numbers, begins = np.array(self.numbers).T, np.array([log_at for log_at, _ in logs]).T
        turns = np.empty((self.count, len(logs), 4), np.int64)
        turns[:, :, 0], turns[:, :, 1] = numbers, begins + widths
        turns[:, :, 2], turns[:, :, 3] = np.array(widths) + 1, self.sizes[:, np.newaxis]
        rows = np.empty((self.count, len(verbs), 6), np.int64)
        if verbs:
            own, entry, stride, each, duration = np.array(verbs, np.int64).T
            rows[:, :, 0], rows[:, :, 1] = numbers[:, own], begins[:, own] + entry
            rows[:, :, 2], rows[:, :, 3] = stride, self.sizes[:, np.newaxis]
            rows[:, :, 4], rows[:, :, 5] = each, duration + each * self.begins[:, np.newaxis]
        return rows.reshape(-1, 6), turns.reshape(-1, 4)


def alone(group: Crew, first: int, role: int, seen: Survey) -> Troupe:
    """The troupe of a crew that stands once."""
    clients = [next(seen.together) for _ in range(_uses(group.actors))]
    return _troupe(
        ActorScene((group,)), group, group.actors, np.zeros(1, np.int64), np.array([first]),
        [role], clients,
    )  # fmt: skip


def troupes(stand: Stand, units: IntArray, marks: Marks | None, seen: Survey) -> Iterator[Troupe]:
    """Those of a scene: its bands, in the times in which tokens and marks are alike.

    `units` are the tokens of each buffer that count as one.
    """
    scene, before, roles = stand.scene, 0, 0
    alike = _alike(stand, units, marks)
    for group, actors in scene.bands:
        members, width = members_of(group), len(actors)
        every = [next(seen.together) for _ in range(_uses(actors))]
        for times in alike:
            clients = [one.reshape(scene.times, members)[times].ravel() for one in every]
            firsts, mine = stand.actors[times] + before, (stand.roles[times] + roles).tolist()
            yield _troupe(scene, group, actors, times, firsts, mine, clients)
        before, roles = before + members * width, roles + width


def _troupe(
    scene: ActorScene, group: Actor | Crew, actors: tuple[Actor, ...], times: IntArray,
    firsts: IntArray, roles: list[int], clients: list[IntArray],
) -> Troupe:  # fmt: skip
    sizes = sizes_of(group)
    begins = np.cumsum(sizes) - sizes
    first = (firsts[:, np.newaxis] + numbers_of(group, 0)).ravel()
    numbers = [first + own for own in range(len(actors))]
    each, start = (np.concatenate([column] * times.size) for column in (sizes, begins))
    return Troupe(
        scene, group, actors, sizes.size, times, roles, iter(clients), each, start, numbers
    )


def _uses(actors: tuple[Actor, ...]) -> int:
    """Uses of a member."""
    return sum(isinstance(verb, Use) for actor in actors for verb in actor.steps)


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
