"""Templates: what is added for a stage, and again for others that do the same.

Layers of a model repeat. The actors, buffers and tallies of a stage are laid out once; for another
stage of the same key only what differs is noted: its names, the buffers that it has in common with
its neighbours, its own ones behind the first, and the groups of clusters at which it works.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cimsim.engines.actors import roles_of
from cimsim.engines.program import Actor, Crew, Duration, Get, Put, Use
from cimsim.engines.scenes import ActorScene, BufferShelf
from cimsim.schedule.drafts import Draft, made
from cimsim.schedule.plan import ActorInfo, Booked, Portion, Waking
from cimsim.schedule.stages import Stage
from cimsim.values.display import brief
from cimsim.values.late import MadeLate

PoolUnit = Literal["pmca", "dma"]
"""What a group of clusters shares: cores, or DMA engines."""


@brief
@dataclass(eq=False)
class Template:
    """What is added for `stage`, and where it stands: once, or for further stages.

    Its own buffers are those from `first` on, `outside` those that it has in common with others;
    `pools` has the groups of clusters that resources are of, and which units. `again` says whether
    it may be added for another stage.
    """

    stage: Stage
    first: int
    outside: list[int]
    drafts: list[Draft] = field(default_factory=list)
    infos: list[ActorInfo] = field(default_factory=list)
    pools: dict[int, tuple[int, PoolUnit]] = field(default_factory=dict)
    booked: list[Booked] = field(default_factory=list)
    wakings: list[Waking] = field(default_factory=list)
    shelf: BufferShelf = field(default_factory=lambda: BufferShelf((), ""))
    intervals: int = 0
    again: bool = True
    stages: list[Stage] = field(default_factory=list)
    _firsts: list[int] = field(default_factory=list)
    _outsides: list[list[int]] = field(default_factory=list)
    _pools: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stages.append(self.stage)
        self._firsts.append(self.first)
        self._outsides.append(self.outside)

    def stand(self, stage: Stage, first: int, outside: list[int], pools: list[int]) -> None:
        """Stand for one more stage, with its own buffers from `first` on."""
        self.stages.append(stage)
        self._firsts.append(first)
        self._outsides.append(outside)
        self._pools.append(pools)

    def booked_for(self, stage: Stage) -> Iterator[Booked]:
        """What is booked, for another stage."""
        names = _names(self.stage, stage)
        return (
            Booked(stage.name, tuple([names[op] for op in b.ops]), b.tally) for b in self.booked
        )

    def scene(self, times: Sequence[Duration]) -> ActorScene:
        """The actors with `times` by number, and where they stand."""
        groups = tuple([made(draft, times) for draft in self.drafts])
        if len(self.stages) == 1:
            return ActorScene(groups)
        buffers, resources = _used(groups)
        firsts, outsides = np.array(self._firsts), np.array(self._outsides).T
        places = dict(zip(self.outside, outsides, strict=True))
        pools = np.array([list(self.pools), *self._pools], np.int64).T
        of_pools = dict(zip(self.pools, pools, strict=True))
        return ActorScene(
            groups,
            tuple([stage.name for stage in self.stages]),
            {b: places[b] if b in places else firsts + (b - self.first) for b in buffers},
            {r: of_pools[r] if r in of_pools else np.full(firsts.size, r) for r in resources},
        )

    def roles(self, time: int) -> list[ActorInfo]:
        """What the actors stand for, where they stand that time."""
        if time == 0:
            return self.infos
        stage = self.stages[time]
        names = _names(self.stage, stage)

        def named(portions: tuple[Portion, ...]) -> tuple[Portion, ...]:
            return tuple([Portion(names[p.op], p.duration) for p in portions])

        return [
            ActorInfo(
                stage.name, stage.layer, info.part, info.occupies, info.phase,
                tuple([portions and named(portions) for portions in info.portions]),
                info.times, info.bits,
            )
            for info in self.infos
        ]  # fmt: skip


class Roles(MadeLate[ActorInfo]):
    """What the roles of a program stand for, template after template as they were `added`."""

    def __init__(self, added: Sequence[Template]) -> None:
        self._added = tuple(added)

    def _make(self) -> Iterator[ActorInfo]:
        done: dict[int, int] = {}
        for template in self._added:
            time = done.get(id(template), 0)
            yield from template.roles(time)
            done[id(template)] = time + 1

    def __len__(self) -> int:
        return sum(len(template.infos) for template in self._added)


def _names(old: Stage, new: Stage) -> dict[str, str]:
    """The ops of one stage, by those of another that does the same."""
    return {a.name: b.name for a, b in zip(old.nodes, new.nodes, strict=True)}


def _used(groups: Sequence[Actor | Crew]) -> tuple[list[int], list[int]]:
    """Buffers and resources in the steps of groups."""
    buffers: dict[int, None] = {}
    resources: dict[int, None] = {}
    for group in groups:
        for actor in roles_of(group):
            for verb in actor.steps:
                if isinstance(verb, Get | Put):
                    buffers[verb.buffer] = None
                elif isinstance(verb, Use):
                    resources[verb.resource] = None
        if isinstance(group, Crew):
            for places in group.elsewhere.values():
                resources |= dict.fromkeys(np.unique(places).tolist())
    return list(buffers), list(resources)
