"""Merged LoRA: what a switch writes where old and new weights have most in common."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

import cimsim
from cimsim.adaptation import (
    BASE_TASK,
    AdaptedTask,
    MergedLora,
    adaptation_named,
    adapted_weights,
    switched,
)
from cimsim.blocks import CrossbarTiles
from cimsim.costs.programming import change_of, changed_levels, level_change
from cimsim.costs.programming.levels import column_sigmas
from cimsim.errors import MappingError
from cimsim.mappers import build_mapping
from cimsim.mapping import Correlated, Masked, Registers, Written
from cimsim.report import Reprogramming
from cimsim.report.writes import reprogramming

MODEL = small.decoder(layers=1)
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))
RATIOS = (1e-3, 0.01, 0.03, 0.055, 0.1, 0.3, 1.0, 3.0)


def tiles(machine: str) -> CrossbarTiles:
    rram = cimsim.machine(machine).rram
    assert rram is not None
    return rram


MACHINES = ("halora_rram_sram", "hermes_pcm", "isaac_rram", "neurram")
"""One 8-bit cell with an offset, a pair of 8-bit cells, eight 2-bit cells, a pair of 3-bit ones."""


def written(ratio: float, before: AdaptedTask, after: AdaptedTask) -> Reprogramming:
    adaptation = MergedLora(ratio)
    mapping = build_mapping(adaptation.apply(MODEL), small.machine(), adaptation)
    return reprogramming(small.machine(), switched(mapping, before, after))


def pulses(rram: CrossbarTiles, correlation: float) -> float:
    units = np.zeros(1, np.int64)
    part = Written("w", "rram", units, np.array([1]), level_change(rram, Correlated(correlation)))
    return change_of(rram, part).counts.mean


# The strategy ------------------------------------------------------------------------------------


def test_the_same_task_and_adapters_of_ratio_0_write_nothing() -> None:
    assert written(0.055, A, A).cells_written == 0
    for before, after in ((A, B), (BASE, A), (A, BASE)):
        nothing = written(0.0, before, after)
        assert (nothing.cells_written, nothing.energy_J, nothing.time_s) == (0, 0.0, 0.0)


def test_writes_grow_with_the_ratio_to_those_of_foreign_weights() -> None:
    costs = [written(ratio, A, B) for ratio in RATIOS]
    for less, more in pairwise(costs):
        assert less.cells_changed < more.cells_changed
        assert less.pulses < more.pulses
        assert less.energy_J < more.energy_J
        assert less.time_s <= more.time_s
    rram = small.machine().rram
    assert rram is not None
    cells = costs[0].cells_written
    assert written(1e4, A, B).cells_changed == pytest.approx(
        changed_levels(rram).changed * cells, rel=1e-4
    )


def test_a_switch_costs_the_same_in_both_directions() -> None:
    assert written(0.055, A, B) == written(0.055, B, A)
    assert written(0.055, BASE, A) == written(0.055, A, BASE)
    assert written(0.055, BASE, A).pulses < written(0.055, A, B).pulses


def test_each_of_two_adapters_moves_a_weight_as_far() -> None:
    adaptation = MergedLora(0.5)
    mapping = build_mapping(adaptation.apply(MODEL), small.machine(), adaptation)
    for before, after, correlation in ((A, B, 1 / 1.25), (BASE, A, 1 / math.sqrt(1.25))):
        parts = switched(mapping, before, after)
        assert {part.weight for part in parts} == adapted_weights(MODEL)
        for part in parts:
            assert not isinstance(part, Registers)
            assert isinstance(part.change, Correlated)
            assert part.change.correlation == pytest.approx(correlation)


def test_what_is_saved_with_a_task_is_foreign_to_that_of_any_other() -> None:
    head = AdaptedTask("h", small.saved(MODEL, "head"))
    adaptation = MergedLora()
    mapping = build_mapping(adaptation.apply(head.workload), small.machine(), adaptation)
    of = {part.weight: part for part in switched(mapping, A, head)}
    assert isinstance(of["head.weight"], Written)
    assert of["head.weight"].change is None
    assert set(of) == adapted_weights(MODEL) | {"head.weight"}


@pytest.mark.parametrize("ratio", [-0.1, math.inf, math.nan])
def test_a_ratio_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(MappingError, match="delta_ratio is the deviation"):
        MergedLora(ratio)
    with pytest.raises(MappingError, match="delta_ratio"):
        adaptation_named("merged:delta_ratio=small")


# Levels before and after -------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
@given(correlation=st.floats(0.0, 1.0))
@settings(max_examples=5, deadline=None)
def test_shares_are_of_a_whole_and_the_same_in_both_directions(
    machine: str, correlation: float
) -> None:
    for change in (Correlated(correlation), Masked(0.5)):
        share = level_change(tiles(machine), change).share
        assert share.min() >= 0.0
        assert share.sum() == pytest.approx(1.0, abs=1e-12)
        assert share == pytest.approx(share.T, abs=1e-12)


@pytest.mark.parametrize("machine", MACHINES)
def test_pulses_fall_with_the_correlation_from_foreign_to_equal_weights(machine: str) -> None:
    rram = tiles(machine)
    found = [pulses(rram, 1.0 / (1.0 + ratio**2)) for ratio in RATIOS]
    assert found == sorted(found)
    assert pulses(rram, 1.0) == 0.0
    foreign = changed_levels(rram).share
    assert level_change(rram, Correlated(0.0)).share == pytest.approx(foreign, abs=1e-3)


@pytest.mark.parametrize(("machine", "near"), [("halora_rram_sram", 2e-3), ("neurram", 2e-3),
                                               ("isaac_rram", 4e-3)])  # fmt: skip
@pytest.mark.parametrize("ratio", [0.03, 0.3])
def test_shares_are_those_of_drawn_weights(machine: str, near: float, ratio: float) -> None:
    rram, draws, rho = tiles(machine), np.random.default_rng(3), 1.0 / (1.0 + ratio**2)
    bits, offset = rram.bits_per_cell, rram.coding == "offset"
    slices = rram.cells_per_weight
    top = 2 ** (bits * slices - 1) - 1 if offset else 2 ** (bits * slices) - 1
    x, z = draws.standard_normal((2, 200_000))
    held = []
    for weight in (x, rho * x + math.sqrt(1.0 - rho**2) * z):
        number = np.rint(np.clip(weight / column_sigmas(rram), -1.0, 1.0) * top).astype(np.int64)
        held.append(number + top if offset else np.maximum(number, 0))
    levels = 2**bits
    pairs = [
        ((held[0] >> bits * i) % levels) * levels + (held[1] >> bits * i) % levels
        for i in range(slices)
    ]
    wanted = np.bincount(np.concatenate(pairs), minlength=levels**2) / (slices * x.size)
    found = level_change(rram, Correlated(rho))
    assert found.share.ravel() == pytest.approx(wanted, abs=near)
    assert found.changed == pytest.approx(1.0 - wanted.reshape(levels, -1).trace(), abs=near)


def test_masked_weights_go_to_zero_and_come_back() -> None:
    for machine in MACHINES:
        rram = tiles(machine)
        down, up, both = (level_change(rram, Masked(share)).share for share in (1.0, 0.0, 0.5))
        assert down == pytest.approx(up.T)
        assert both == pytest.approx((down + up) / 2.0)
        # by hand: a weight of zero has one level in each of its slices
        assert np.count_nonzero(down.sum(axis=0)) <= rram.cells_per_weight
    pair, offset = (
        level_change(tiles(m), Masked(1.0)).share for m in ("neurram", "halora_rram_sram")
    )
    assert pair[:, 0].sum() == pytest.approx(1.0)
    assert pair[0, 0] > 0.5
    assert offset[:, 127].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_correlation_or_share_is_refused(wrong: float) -> None:
    with pytest.raises(MappingError, match="correlation of weights before and after is 0 to 1"):
        Correlated(wrong)
    with pytest.raises(MappingError, match="zeroed is a share of weights, 0 to 1"):
        Masked(wrong)
