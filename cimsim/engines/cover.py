"""What intervals cover: the time in which at least one of a group of them runs."""

from __future__ import annotations

import numpy as np

from cimsim.engines.program import IntArray


class Cover:
    """Disjoint spans (ps) of `groups` groups, to which spans are added in any order."""

    def __init__(self, groups: int) -> None:
        self._spans: list[IntArray] = [np.zeros((0, 2), np.int64)] * groups

    def add(self, rows: IntArray) -> None:
        """Add rows of (group, start, end)."""
        for group in np.unique(rows[:, 0]).tolist():
            mine = rows[rows[:, 0] == group, 1:]
            self._spans[group] = joined(np.concatenate([self._spans[group], mine]))

    def time_ps(self) -> tuple[int, ...]:
        """The time that each group covers."""
        return tuple(int((spans[:, 1] - spans[:, 0]).sum()) for spans in self._spans)


def joined(spans: IntArray) -> IntArray:
    """Rows of (start, end) in order, those that touch or overlap put together."""
    if not len(spans):
        return spans
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    start, reached = spans[:, 0], np.maximum.accumulate(spans[:, 1])
    gaps = np.flatnonzero(start[1:] > reached[:-1])
    firsts, lasts = np.append(0, gaps + 1), np.append(gaps, len(spans) - 1)
    return np.stack([start[firsts], reached[lasts]], axis=1)
