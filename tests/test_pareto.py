"""Fronts: brute force, permutation, duplicates, scale; hypervolumes by inclusion-exclusion."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.errors import CimsimError
from cimsim.exploration.pareto import F64, dominates, hypervolume, knee, nondominated

CORNER = 6.0


def points(most: int, low: int = 1, high: int = 4) -> st.SearchStrategy[F64]:
    """Few small whole numbers, so that ties and duplicates are many."""
    row = st.integers(low, high).flatmap(
        lambda k: st.lists(
            st.lists(st.integers(0, 7), min_size=k, max_size=k), min_size=1, max_size=most
        )
    )
    return row.map(lambda rows: np.array(rows, np.float64))


def by_hand(values: F64) -> list[bool]:
    def beats(a: F64, b: F64) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and list(a) != list(b)

    return [not any(beats(other, row) for other in values) for row in values]


def inclusion_exclusion(values: F64, corner: F64) -> float:
    sides = np.clip(corner - values, 0, None)
    return sum(
        (-1) ** (size + 1) * float(np.prod(np.min(chosen, axis=0)))
        for size in range(1, len(sides) + 1)
        for chosen in combinations(sides, size)
    )


@given(points(25))
def test_the_front_is_that_of_brute_force(values: F64) -> None:
    assert nondominated(values).tolist() == by_hand(values)


@given(points(25))
def test_what_dominates_a_point_is_what_keeps_it_off_the_front(values: F64) -> None:
    found = [not dominates(values, row).any() for row in values]
    assert found == nondominated(values).tolist()


@given(points(25), st.randoms(use_true_random=False))
def test_order_does_not_matter(values: F64, shuffle: np.random.Generator) -> None:
    order = list(range(len(values)))
    shuffle.shuffle(order)
    assert nondominated(values[order]).tolist() == nondominated(values)[order].tolist()


@given(points(12))
def test_a_duplicate_shares_the_place_of_its_twin_and_adds_no_volume(values: F64) -> None:
    twice = np.concatenate([values, values])
    corner = np.full(values.shape[1], CORNER)
    assert nondominated(twice).tolist() == nondominated(values).tolist() * 2
    assert hypervolume(twice, corner) == hypervolume(values, corner)


@given(points(8))
@settings(deadline=None)
def test_the_volume_is_that_of_inclusion_and_exclusion(values: F64) -> None:
    corner = np.full(values.shape[1], CORNER)
    assert hypervolume(values, corner) == inclusion_exclusion(values, corner)


@given(points(12), st.integers(0, 3))
def test_units_scale_the_volume_and_leave_the_front(values: F64, column: int) -> None:
    scale = np.ones(values.shape[1])
    scale[column % values.shape[1]] = 4.0
    corner = np.full(values.shape[1], CORNER)
    assert nondominated(values * scale).tolist() == nondominated(values).tolist()
    assert hypervolume(values * scale, corner * scale) == 4.0 * hypervolume(values, corner)
    front = values[nondominated(values)]
    assert knee(front * scale + 8.0) == knee(front)


@given(points(12), st.integers(0, 11), st.integers(0, 3))
def test_a_dominated_point_changes_nothing(values: F64, which: int, column: int) -> None:
    worse = values[which % len(values)].copy()
    worse[column % len(worse)] += 1.0
    more = np.concatenate([values, worse[None]])
    corner = np.full(values.shape[1], CORNER)
    assert nondominated(more).tolist() == [*nondominated(values).tolist(), False]
    assert hypervolume(more, corner) == hypervolume(values, corner)


@given(points(12))
def test_more_points_never_have_less_volume(values: F64) -> None:
    corner = np.full(values.shape[1], CORNER)
    grown = [hypervolume(values[:n], corner) for n in range(1, len(values) + 1)]
    assert grown == sorted(grown)
    assert hypervolume(values[:0], corner) == 0.0


def test_order_of_objectives_does_not_matter_to_a_long_front() -> None:
    draw = np.random.default_rng(0)
    values = np.abs(draw.normal(size=(80, 4)))
    values /= np.linalg.norm(values, axis=1)[:, None]
    corner = np.full(4, 1.0)
    volumes = [hypervolume(values[:, order], corner) for order in ([0, 1, 2, 3], [3, 1, 0, 2])]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-12)
    assert 0 < volumes[0] < 1


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_one_point_covers_its_box(k: int) -> None:
    assert hypervolume(np.full((1, k), 0.5), np.full(k, 2.0)) == 1.5**k


def test_the_knee_is_nearest_to_the_best_of_both() -> None:
    assert knee(np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]])) == 1
    assert knee(np.array([[3.0, 3.0]])) == 0
    assert knee(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0


@pytest.mark.parametrize("values", [np.array([[np.nan, 1.0]]), np.zeros(3)])
def test_what_is_no_point_is_refused(values: F64) -> None:
    for ask in (nondominated, knee, lambda v: hypervolume(v, np.zeros(2))):
        with pytest.raises(CimsimError, match="rows of numbers"):
            ask(values)


def test_volumes_that_are_not_exact_or_not_finite_are_refused() -> None:
    with pytest.raises(CimsimError, match="1 to 4"):
        hypervolume(np.zeros((2, 5)), np.ones(5))
    with pytest.raises(CimsimError, match="reference"):
        hypervolume(np.zeros((2, 3)), np.ones(2))
    with pytest.raises(CimsimError, match="finite"):
        hypervolume(np.array([[0.0, -np.inf]]), np.ones(2))
    with pytest.raises(CimsimError, match="no knee"):
        knee(np.zeros((0, 2)))
