"""Machines of the literature: the tile model on their files, and the rows of the baseline."""

from __future__ import annotations

import math

import pytest
import small

from cimsim.costs.tile import mvm_energy_J
from cimsim.spec import load_architecture
from cimsim.validation import GROUPS, baseline, machines
from cimsim.validation.machines import Full, full

ROWS = {row.quantity: row for row in machines.rows()}
NAMES = ("isaac_rram", "puma", "hermes_pcm", "neurram")


def test_groups_are_registered() -> None:
    assert {"halora", "machines", "a100"} <= set(GROUPS)


@pytest.mark.parametrize("quantity", ROWS)
def test_every_row_is_within_its_tolerance_and_has_a_source(quantity: str) -> None:
    row = ROWS[quantity]
    assert row.passed
    assert row.source
    assert row.group == "machines"


def test_only_printed_figures_that_their_source_contradicts_are_not_judged() -> None:
    unjudged = {q for q, row in ROWS.items() if row.tolerance is None}
    assert unjudged == {q for q in ROWS if q.endswith("as printed")}
    assert len(unjudged) == 3
    for quantity in unjudged:
        assert "622" in ROWS[quantity].source or "31.4 TOPS" in ROWS[quantity].source


def test_one_point_of_each_machine_is_fitted_and_the_other_follows() -> None:
    for fitted, free in (
        ("HERMES: 1-phase MVM of 256x256, energy", "HERMES: 4-phase MVM of 256x256, energy"),
        ("NeuRRAM: 8-bit input, 10-bit output, two-phase, throughput",
         "NeuRRAM: 7-bit input, 9-bit output, two-phase, throughput"),
        ("PUMA: 16-bit MVM of 128x128, time", "PUMA: 16-bit MVM of 128x128, energy"),
    ):  # fmt: skip
        assert ROWS[fitted].fitted
        assert not ROWS[free].fitted
        assert abs(ROWS[free].error) <= 0.05


def test_published_figures_are_those_of_the_sources() -> None:
    published = {q: row.published for q, row in ROWS.items()}
    assert published["PUMA: 16-bit MVM of 128x128, time"] == 2304
    assert published["PUMA: 16-bit MVM of 128x128, energy"] == 43.97
    assert published["HERMES: 4-phase throughput a watt"] == 2.48
    assert published["ISAAC-CE: throughput an area"] == 479
    assert published["NeuRRAM: 1-bit input, 3-bit output, one-phase, throughput a watt"] == 43.08
    assert published["NeuRRAM: 8-bit input, 10-bit output, two-phase, throughput"] == 0.2639
    assert published["NeuRRAM: 8-bit input, energy of word lines"] == 32.8


def test_isaac_by_hand() -> None:
    chip = full("isaac_rram")
    assert chip.operations == 2 * 128 * 16
    assert chip.interval_s == pytest.approx(16 * 100e-9)
    assert chip.tera_ops == pytest.approx(168 * 12 * 8 * 4096 / 1.6e-6 * 1e-12)
    # 0.3 mW of crossbar, 0.5 mW of DACs and 2 mW of ADC for 1.6 us, and shift-and-add
    assert chip.mvm_J == pytest.approx((0.3 + 128 * 3.9e-3 + 2.0) * 1e-3 * 1.6e-6, rel=0.015)


def test_pumas_pipeline_has_eighteen_stages() -> None:
    node = full("puma")
    assert node.rram.tile_count * 128 * 128 * 2 / 2**20 == pytest.approx(69)
    assert node.mvm_s == pytest.approx(100e-9 + 15 * 128e-9 + 128e-9 + 128e-9)
    assert node.mvm_s == pytest.approx(18 * 128e-9, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_machine_follows_its_parts(name: str) -> None:
    chip = full(name)
    twice = full(name, tile_count=2 * chip.rram.tile_count)
    assert twice.tera_ops == pytest.approx(2 * chip.tera_ops, rel=1e-12)
    assert twice.mvm_J == chip.mvm_J
    assert twice.area > chip.area
    tiles = chip.rram.tile_count * chip.mvm_J / chip.interval_s
    assert tiles < chip.power_W < 3 * tiles
    slow = full(name, integration_ns=2 * chip.rram.integration_ns)
    assert slow.interval_s > chip.interval_s
    assert slow.power_W < chip.power_W
    cost = "models.cell.anchor.cell_read_energy_fJ" if chip.rram.models else "cell_read_energy_fJ"
    dear = full(name, **{cost: 2 * chip.rram.cell_read_energy_fJ})
    cells = chip.rram.rows * chip.rram.columns * chip.rram.input_pulses
    more = cells * chip.rram.cell_read_energy_fJ * 1e-15
    assert dear.mvm_J - chip.mvm_J == pytest.approx(more, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_mvm_is_that_of_the_tile_model(name: str) -> None:
    machine = load_architecture(small.ROOT / "arch_configs" / f"{name}.json")
    rram = machine.rram
    assert rram is not None
    parts = mvm_energy_J(rram, rram.rows, rram.weight_columns, 1, 1)
    assert Full(machine).mvm_J == pytest.approx(
        math.fsum(parts.values()) - parts["registers"] - parts["affine"], rel=1e-12
    )


def test_hermes_gives_cells_what_its_largest_current_can_take() -> None:
    """100 uA a column, 0.8 V, 128 ns (JSSC 2022); 13.4 nJ an MVM (Nature Electronics 2023)."""
    chip = full("hermes_pcm")
    cell_fJ = 100e-6 / 256 * 0.8 * 128e-9 * 1e15
    assert chip.rram.cell_read_energy_fJ == pytest.approx(cell_fJ, rel=1e-12)
    cells_nJ = 256 * 256 * cell_fJ * 1e-6
    assert chip.rram.adc_energy_pJ == pytest.approx((13.4 - cells_nJ) / 256 * 1e3, abs=0.05)
    half = mvm_energy_J(chip.rram, 128, 256, 1, 1)
    whole = mvm_energy_J(chip.rram, 256, 256, 1, 1)
    assert half["adc"] == whole["adc"] == pytest.approx(0.8 * chip.mvm_J, rel=0.01)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("isaac_rram", "ideal"), ("puma", "ideal"), ("hermes_pcm", "hermes"), ("neurram", "neurram")],
)
def test_every_machine_names_a_device_model(name: str, kind: str) -> None:
    facts = full(name).rram.accuracy
    assert facts is not None
    assert facts.device == {"kind": kind}
    assert facts.device_source
    assert not facts.device_source.startswith("assumed:")


def test_recalled_numbers_are_marked() -> None:
    machine = load_architecture(small.ROOT / "arch_configs" / "isaac_rram.json")
    recalled = {f for f, why in machine.assumed().items() if "recalled from" in why}
    assert recalled == {"rram.buffer_energy_pJ_per_byte", "rram.digital_area_um2"}


def test_rows_of_the_baseline() -> None:
    rows = baseline.rows()
    assert len(rows) >= 36
    assert {row.group for row in rows} == {"a100"}
    assert {row.unit for row in rows} == {"s", "W", "J"}
    assert all(row.passed for row in rows)
    assert {row.quantity.partition(",")[0] for row in rows} == {"A100 SXM4 80GB", "A100 SXM4 40GB"}
