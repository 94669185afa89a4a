"""What each shape of cluster stage takes in a block: its latency, and its work in all."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from cimsim.engines.program import Hold, Use, timed_verbs
from cimsim.schedule import Plan


class BlockTime(NamedTuple):
    """Times (ps) of a shape in one block size: of a block, and of all blocks on a share of units.

    `latency_ps` is the mean time of a block through transfers and cores; `work_ps` that of all
    blocks of the first phase on the cores, over the clusters that share them.
    """

    latency_ps: float
    work_ps: float


ShapeTimes = dict[str, dict[int, BlockTime]]
"""Shape -> tokens of a block -> times."""


def shape_times(plan: Plan) -> ShapeTimes:
    """The times of every shape in the blocks that `plan` has, of the first stage of each shape."""
    stages: dict[str, str] = {}
    for stage, shape in plan.shapes.items():
        stages.setdefault(shape, stage)
    wanted = set(stages.values())
    busy: dict[str, float] = defaultdict(float)
    work: dict[str, float] = defaultdict(float)
    blocks: dict[str, int] = defaultdict(int)
    for actor, info in zip(plan.program.roles, plan.roles, strict=True):
        if info.stage not in wanted:
            continue
        here = info.phase == 0
        for place in timed_verbs(actor.steps):
            verb = actor.steps[place]
            assert isinstance(verb, Hold | Use)
            time = float((np.broadcast_to(verb.duration, here.shape) * here).sum())
            busy[info.stage] += time
            if isinstance(verb, Use):
                work[info.stage] += time / plan.program.resources[verb.resource].servers
        if info.part.startswith(("compute", "block")):
            blocks[info.stage] += int(here.sum())
    return {
        shape: {plan.block_tokens[stage]: BlockTime(busy[stage] / blocks[stage], work[stage])}
        for shape, stage in stages.items()
        if blocks[stage]
    }
