"""Objectives and constraints read from text, and what they make of a design's values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimsim.errors import CimsimError
from cimsim.exploration.objectives import (
    Constraint,
    Objective,
    costs,
    excess_of,
    parse_objectives,
)


def test_objectives_are_made_small_but_accuracy_and_what_has_a_minus() -> None:
    found = parse_objectives("latency_s, energy_J,accuracy,-phases.decode.tokens_per_s")
    assert found == (
        Objective("latency_s"),
        Objective("energy_J"),
        Objective("accuracy", True),
        Objective("phases.decode.tokens_per_s", True),
    )
    assert parse_objectives(["-accuracy", "accuracy.mean"]) == (
        Objective("accuracy"),
        Objective("accuracy.mean", True),
    )


@given(st.sampled_from(["latency_s", "accuracy", "accuracy.mean", "a.b"]), st.booleans())
def test_an_objective_is_read_from_its_text(key: str, maximise: bool) -> None:
    objective = Objective(key, maximise)
    assert Objective.of(objective.text) == objective


@pytest.mark.parametrize("text", ["", "latency_s,", "--x", "a b", "a<b", "-", "latency_s<=3"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(CimsimError, match="is no objective"):
        parse_objectives(text)


def test_an_objective_stands_once() -> None:
    with pytest.raises(CimsimError, match="stands twice"):
        parse_objectives("latency_s,energy_J,-latency_s")
    with pytest.raises(CimsimError, match="at least one"):
        parse_objectives([])


@given(st.floats(-1e6, 1e6), st.sampled_from(["<=", ">="]))
def test_a_constraint_is_read_as_it_is_shown(limit: float, sense: str) -> None:
    found = Constraint.of(f"area_used_mm2 {sense} {limit!r}")
    assert (found.key, found.sense, found.limit) == ("area_used_mm2", sense, limit)
    assert found.excess(limit) == 0.0


def test_excess_is_a_share_of_the_limit() -> None:
    below, above = Constraint.of("area_used_mm2<=400"), Constraint.of("accuracy>=0.8")
    assert (below.excess(500.0), below.excess(400.0), below.excess(1.0)) == (0.25, 0.0, 0.0)
    assert (above.excess(0.6), above.excess(0.9)) == (pytest.approx(0.25), 0.0)
    assert Constraint.of("idle_s<=0").excess(2.0) == 2.0
    assert below.excess(math.nan) == math.inf
    values = {"area_used_mm2": 500.0, "accuracy": 0.6}
    assert excess_of(values, [below, above]) == pytest.approx(0.5)
    assert excess_of({"accuracy": 0.9}, [below, above]) == math.inf
    assert excess_of(values, []) == 0.0


@pytest.mark.parametrize("text", ["area", "area<400", "area<=", "area<=x", "<=3", "a<=nan", "a==3"])
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(CimsimError, match="is no constraint"):
        Constraint.of(text)


def test_costs_are_small_where_a_design_is_good() -> None:
    rows = [{"latency_s": 2.0, "accuracy": 0.5}, {"latency_s": None, "accuracy": 1}, {}]
    found = costs(rows, parse_objectives("latency_s,accuracy"))
    assert found.shape == (3, 2)
    assert found[0].tolist() == [2.0, -0.5]
    assert [math.isnan(x) for x in found.ravel()[2:]] == [True, False, True, True]
    assert found[1, 1] == -1.0
