"""Wear of a stream of switches: the cell that takes most pulses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

import numpy as np

from cimsim.costs.programming import summed
from cimsim.serving.jobs import RequestWork
from cimsim.serving.switches import PulsedUnits, Switch, Switches

MEANS = 16
"""Choice: mean pulses of a cell, the highest, of which the hottest cell is looked for."""


def hottest(switches: Switches, jobs: Sequence[RequestWork]) -> tuple[float, float]:
    """Wear of the cell that is pulsed most, as a share of its endurance and in pulses, expected.

    Switches that write into a unit are taken to write the same cells of it, each time with as many
    pulses as comes by chance: of the cells of all units with one mean, the one with most pulses
    counts; units with fewer pulses in the mean may have it where they are more.
    """
    places: defaultdict[int, Counter[Switch]] = defaultdict(Counter)
    for job in jobs:
        if job.switch is not None:
            places[job.place][job.switch] += 1
    alike = {frozenset(times.items()): times for times in places.values()}
    found = [_of_place(switches, times) for times in alike.values()]
    return max(found, default=(0.0, 0.0))


def _of_place(switches: Switches, times: Mapping[Switch, int]) -> tuple[float, float]:
    kinds = sorted({write.unit for switch in times for write in switch.pulsed})
    return max((_of_kind(switches, times, kind) for kind in kinds), default=(0.0, 0.0))


def _of_kind(switches: Switches, times: Mapping[Switch, int], kind: str) -> tuple[float, float]:
    count = switches.architecture.units[kind].count
    mean, cells = np.zeros(count), np.zeros(count)
    for switch, often in times.items():
        here = np.zeros(count)
        for write in _into(switch, kind):
            np.maximum.at(here, write.units, write.counts.mean)
            np.maximum.at(cells, write.units, write.cells)
        mean += often * here
    worst = (0.0, 0.0)
    for level in _levels(mean):
        # choice: sums of doubles that are equal but for their order
        alike = np.abs(mean - level) <= level * 1e-9
        unit = int(alike.argmax())
        parts = []
        for switch, often in times.items():
            mine = [write for write in _into(switch, kind) if (write.units == unit).any()]
            if mine:
                parts.append((max((write.counts for write in mine), key=attrgetter("mean")), often))
                endurance = mine[0].endurance_pulses
        pulses = summed(parts).hottest(float(cells[alike].sum()))
        worst = max(worst, (pulses / endurance, pulses))
    return worst


def _levels(mean: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    """The highest means above 0, those that are equal once."""
    levels: list[float] = []
    for level in np.unique(mean)[::-1].tolist():
        # choice: as above
        if level > 0.0 and (not levels or level < levels[-1] * (1.0 - 1e-9)):
            levels.append(level)
        if len(levels) == MEANS:
            break
    return levels


def _into(switch: Switch, kind: str) -> Iterable[PulsedUnits]:
    return [write for write in switch.pulsed if write.unit == kind]
