"""Layers that repeat within a workload, found by the sizes and the edges of their ops.

Two ops are twins where all their sizes agree and each input of one is the input of the other, or
its twin. A run of `count` layers of `period` ops each, in which every op is the twin of the one a
period before, is a repeat; names of ops mean nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cimsim.ir import Op, Workload

CACHE = "cache:"
LEAST_LAYERS = 3
"""Choice: fewer equal layers are not worth a shorter run."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Equal layers one after the other: the names of the ops of each, in order."""

    layers: tuple[tuple[str, ...], ...]


def repeats(workload: Workload) -> tuple[Repeat, ...]:
    """Runs of equal layers, longest first; those that a later phase does not share are left out."""
    first = workload.phases[0].ops
    index = {op.name: place for place, op in enumerate(first)}
    found = []
    for start, period, count in _runs(first):
        names = [op.name for op in first[start : start + period * count]]
        layers = tuple(tuple(names[i : i + period]) for i in range(0, len(names), period))
        agreed = all(_agrees(phase.ops, layers, index) for phase in workload.phases[1:])
        if agreed and _chained(first, layers):
            found.append(Repeat(layers))
    return tuple(found)


def _runs(ops: Sequence[Op]) -> list[tuple[int, int, int]]:
    """(start, period, count) of runs of equal layers that do not overlap, most ops first."""
    index = {op.name: place for place, op in enumerate(ops)}
    kinds = _kinds(ops)
    free = np.ones(len(ops), bool)
    found: list[tuple[int, int, int]] = []
    while (best := _longest(ops, index, kinds, free)) is not None:
        start, period, count = best
        free[start : start + period * count] = False
        found.append(best)
    return found


def _kinds(ops: Sequence[Op]) -> npt.NDArray[np.int64]:
    """A number for each op, equal where all sizes agree."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(op.content(), len(known)) for op in ops], np.int64)


def _longest(
    ops: Sequence[Op], index: Mapping[str, int], kinds: npt.NDArray[np.int64],
    free: npt.NDArray[np.bool_],
) -> tuple[int, int, int] | None:  # fmt: skip
    """The run among the `free` ops that saves most: all layers but one, of the least period."""
    best, saved = None, 0
    for period in range(1, len(ops) // LEAST_LAYERS + 1):
        same = (kinds[period:] == kinds[:-period]) & free[period:] & free[:-period]
        if int(same.sum()) <= saved:
            continue
        equal = np.array(
            [
                bool(alike) and _twins(ops[place], ops[place + period], index, period)
                for place, alike in enumerate(same)
            ]
        )
        start, length = _stretch(equal)
        count = 1 + length // period
        if count >= LEAST_LAYERS and (count - 1) * period > saved:
            best, saved = (start, period, count), (count - 1) * period
    return best


def _stretch(flags: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest stretch of true flags."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not starts.size:
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _twins(one: Op, other: Op, index: Mapping[str, int], period: int) -> bool:
    """Whether two ops of one kind read the same, or each what stands a `period` apart."""
    mine, theirs = _reads(one), _reads(other)
    return len(mine) == len(theirs) and all(
        a == b or (a in index and b in index and index[b] - index[a] == period)
        for a, b in zip(mine, theirs, strict=True)
    )


def _reads(op: Op) -> list[str]:
    adapts = getattr(op, "adapts", None)
    return [name.removeprefix(CACHE) for name in op.inputs] + ([adapts] if adapts else [])


def _agrees(
    ops: Sequence[Op], layers: tuple[tuple[str, ...], ...], index: Mapping[str, int]
) -> bool:
    """Whether the layers are equal among the `ops` of another phase, which may have some of theirs.

    `index` has the places of all ops in the first phase.
    """
    home = {name: (j, i) for j, layer in enumerate(layers) for i, name in enumerate(layer)}
    rows: list[list[Op]] = [[] for _ in layers]
    for op in ops:
        if op.name in home:
            rows[home[op.name][0]].append(op)
    places = [[home[op.name][1] for op in row] for row in rows]
    if any(row != places[0] for row in places):
        return False
    kinds = _kinds([op for row in rows for op in row]).reshape(len(rows), -1)
    return bool((kinds == kinds[0]).all()) and all(
        _twins(a, b, index, len(layers[0]))
        for one, other in pairwise(rows)
        for a, b in zip(one, other, strict=True)
    )


def _chained(ops: Sequence[Op], layers: tuple[tuple[str, ...], ...]) -> bool:
    """Whether a layer reads the one before it: equal ops side by side are no layers."""
    before = set(layers[0])
    return any(before.intersection(_reads(op)) for op in ops if op.name in set(layers[1]))
