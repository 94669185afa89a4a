"""Which weights are written anew in which step, and after whom, where weights take turns on units.

In every step the weights of a unit come in the order of their turns (`cimsim.mapping.Turn`). A run
begins with what the run before it has left in its units: those of the last turn. So a weight is
written in a step unless its units still hold it, and a unit of which one weight has its turn alone
is never written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from cimsim.mapping import BoolArray, IntArray, Placement, Written
from cimsim.values.display import brief

StepKind = tuple[int, bool]
"""A phase, and whether a step is a later one than its first."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """Writes of one weight: which blocks, in the order of its units, by kind of step.

    `after` has for each weight that stood there before (step, step): steps of this one, numbered
    through all phases, and that of the other which it waits for. A step that waits for none finds
    its units as the run before has left them.
    """

    placement: Placement
    blocks: dict[StepKind, BoolArray] = field(default_factory=dict)
    after: dict[str, dict[int, int]] = field(default_factory=dict)

    def written(self) -> dict[StepKind, Written]:
        """What is written, by kind of step; one value where the same blocks are."""
        known: dict[bytes, Written] = {}
        for only in self.blocks.values():
            known.setdefault(only.tobytes(), self.placement.written(only=only))
        return {kind: known[only.tobytes()] for kind, only in self.blocks.items()}

    def counted(self, steps: Sequence[int]) -> list[tuple[Written, tuple[int, ...]]]:
        """What is written, and how often in each phase of so many `steps`."""
        counts: dict[int, list[int]] = {}
        written = self.written()
        for (phase, later), one in written.items():
            of = counts.setdefault(id(one), [0] * len(steps))
            of[phase] += steps[phase] - 1 if later else 1
        once = {id(one): one for one in written.values()}
        return [(one, tuple(counts[key])) for key, one in once.items()]

    @property
    def alike(self) -> Hashable:
        """All that the cost of its writes depends on beside the machine."""
        p = self.placement
        parts = tuple((kind, only.tobytes()) for kind, only in sorted(self.blocks.items()))
        return p.unit, p.grid, p.grid.groups, p.replicas, parts


def rewrites(
    placements: Mapping[str, Placement], phases: Mapping[str, Sequence[int]], steps: Sequence[int]
) -> list[Rewrite]:
    """Every weight that is written in a run of `steps` steps a phase, in the order of turns.

    `phases` has for each weight those in which its op runs.
    """
    found: dict[str, Rewrite] = {}
    for holders, blocks in _alike(placements):
        running = [frozenset(phases[name]) for name in holders]
        for at, kind, before, waits in _visits(running, steps):
            placement = placements[holders[at]]
            rewrite = found.setdefault(holders[at], Rewrite(placement))
            none = np.zeros(placement.units.size, bool)
            rewrite.blocks.setdefault(kind, none)[blocks[at]] = True
            if placement.turn is not None and placement.turn.group is None:
                rewrite.after.setdefault(holders[before], {}).update(waits)
    phase_of = np.repeat(range(len(steps)), steps)
    for turns in _by_group(placements):
        running = [frozenset(p for name in names for p in phases[name]) for names in turns]
        for at, kind, before, waits in _visits(running, steps):
            theirs = {int(phase_of[step]) for step in waits.values()}
            ended = [name for name in turns[before] if theirs.intersection(phases[name])]
            for name in turns[at]:
                if name in found and kind in found[name].blocks:
                    for other in ended:
                        found[name].after.setdefault(other, {}).update(waits)
    return sorted(found.values(), key=lambda rewrite: _number(rewrite.placement))


def _number(placement: Placement) -> int:
    return -1 if placement.turn is None else placement.turn.number


def _by_group(placements: Mapping[str, Placement]) -> Iterator[list[list[str]]]:
    """Of every group of units the names of the weights of each turn, in order."""
    found: dict[tuple[str, int], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, p in placements.items():
        if p.turn is not None and p.turn.group is not None:
            found[p.unit, p.turn.group][p.turn.number].append(name)
    for turns in found.values():
        yield [names for _, names in sorted(turns.items())]


def _alike(
    placements: Mapping[str, Placement],
) -> Iterator[tuple[tuple[str, ...], list[IntArray]]]:
    """Units with the same weights in turn: their names, and the places of their blocks there."""
    held: dict[tuple[str, int], list[tuple[int, str, int]]] = defaultdict(list)
    for name, p in placements.items():
        if p.turn is not None:
            for place, unit in enumerate(p.units.ravel().tolist()):
                held[p.unit, unit].append((p.turn.number, name, place))
    together: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for parts in held.values():
        parts.sort()
        together[tuple(name for _, name, _ in parts)].append([place for _, _, place in parts])
    for names, places in together.items():
        yield names, list(np.array(places, np.int64).T)


def _visits(
    running: Sequence[frozenset[int]], steps: Sequence[int]
) -> Iterator[tuple[int, StepKind, int, dict[int, int]]]:
    """Of weights that take turns on a unit: which is written in which kind of step, over which, and
    the steps of these that end before each of its own; `running` has the phases of each.
    """
    first = [0, *accumulate(steps)]
    active = [[i for i, of in enumerate(running) if p in of] for p in range(len(steps))]
    ran = [p for p, of in enumerate(active) if of]
    for number, p in enumerate(ran):
        for k, at in enumerate(active[p]):
            if k:
                before, waits = active[p][k - 1], {first[p]: first[p]}
            else:
                q = ran[number - 1]  # of the first phase the last one, in the run before
                before = active[q][-1]
                waits = {first[p]: first[q + 1] - 1} if number else {}
            if before != at:
                yield at, (p, False), before, waits
            again = active[p][k - 1]
            if steps[p] > 1 and again != at:
                mine = range(first[p] + 1, first[p + 1])
                yield at, (p, True), again, {n: n if k else n - 1 for n in mine}
