"""What axes explain of objectives: shares by hand, laws over grids, and what cannot be told."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.exploration.effects import BINS, effects, ordered, told

NONE = np.array([], np.int64)


def grid(**values: list[object]) -> dict[str, list[object]]:
    """Every combination of the values of some axes."""
    return dict(zip(values, map(list, zip(*product(*values.values()), strict=True)), strict=True))


def test_an_additive_objective_is_explained_by_hand() -> None:
    axes = grid(a=[0, 1], b=[0, 2])
    y = [-10.0 + a + b for a, b in zip(axes["a"], axes["b"], strict=True)]  # type: ignore[operator]
    found = effects(axes, {"y": y}, NONE)
    assert found.exact
    assert found.logs == ()
    # variances of a and b: 1/4 and 1
    assert [one.shares["y"] for one in found.axes] == [pytest.approx(0.2), pytest.approx(0.8)]
    assert [one.chance for one in found.axes] == [0.0, 0.0]


def test_what_axes_do_together_is_no_main_effect() -> None:
    axes = grid(a=[0, 1], b=["x", "y"])
    found = effects(axes, {"y": [1.0, -1.0, -1.0, 1.0]}, NONE)
    assert [one.shares["y"] for one in found.axes] == [0.0, 0.0]


def test_products_are_additive_by_their_logarithm() -> None:
    axes = grid(a=[1, 100], b=[1, 10])
    y = [float(a * b) for a, b in zip(axes["a"], axes["b"], strict=True)]  # type: ignore[operator]
    found = effects(axes, {"y": y}, NONE)
    assert found.logs == ("y",)
    assert [one.shares["y"] for one in found.axes] == [pytest.approx(0.8), pytest.approx(0.2)]


numbers = st.lists(st.integers(-50, 50).map(float), min_size=12, max_size=12)


@settings(max_examples=40, deadline=None)
@given(numbers, st.permutations(range(12)), st.integers(-9, 9), st.sampled_from([-2.0, 0.5, 4.0]))
def test_shares_over_a_grid_add_up_to_one_at_most_and_know_no_order_or_unit(
    y: list[float], order: list[int], shift: int, factor: float
) -> None:
    axes = grid(a=[1, 2, 3], b=["x", True], c=[0.5, 2])
    base = [value - 60.0 for value in y]  # never all above 0: no logarithm
    found = effects(axes, {"y": base}, NONE)
    if max(y) == min(y):
        assert all(one.shares["y"] is None for one in found.axes)
        return
    shares = [one.shares["y"] for one in found.axes]
    assert all(share is not None and 0.0 <= share <= 1.0 for share in shares)
    assert sum(share or 0.0 for share in shares) <= 1.0 + 1e-9
    moved = {key: [values[i] for i in order] for key, values in axes.items()}
    scaled = [(base[i] + shift) * abs(factor) - 1000.0 for i in order]
    again = effects(moved, {"y": scaled}, NONE)
    assert again.exact
    assert [one.shares["y"] for one in again.axes] == pytest.approx(shares)


def test_an_axis_without_effect_has_its_chance_on_average() -> None:
    values = [1, 1, 2, 2, 3, 3]
    shares = []
    for order in permutations([0.0, -1.0, 4.0, 9.0, 2.0, 5.0]):
        (found,) = effects({"a": values}, {"y": list(order)}, NONE).axes
        shares.append(found.shares["y"])
    assert found.chance == pytest.approx(2 / 5)
    assert np.mean([share for share in shares if share is not None]) == pytest.approx(2 / 5)


def test_a_grid_with_a_hole_is_an_estimate() -> None:
    axes = {key: values[1:] for key, values in grid(a=[0, 1], b=[0, 2]).items()}
    assert not effects(axes, {"y": [1.0, 2.0, 3.0]}, NONE).exact


def test_what_cannot_be_told_says_why() -> None:
    axes: dict[str, list[object]] = {"one": [3] * 4, "names": ["a", "b", "c", "a"]}
    one, names = effects(axes, {"y": [1.0, 2.0, 3.0, 4.0], "same": [2.0] * 4}, NONE).axes
    assert (one.note, one.shares) == ("one value", {"y": None, "same": None})
    assert names.note == "4 points for 3 values"
    (told_,) = effects({"a": [1, 1, 2, 2]}, {"same": [0.1] * 4}, NONE).axes
    assert (told_.note, told_.shares) == ("", {"same": None})


def test_continuous_axes_are_put_into_groups_of_equal_size() -> None:
    x = np.linspace(0.0, 1.0, 80)
    (found,) = effects({"x": x.tolist()}, {"y": (x - 7.0).tolist()}, np.arange(5)).axes
    assert [count for _, _, count in found.taken] == [80 // BINS] * BINS
    assert found.taken[0] == ("0 to 0.1139", 5, 10)
    share = found.shares["y"]
    assert share is not None
    assert share == pytest.approx(1.0 - 1.0 / BINS**2, abs=1e-3)  # a straight line in equal groups


def test_values_of_the_front_are_counted() -> None:
    axes: dict[str, list[object]] = {"p": ["token", "auto", "token"], "n": [10, 9, None]}
    p, n = effects(axes, {"y": [1.0, 2.0, 4.0]}, np.array([0, 2])).axes
    assert p.taken == (("auto", 0, 1), ("token", 2, 2))
    assert n.taken == (("9", 0, 1), ("10", 1, 1), ("null", 1, 1))


def test_values_keep_their_kind() -> None:
    assert ordered([10, "b", 2.5, True, 1, "a", [1, 2]]) == [1, 2.5, 10, "[1, 2]", "a", "b", "true"]
    assert [told(value) for value in (True, 0.1, "x", None)] == ["true", "0.1", "x", "null"]
