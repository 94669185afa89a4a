"""Over how many clusters the blocks of a cluster stage go round, and in how many parts each.

A closed form for a step, all data there and nobody else at work: blocks go round the clusters that
are taken, a block is fetched, computed and drained by its parts side by side, and clusters that
work on parts of one block meet (`meetings_ps`). The group at home has what arrays beside it send,
clusters of other groups fetch that. The least time is taken, and of equals the fewest clusters and
parts, so that more clusters never make a step longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cimsim.engines.program import IntArray
from cimsim.schedule.assembler import Assembler
from cimsim.schedule.cluster_work import Demand, cluster_work
from cimsim.schedule.graph import Stream
from cimsim.schedule.lanes import Deal, Lanes, deal_out, whole
from cimsim.schedule.stages import Stage
from cimsim.schedule.work import most_parts


def lanes_of(assembler: Assembler, demand: Demand) -> Lanes:
    """The lanes of a stage: blocks of every phase as `deal` has them."""
    stage = demand.stage
    key = "lanes", demand.stream, *demand.work, stage.near, stage.clusters[1]

    def dealt() -> Lanes:
        phases = np.unique(demand.stream.phase).tolist()
        deals = tuple((phase, deal(assembler, demand, phase)) for phase in phases)
        return deal_out(demand.stream, deals, stage.near)

    return assembler.alike.once(key, dealt)


def deal(assembler: Assembler, demand: Demand, phase: int) -> Deal:
    """How the blocks of a step of `phase` are dealt; see the module."""
    stage, block, blocks = demand.stage, *_last_step(demand.stream, phase)
    choices = choices_of(assembler, stage, phase, blocks)
    if len(choices) == 1:
        return choices[0]
    key = (
        "deal", phase, tuple(int(column[0]) for column in _columns(block)), blocks, stage.near,
        stage.clusters[1], *demand.work,
    )  # fmt: skip

    def best() -> Deal:
        times = step_ps(assembler, demand, block, blocks, choices)
        return choices[int(np.argmin(times))]

    return assembler.alike.once(key, best)


def step_ps(
    assembler: Assembler, demand: Demand, block: Stream, blocks: int, choices: Sequence[Deal]
) -> IntArray:
    """Closed-form time of a step of `blocks` blocks, all like the one in `block`, by choice."""
    phase, near = int(block.phase[0]), demand.stage.near
    found = np.zeros(len(choices), np.int64)
    used = np.array([min(choice.clusters, blocks * choice.parts) for choice in choices])
    parts = np.array([choice.parts for choice in choices], np.int64)
    for away in (False, True):
        here = np.flatnonzero((used > near) == away)
        if not here.size:
            continue
        stream = Stream(*(np.repeat(column, here.size) for column in _columns(block)))
        lanes = whole(stream, parts[here], frozenset({phase} if away else ()))
        times = cluster_work(assembler, replace(demand, stream=stream), lanes).teams[0].times
        moved = times.fetch.total() + times.drain.total()
        compute = times.early.duration + times.compute.duration
        rounds = -(-blocks * parts[here] // used[here])
        found[here] = moved + compute + (rounds - 1) * np.maximum(moved, compute)
    return found


def _last_step(stream: Stream, phase: int) -> tuple[Stream, int]:
    """The largest block of the last step of `phase`, the last of several; blocks of the step of
    one sequence.
    """
    here = stream.phase == phase
    places = np.flatnonzero(here & (stream.step == stream.step[here].max()))
    largest = places[np.lexsort((stream.end[places], stream.size[places]))[-1]]
    opened = int((stream.first_of_step[places] == 1).sum())
    return stream.of(slice(int(largest), int(largest) + 1)), int(places.size) // opened


def _columns(stream: Stream) -> tuple[IntArray, ...]:
    return stream.phase, stream.step, stream.size, stream.end


def _parts(assembler: Assembler, stage: Stage, phase: int) -> list[int]:
    """Parts worth a try: the fewest for each size of the largest share, in least parts."""
    pmca = assembler.architecture.pmca
    most = min(most_parts(node.ops[phase], pmca) for node in stage.nodes)
    shares = [-(-most // parts) for parts in range(1, most + 1)]
    return [
        parts for parts in range(1, most + 1) if parts == 1 or shares[parts - 1] < shares[parts - 2]
    ]


def choices_of(assembler: Assembler, stage: Stage, phase: int, blocks: int) -> list[Deal]:
    """The clusters at home or all, and parts of a block as long as those of all blocks have room.

    Fewest clusters first, then fewest parts.
    """
    near, every = stage.near, stage.clusters[1]
    parts = _parts(assembler, stage, phase)
    found = []
    for clusters in (near, every) if every > near else (every,):
        most = max(1, clusters // blocks)
        found += [
            Deal(clusters, n)
            for n in parts
            if n <= most and (clusters == near or blocks * n > near)
        ]
    return found
