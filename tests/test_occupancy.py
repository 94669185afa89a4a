"""How full the buffer gets, against counting at every moment."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimsim.engines.program import IntArray
from cimsim.report.occupancy import SLOTS, _Peak

LIVES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12)


@given(
    lives=st.lists(st.tuples(LIVES, st.sampled_from([0.5, 1.0, 3.0, 64.0])), max_size=4),
    third=st.booleans(),
    slots=st.sampled_from([1, 2, 7, SLOTS]),
    together=st.sampled_from([1, 9, 2**15]),
)
def test_the_peak_is_the_most_of_all_moments(
    lives: list[tuple[list[tuple[int, int]], float]], third: bool, slots: int, together: int
) -> None:
    held, alive, times = [], Counter[int](), [np.zeros(1, np.int64)]

    def places(of: IntArray) -> IntArray:
        """Where these times stand among all."""
        start = sum(map(len, times))
        times.append(of)
        return np.arange(start, start + len(of))

    for tokens, size in lives:
        born = np.sort(np.array([b for b, _ in tokens], np.int64))
        dies = np.sort(np.array([b + t for b, t in tokens], np.int64))
        readers = [places(np.minimum(dies, 40)), places(dies)] if third else [places(dies)]
        if tokens:
            held.append((places(born), readers, size / 3 if third else size))
        for b, d in zip(born.tolist(), dies.tolist(), strict=True):
            for moment in range(b, d + 1):
                alive[moment] += round(2 * size)
    most = max(alive.values(), default=0) / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cimsim.report.occupancy.TOGETHER", together)
        found = _Peak(held, slots).bytes(np.concatenate(times))
    assert found == (pytest.approx(most / 3) if third else most)


def test_a_peak_behind_spans_that_cannot_have_it() -> None:
    # 10 at 1 to 2, then 1; 6 from 20 on, a span that is passed over; 11 at 40 to 41, then 7
    lives = [(9.0, 1, 2), (1.0, 1, 60), (5.0, 20, 60), (4.0, 40, 41), (1.0, 40, 60)]
    ends = np.array([moment for _, *both in lives for moment in both], np.int64)
    held = [(np.array([2 * at]), [np.array([2 * at + 1])], size)
            for at, (size, _, _) in enumerate(lives)]  # fmt: skip
    assert _Peak(held, 7).bytes(ends) == 11.0
