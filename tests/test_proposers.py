"""Samplers of a search: within the space, the same from the same seed, better than drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.errors import CimsimError
from cimsim.exploration.pareto import F64
from cimsim.exploration.proposers import SAMPLERS, DesignOutcome, SearchSetup, proposer_named
from cimsim.exploration.proposers.from_optuna import population
from cimsim.exploration.proposers.positions import Positions
from cimsim.exploration.proposers.surrogate import Surrogate
from cimsim.exploration.space import Choice, Range, Settings, Space

SPACE = Space({
    "rows": Choice((64, 128, 256, 512)),
    "cores": Range(1, 8, whole=True),
    "kind": Choice(("token", "layer", "both")),
    "leakage": Range(0.5, 100.0, log=True),
    "clock": Range(200, 1000, step=200),
})  # fmt: skip
DISCRETE = Space({name: axis for name, axis in SPACE.axes.items() if name != "leakage"})
QUICK = ("model", "random", "nsga2", "nsga3", "tpe")


def cost(at: Settings) -> tuple[float, float]:
    """Time and area of a made-up design: more cores are faster and larger, names differ."""
    speed = float(at["cores"]) * float(at["clock"])  # type: ignore[arg-type]
    wait = {"token": 4.0, "layer": 1.0, "both": 2.0}[str(at["kind"])]
    time = 4000.0 / speed + wait + 64.0 / float(at["rows"])  # type: ignore[arg-type]
    area = 2.0 * float(at["cores"]) + float(at["clock"]) / 200 + wait  # type: ignore[arg-type]
    return time, area + float(at.get("leakage", 0.0)) / 10.0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", QUICK)
def test_proposals_lie_in_the_space_and_are_those_of_the_seed(name: str) -> None:
    pytest.importorskip("optuna")
    positions = Positions(SPACE)
    runs = []
    for seed in (3, 3, 4):
        proposer = proposer_named(name, SearchSetup(SPACE, 2, 24, seed))
        seen = []
        for _ in range(24):
            seen.append(proposer.propose())
            positions.position(seen[-1])
            proposer.learn(seen[-1], DesignOutcome(cost(seen[-1])))
        runs.append(seen)
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("name", QUICK)
def test_what_nobody_proposed_failed_or_breaks_a_limit_is_learnt_too(name: str) -> None:
    pytest.importorskip("optuna")
    proposer = proposer_named(name, SearchSetup(DISCRETE, 2, 40, 0, limited=True))
    known = [DISCRETE.value_at([u, u, u, u]) for u in (0.1, 0.5, 0.9)]
    outcomes = [
        DesignOutcome(None, float("inf")),
        DesignOutcome((1.0, 2.0), 0.5),
        DesignOutcome((3.0, 1.0)),
    ]
    for at, outcome in zip(known, outcomes, strict=True):
        proposer.learn(at, outcome)
    waiting = [proposer.propose() for _ in range(3)]
    for at in reversed(waiting):
        proposer.learn(at, DesignOutcome(cost(at)))
    for _ in range(25):
        at = proposer.propose()
        proposer.learn(at, DesignOutcome(cost(at)))


def best_of(name: str, seed: int, trials: int) -> float:
    proposer = proposer_named(name, SearchSetup(DISCRETE, 1, trials, seed))
    found = []
    for _ in range(trials):
        at = proposer.propose()
        found.append(sum(cost(at)))
        proposer.learn(at, DesignOutcome((found[-1],)))
    return min(found)


def test_one_objective_alone_is_brought_to_its_best() -> None:
    best = min(sum(cost(at)) for at in DISCRETE.grid())
    assert [best_of("model", seed, 60) for seed in range(3)] == [best] * 3
    assert np.mean([best_of("random", seed, 60) for seed in range(10)]) > best


def test_designs_that_break_a_limit_are_proposed_less() -> None:
    proposer = proposer_named("model", SearchSetup(DISCRETE, 2, 80, 0))
    broken = []
    for _ in range(80):
        at = proposer.propose()
        excess = max(0.0, cost(at)[1] - 8.0) / 8.0
        broken.append(excess > 0.0)
        proposer.learn(
            at,
            DesignOutcome(None, float("inf")) if excess > 1.0 else DesignOutcome(cost(at), excess),
        )
    assert sum(broken[40:]) < sum(broken[:40])


def test_nothing_that_works_still_leaves_something_to_propose() -> None:
    proposer = proposer_named("model", SearchSetup(DISCRETE, 2, 30, 0))
    for _ in range(30):
        proposer.learn(proposer.propose(), DesignOutcome(None, float("inf")))


@given(st.lists(st.floats(0, 0.999), min_size=5, max_size=5))
def test_a_position_is_that_of_its_settings(units: list[float]) -> None:
    positions = Positions(SPACE)
    at = SPACE.value_at(units)
    place = positions.position(at)
    again = positions.settings(place)
    assert {n: v for n, v in again.items() if n != "leakage"} == {
        n: v for n, v in at.items() if n != "leakage"
    }
    assert again["leakage"] == pytest.approx(at["leakage"])


@pytest.mark.parametrize(
    "other", [{"rows": 65}, {"cores": 9}, {"clock": 300}, {"kind": "none"}, {"leakage": 0.1}]
)
def test_settings_of_another_space_have_no_position(other: Settings) -> None:
    at = {**SPACE.value_at([0.5] * 5), **other}
    with pytest.raises(ValueError):
        Positions(SPACE).position(at)
    with pytest.raises(ValueError):
        Positions(SPACE).position({"rows": 64})


@given(st.integers(0, 50), st.integers(1, 3))
def test_a_move_changes_so_many_axes_at_most_and_stays_inside(seed: int, axes: int) -> None:
    positions, draw = Positions(SPACE), np.random.default_rng(seed)
    start = positions.drawn(draw, 8)
    moved = positions.moved(draw, start, axes)
    assert ((moved != start).sum(axis=1) <= axes).all()
    for row in moved:
        positions.position(positions.settings(row))
    whole = [i for i, size in enumerate(positions.sizes) if size and positions.ordered[i]]
    assert (np.abs(moved - start)[:, whole] <= 1).all()


def test_a_latin_hypercube_covers_every_axis() -> None:
    found = Positions(DISCRETE).spread(np.random.default_rng(0), 120)
    for axis, size in enumerate(Positions(DISCRETE).sizes):
        assert np.bincount(found[:, axis].astype(int)).tolist() == [120 // (size or 1)] * (
            size or 1
        )


def test_numbers_in_order_are_alike_and_names_are_not() -> None:
    assert Positions(SPACE).ordered == [True, True, False, True, True]
    jumbled = Space({"a": Choice((3, 1, 2)), "b": Choice((True, False)), "c": Choice((3, 2, 1))})
    assert Positions(jumbled).ordered == [False, False, True]


@given(st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_surrogate_gives_back_what_it_knows_and_doubts_the_rest(seed: int) -> None:
    positions, draw = Positions(DISCRETE), np.random.default_rng(seed)
    at = np.unique(positions.drawn(draw, 30), axis=0)
    values: F64 = np.array([cost(positions.settings(row))[0] for row in at])
    model = Surrogate(positions)
    model.fit_shapes(at, values)
    fitted = model.fit(at, values)
    assert fitted.expected(at) == pytest.approx(values, abs=0.05 * np.ptp(values))
    other = positions.drawn(draw, 30)
    assert fitted.doubt(at).max() <= fitted.doubt(other).max() + 1e-9
    assert fitted.doubt(other).max() <= fitted.spread


def test_an_axis_without_effect_has_a_small_share() -> None:
    positions = Positions(DISCRETE)
    at = positions.drawn(np.random.default_rng(1), 80)
    model = Surrogate(positions)
    model.fit_shapes(at, at[:, 1] ** 2)
    shares = [share for share, _ in model.shapes]
    assert shares.index(max(shares)) == 1
    assert max(shares[0], shares[2], shares[3]) <= 0.03


def test_samplers_are_named_and_have_enough_trials() -> None:
    asked = SearchSetup(SPACE, 2, 100, 0)
    with pytest.raises(CimsimError, match="no sampler 'nsga22': take nsga2, nsga3"):
        proposer_named("nsga22", asked)
    for name, sampler in SAMPLERS.items():
        if sampler.fewest > 1:
            with pytest.raises(CimsimError, match=f"it needs {sampler.fewest}"):
                proposer_named(name, SearchSetup(SPACE, 2, sampler.fewest - 1, 0))
    assert [population(n) for n in (20, 200, 1000)] == [10, 20, 50]


def test_a_process_with_too_many_trials_warns() -> None:
    pytest.importorskip("optuna")
    with pytest.warns(UserWarning, match="gp is slow beyond 500 trials, 501"):
        proposer_named("gp", SearchSetup(SPACE, 2, 501, 0))
