"""Programming of cells: what changes, pulses, energy, time; closed forms by hand and by draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close

from cimsim.analog.coding import Coding
from cimsim.blocks import CrossbarTiles
from cimsim.costs.programming import PulseCounts, change_of, changed_levels, mixed, summed
from cimsim.costs.programming.levels import largest_of_normals, level_shares
from cimsim.costs.programming.pulses import NO_PULSES, chain, geometric
from cimsim.costs.programming.timing import row_pulses
from cimsim.errors import MappingError, SpecError
from cimsim.mapping import LevelChange, Written
from cimsim.noise import Target, WriteVerify
from cimsim.unit_kinds import WriteCost

VERIFY: dict[str, Any] = {"pulses_per_cell": None, "window_uS": 1.0}
VOLTAGE: dict[str, Any] = {"pulse_energy_pJ": None, "pulse_voltage_V": 2.0}
ONE_BIT: dict[str, Any] = {"weight_bits": 1, "bits_per_cell": 1, "g_min_uS": 2.0, "g_max_uS": 38.0}


def tiles(write: dict[str, Any] | None = None, **changes: Any) -> CrossbarTiles:
    rram = small.machine(rram={**changes, "write": write or {}}).rram
    assert rram is not None
    return rram


def levels(*rows: list[float]) -> LevelChange:
    return LevelChange(np.array(rows, np.float64))


def some(change: LevelChange | None, values: list[int], **given: Any) -> Written:
    units = np.arange(len(values), dtype=np.int64)
    return Written("w", "rram", units, np.array(values, np.int64), change, **given)


def cost(rram: CrossbarTiles, *written: Written) -> WriteCost:
    machine = small.machine().model_copy(update={"rram": rram})
    return machine.units["rram"].write(written, machine.cluster_link)


FLIPS = levels([0.2, 0.3], [0.1, 0.4])
"""Of one-bit cells 30 % are set and 10 % reset."""


# Which cells change ------------------------------------------------------------------------------


def test_a_write_that_changes_no_level_takes_no_pulse() -> None:
    for write in ({}, VERIFY):
        found = cost(tiles(write, **ONE_BIT), some(levels([0.25, 0.0], [0.0, 0.75]), [16, 16]))
        assert found.cells is not None
        assert found.cells.changed == found.cells.pulses == found.wear == 0.0
        assert set(found.energy_by_part_J) == {"pulses", "verify", "moving"}
        assert found.energy_J == found.energy_by_part_J["moving"]
        assert (found.limit, found.amounts) == ("link", {"cells_written": 32})


@given(st.floats(1e-6, 0.5), st.integers(1, 16), st.sampled_from(["given", "window"]))
@settings(max_examples=25, deadline=None)
def test_energy_and_pulses_scale_with_the_cells_that_change(
    share: float, values: int, origin: str
) -> None:
    rram = tiles(VERIFY if origin == "window" else {}, **ONE_BIT)
    some_flip = levels([0.5 - share, share], [share, 0.5 - share])
    all_flip = levels([0.0, 0.5], [0.5, 0.0])
    part, whole = (cost(rram, some(change, [values])).cells for change in (some_flip, all_flip))
    assert part is not None
    assert whole is not None
    assert whole.changed == whole.cells
    assert part.changed == close(2 * share * whole.changed)
    assert part.pulses == close(2 * share * whole.pulses)
    for name, energy_J in whole.energy_J.items():
        assert part.energy_J[name] == close(2 * share * energy_J)


def test_a_tiny_array_by_hand() -> None:
    """Two rows of three 1-bit cells, 40 % change: 0.4 x 8.5 pulses of 1 pJ and a read of 10 fJ.

    Link: 6 bits of 0.3 pJ. Time: six cells one after the other, pulse and read of 150 ns.
    """
    found = cost(tiles(**ONE_BIT), some(FLIPS, [6], rows=np.array([2])))
    assert found.cells is not None
    assert found.cells.changed == close(2.4)
    assert found.cells.pulses == close(6 * 0.4 * 8.5)
    assert found.energy_by_part_J == {
        "pulses": close(20.4e-12), "verify": close(0.204e-12), "moving": close(1.8e-12),
    }  # fmt: skip
    assert found.time_s == close(6 * 0.4 * 8.5 * 150e-9)
    assert found.wear == close(0.4 * 8.5 / 1e6)
    assert found.limit == "rows"


def test_energy_of_a_voltage_by_hand() -> None:
    """2 V, 100 ns at the mean of 2 and 38 uS: 8 pJ a pulse; lines of 50 fF 0.2 pJ."""
    rram = tiles({**VOLTAGE, "line_capacitance_fF": 50.0}, **ONE_BIT)
    found = cost(rram, some(FLIPS, [10]))
    pulses = 10 * 0.4 * 8.5
    assert found.energy_by_part_J == {
        "pulses": close(pulses * 8e-12), "lines": close(pulses * 0.2e-12),
        "verify": close(pulses * 0.01e-12), "moving": close(10 * 0.3e-12),
    }  # fmt: skip


@pytest.mark.parametrize("write", [VERIFY, {**VERIFY, **VOLTAGE}, VOLTAGE])
def test_there_and_back_cost_the_same(write: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    share = rng.random((8, 8))
    share /= share.sum()
    rram = tiles(write, weight_bits=3, bits_per_cell=3)
    there, back = (cost(rram, some(LevelChange(s), [64])) for s in (share, share.T.copy()))
    assert there.energy_J == close(back.energy_J)
    assert there.time_s == close(back.time_s)


@pytest.mark.parametrize(
    ("coding", "cells", "bits"), [("offset", 1, 8), ("differential", 1, 5), ("offset", 4, 2),
                                  ("differential", 3, 2)],
)  # fmt: skip
def test_the_default_levels_are_those_of_normal_weights_in_cells(
    coding: Any, cells: int, bits: int
) -> None:
    """Two foreign matrices through the coding of the accuracy path: 64 x 512 weights each."""
    rram = tiles(
        rows=64, columns=64, coding=coding, cells_per_weight=cells, bits_per_cell=bits,
        weight_bits=cells * bits,
    )  # fmt: skip
    code = Coding(coding, 1.0, 40.0, cells, bits)
    rng = np.random.default_rng(1)
    old, new = (
        np.rint((code.encode(w.astype(np.float32)).g_uS_SPRC - 1.0) / code.step_uS).astype(int)
        for w in rng.standard_normal((2, 64, 512))
    )
    # The scale of each column is its own largest, the default has the expected one for all.
    assert float((old != new).mean()) == pytest.approx(changed_levels(rram).changed, abs=0.01)
    first = changed_levels(rram, erased=True).changed
    assert float((new != 0).mean()) == pytest.approx(first, abs=0.01)
    for i, shares in enumerate(level_shares(rram)):
        seen = np.bincount(new[i].ravel(), minlength=2**bits) / new[i].size
        assert np.abs(np.cumsum(seen) - np.cumsum(shares)).max() < 0.02


def test_slices_that_are_not_resolved_are_even() -> None:
    for coding, zero in (("offset", 1 / 4), ("differential", 5 / 8)):
        shares = level_shares(
            tiles(coding=coding, columns=64, cells_per_weight=12, bits_per_cell=2, weight_bits=16)
        )
        assert shares.shape == (12, 4)
        assert shares.sum(axis=1) == pytest.approx(np.ones(12))
        assert shares[0] == pytest.approx([zero, *[(1 - zero) / 3] * 3])


def test_the_scale_of_the_default_may_be_given() -> None:
    assert largest_of_normals(1) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-5)
    assert largest_of_normals(2) == pytest.approx(2 / math.sqrt(math.pi), rel=1e-5)
    narrow = changed_levels(tiles({"largest_weight_sigmas": 50.0}, bits_per_cell=4, weight_bits=4))
    assert narrow.changed < changed_levels(tiles(bits_per_cell=4, weight_bits=4)).changed


# Pulses ------------------------------------------------------------------------------------------


def test_pulses_are_those_that_the_accuracy_path_draws() -> None:
    """A first programming of a chip with WriteVerify: mean, shares and cells that stay outside."""
    rram, model = tiles(VERIFY), WriteVerify(tolerance_uS=1.0)
    change = change_of(rram, some(None, [1], erased=True))
    rng = np.random.default_rng(3)
    held = rng.choice(256, (400, 500), p=level_shares(rram)[0])
    g_uS = np.linspace(1.0, 40.0, 256)[held].astype(np.float32)
    cells = model.program(Target(g_uS, 40.0), rng)
    drawn = cells.traits["pulse_count"]
    assert float(drawn.mean(dtype=np.float64)) == pytest.approx(change.counts.mean, rel=0.01)
    for k in (0, 1, 2, 4, 8, 16, 32):
        assert float((drawn > k).mean()) == pytest.approx(change.counts.beyond[k], abs=0.004)
    open_ = 1.0 - float(cells.traits["converged"].mean(dtype=np.float64))
    assert open_ == pytest.approx(change.counts.unconverged, abs=2e-4)
    assert change.counts.unconverged > 1e-4


def test_cells_start_from_the_level_that_they_hold() -> None:
    model = WriteVerify(tolerance_uS=1.0)
    near, far = model.mean_pulse_count(np.array([20.0, 20.0]), np.array([17.0, 2.0]))
    assert 0.0 < near < far
    assert model.mean_pulse_count(np.array([20.0]), np.array([20.5]))[0] == 0.0
    assert model.mean_pulse_count(np.array([9.0]))[0] == close(
        WriteVerify(1.0, start_uS=4.0).mean_pulse_count(np.array([9.0]), np.array([0.0]))[0]
    )


@given(st.floats(0.01, 200.0), st.integers(1, 2000))
@settings(max_examples=30, deadline=None)
def test_a_given_mean_is_the_mean(mean: float, cells: int) -> None:
    counts = geometric(mean)
    assert counts.mean == pytest.approx(mean, rel=1e-9)
    assert counts.shares.sum() == pytest.approx(1.0)
    assert counts.shares @ np.arange(counts.shares.size) == pytest.approx(mean, rel=1e-9)
    assert counts.hottest(1) == pytest.approx(mean, rel=1e-9)
    assert counts.hottest(cells) >= counts.mean * (1 - 1e-12)
    if mean > 1.0:
        assert counts.variance == pytest.approx(mean * (mean - 1.0), rel=1e-6)


def test_the_slowest_of_a_group_against_brute_force() -> None:
    counts = PulseCounts(np.array([0.7, 0.4, 0.1]))
    shares = counts.shares
    for size in (1, 2, 3):
        grid = np.indices((4,) * size).reshape(size, -1)
        expected = float((shares[grid].prod(axis=0) * grid.max(axis=0)).sum())
        assert counts.hottest(size) == close(expected)
    drawn = np.random.default_rng(0).choice(4, (100_000, 8), p=shares).max(axis=1)
    assert counts.hottest(8) == pytest.approx(drawn.mean(), rel=0.005)
    assert counts.quantile(0.99) == 3
    assert counts.quantile(0.5) == 1
    assert mixed([counts, PulseCounts(np.array([0.5]))], [1.0, 3.0]).beyond == pytest.approx(
        [0.55, 0.1, 0.025]
    )


def test_pulses_that_are_more_than_a_cell_survives_by_far_are_refused() -> None:
    with pytest.raises(SpecError, match=r"pulses_per_cell.*less than or equal to 1000"):
        small.machine().with_values({"rram.write.pulses_per_cell": 2000.0})
    with pytest.raises(SpecError, match=r"endurance_cycles.*greater than or equal to 1"):
        small.machine().with_values({"rram.write.endurance_cycles": 0.0})


# Time --------------------------------------------------------------------------------------------


def test_the_slowest_cell_of_a_group_decides() -> None:
    """Rows of 3 cells in groups of 2: a pair and a single one; of a fair coin's 0 or 1 pulses."""
    counts = PulseCounts(np.array([0.5]))
    assert row_pulses(counts, np.array([3.0]), 2)[0] == close(0.75 + 0.5)
    assert row_pulses(counts, np.array([3.0]), 1)[0] == close(1.5)
    assert row_pulses(counts, np.array([3.0]), 8)[0] == close(0.875)


def test_time_of_groups_by_hand() -> None:
    """Four rows of 6 cells in groups of 4; of the pulses of one row, 150 ns each."""
    rram = tiles({"cells_in_parallel": 4}, **ONE_BIT)
    counts = change_of(rram, some(FLIPS, [1])).counts
    row = counts.hottest(4) + counts.hottest(2)
    found = cost(rram, some(FLIPS, [24], rows=np.array([4])))
    assert found.time_s == close(4 * row * 150e-9)
    mean = change_of(tiles(**ONE_BIT), some(FLIPS, [1])).counts.mean
    assert found.time_s > 4 * 2 * mean * 150e-9


def test_rows_left_out_are_as_few_as_hold_the_values() -> None:
    rram = tiles({"cells_in_parallel": 16}, **ONE_BIT)
    wide, given = some(FLIPS, [32]), some(FLIPS, [32], rows=np.array([2]))
    tall = some(FLIPS, [32], rows=np.array([16]))
    assert cost(rram, wide).time_s == cost(rram, given).time_s < cost(rram, tall).time_s


def test_the_fullest_tile_of_each_round_sets_its_time() -> None:
    """Tiles of 2, 16, 4 and 8 cells, two at a time: 16 with 8, then 4 with 2."""
    found = cost(tiles({"tiles_in_parallel": 2}, **ONE_BIT), some(FLIPS, [2, 16, 4, 8]))
    assert found.time_s == close((16 + 4) * 0.4 * 8.5 * 150e-9)
    assert found.limit == "tiles"


def test_weights_that_change_differently_each_take_their_time() -> None:
    rram = tiles({"tiles_in_parallel": 1}, **ONE_BIT)
    still = levels([0.5, 0.0], [0.0, 0.5])
    both = cost(rram, some(FLIPS, [8]), some(still, [0, 8]))
    assert both.time_s == close(8 * 0.4 * 8.5 * 150e-9)
    assert both.cells is not None
    assert both.cells.pulses == close(8 * 0.4 * 8.5)
    assert both.cells.counts.mean == close(0.2 * 8.5)


@given(
    st.lists(st.integers(1, 256), min_size=1, max_size=9),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 60),
    st.sampled_from(["cells_in_parallel", "tiles_in_parallel", "current_limit_mA"]),
)
@settings(max_examples=60, deadline=None)
def test_more_at_a_time_is_never_slower(
    values: list[int], cells: int, at_a_time: int, current: int, more: str
) -> None:
    write: dict[str, Any] = {"cells_in_parallel": cells, "tiles_in_parallel": at_a_time}
    if current:
        write |= {"cell_current_uA": 1000.0, "current_limit_mA": float(current)}
    if more == "current_limit_mA" and not current:
        return
    slow, fast = (
        cost(tiles(w, **ONE_BIT), some(FLIPS, values))
        for w in (write, {**write, more: write[more] + 1})
    )
    assert fast.time_s <= slow.time_s * (1 + 1e-12)
    assert fast.energy_J == slow.energy_J


def test_a_current_limits_cells_of_all_tiles_together() -> None:
    """Eight tiles of 16 x 16 cells: 100 uA a cell and 0.4 mA are four cells at a time."""
    write = {"tiles_in_parallel": 8, "cells_in_parallel": 2}
    limit = {"cell_current_uA": 100.0, "current_limit_mA": 0.4}
    full = some(FLIPS, [256] * 8)
    free, tight = (cost(tiles(w, **ONE_BIT), full) for w in (write, write | limit))
    assert (free.limit, tight.limit) == ("rows", "current")
    # four cells of four tiles do not wait for each other, two pairs do
    assert tight.time_s == close(2 * 256 * 0.4 * 8.5 * 150e-9)
    assert cost(tiles(write | limit | {"current_limit_mA": 1.6}, **ONE_BIT), full).time_s == close(
        free.time_s
    )
    for wrong, said in (
        ({"cell_current_uA": 100.0}, "together, or neither"),
        ({**limit, "current_limit_mA": 0.05}, "no cell could be written; raise it"),
    ):
        with pytest.raises(ValueError, match=said):
            tiles(wrong)


def test_energy_has_one_origin() -> None:
    for wrong, said in (
        ({"pulse_voltage_V": 2.0}, "give either pulse_energy_pJ or pulse_voltage_V"),
        ({"pulse_energy_pJ": None}, "give either pulse_energy_pJ or pulse_voltage_V"),
        ({"line_capacitance_fF": 5.0}, "charged to pulse_voltage_V: give that too"),
    ):
        with pytest.raises(ValueError, match=said):
            tiles(wrong)


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(MappingError, match="into some rows of each of 1 blocks"):
        some(None, [4], rows=np.array([1, 2]))
    with pytest.raises(MappingError, match="a whole number above 0 for each block"):
        some(None, [4], rows=np.array([0]))
    with pytest.raises(MappingError, match="were erased, and changed levels: say one"):
        some(FLIPS, [4], erased=True)


def test_chains_of_several_starts_are_found_once() -> None:
    one, two = chain(1.0, (5.0, 9.0)), chain(1.0, (5.0, 9.0))
    assert one is two
    assert one[0].mean < one[1].mean


def test_pulses_of_cells_written_again_are_the_convolution() -> None:
    one, other = geometric(3.0), PulseCounts(np.array([0.5, 0.25, 0.25]))
    by_hand = np.convolve(np.convolve(one.shares, one.shares), other.shares)
    found = summed([(one, 2), (other, 1), (NO_PULSES, 5)])
    size = found.shares.size
    assert np.allclose(found.shares, by_hand[:size], atol=1e-12)
    assert found.mean == pytest.approx(2 * one.mean + other.mean, rel=1e-9)
    assert found.variance == pytest.approx(2 * one.variance + other.variance, rel=1e-6)
    assert summed([]).mean == summed([(one, 0)]).mean == 0.0


def test_the_hottest_of_many_cells_after_many_writes_is_that_of_draws() -> None:
    one = geometric(4.0)
    rng = np.random.default_rng(2)
    draws = rng.geometric(0.25, (40, 400, 30)).sum(axis=2).max(axis=1)
    found = summed([(one, 30)]).hottest(400)
    # the mean of forty maxima has a standard error of about 1.5 pulses
    assert found == pytest.approx(float(draws.mean()), abs=6.0)
    assert 30 * one.mean < found < 30 * one.hottest(400)
