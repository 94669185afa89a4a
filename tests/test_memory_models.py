"""Models of memory: buffer by banks, DRAM by kind, SRAM units by gates; by hand and as laws."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cimsim
from cimsim.costs.components import dram, memory, port, sram_unit
from cimsim.errors import SpecError
from cimsim.spec import Architecture
from cimsim.values.history import value_at

MACHINE = cimsim.machine("halora_rram_sram")


def machine(values: dict[str, Any]) -> Architecture:
    return MACHINE.with_values(values)


def test_a_buffer_by_hand() -> None:
    """The published points: ISAAC's registers, PUMA's memories and bus, Horowitz's caches."""
    assert memory.banks_um2(0.25, 1, 32) == pytest.approx(770)
    assert memory.banks_um2(2.0, 1, 32) == pytest.approx(2100)
    assert memory.leakage_uW(2.0, 1, 0.0, 32) == pytest.approx(330)
    assert memory.leakage_uW(64.0, 1, 0.0, 32) == pytest.approx(460, rel=1e-3)
    # 384 wires
    assert memory.bus_um2(48.0, 1, 32) == pytest.approx(90_000)
    assert memory.leakage_uW(0.0, 1, 48.0, 32) == pytest.approx(325.8 + 1000)
    for capacity, energy_pJ in ((8, 10), (32, 20), (1024, 100)):
        assert 64 * memory.access_pJ(capacity, 45) == pytest.approx(energy_pJ, rel=0.15)


def test_an_sram_unit_by_hand() -> None:
    """A tree of 4 words of 8 bits has 2 x 8 + 1 x 9 full adders, one of 64 has 561.

    A multiply-accumulate of 8 bits charges a quarter of 8 gates and of the tree's share of 6 gates
    a full adder, for each bit; the accumulator of 16 bits, in 4 cycles, is shared by 64 rows.
    """
    assert sram_unit.tree_bits(4, 8) == 2 * 8 + 9
    assert sram_unit.tree_bits(64, 8) == sum(64 / 2**n * (8 + n - 1) for n in range(1, 7))
    adder, register = 6 * 0.7, 3 * 0.7
    each = 0.25 * 8 * (8 * 0.7 + 561 / 64 * adder) + 4 * 16 * (0.25 * adder + register) / 64
    assert sram_unit.mac_fJ(64, 1, 8, 8, 16, 4, 28, 0.9) == pytest.approx(each * 0.81)
    assert sram_unit.mac_fJ(64, 1, 8, 8, 16, 4, 56, 1.8) == pytest.approx(8 * each * 0.81)
    column = 512 * 0.3 + 2 * (512 * 0.614 + 561 * 7.8 * 0.614) + 16 * (7.8 + 6) * 0.614
    area = 64 * column + 512 * 10 * 0.614
    assert sram_unit.unit_um2(64, 1, 64, 8, 2, 16, 512, 28) == pytest.approx(area)
    assert sram_unit.unit_um2(64, 1, 64, 8, 2, 16, 512, 56) == pytest.approx(4 * area)
    gates_ns = 6 * 4.8 + (8 + 6) * 2 + 16 * 2
    assert sram_unit.cycle_ns(64, 8, 16, 28) == pytest.approx(gates_ns * 0.0478)
    assert sram_unit.write_fJ(64, 28) == pytest.approx(64 * math.sqrt(0.3) * 0.2 * 0.81)


def test_a_unit_with_shared_multipliers_by_hand() -> None:
    """64 rows, 8 a multiplier: a tree of 8 words has 4 x 8 + 2 x 9 + 1 x 10 = 60 full adders.

    A bit of a weight charges a quarter of its local line of 8 cells, the accumulator serves 8 rows.
    The clock waits for three levels of the tree.
    """
    assert sram_unit.tree_bits(8, 8) == 4 * 8 + 2 * 9 + 10
    adder, register, line = 6 * 0.7, 3 * 0.7, 8 * (math.sqrt(0.3) * 0.2 + 0.35)
    each = 0.25 * (8 * (8 * 0.7 + 60 / 8 * adder) + 8 * line)
    each += 4 * 16 * (0.25 * adder + register) / 8
    assert sram_unit.mac_fJ(64, 8, 8, 8, 16, 4, 28, 0.9) == pytest.approx(each * 0.81)
    column = 512 * 0.3 + 2 * (64 * 0.614 + 60 * 7.8 * 0.614) + 16 * (7.8 + 6) * 0.614
    area = 64 * column + 512 * 10 * 0.614
    assert sram_unit.unit_um2(64, 8, 64, 8, 2, 16, 512, 28) == pytest.approx(area)
    fastest_ns = (3 * 4.8 + (8 + 3) * 2 + 16 * 2) * 0.0478 / 2
    with pytest.raises(SpecError, match=f"clock_MHz is {1e3 / fastest_ns:.4g} at most"):
        machine({"sram.clock_MHz": 1000.0})


def test_more_sharing_is_never_larger() -> None:
    """From a multiplier a weight to one a column; one that no file names is not shared."""
    sizes = [machine({"sram.rows_per_multiplier": 2**n}).sram for n in range(7)]
    for more, less in pairwise(sizes[::-1]):
        assert more is not None
        assert less is not None
        assert more.unit_area_um2 < less.unit_area_um2
        assert more.leakage_uW < less.leakage_uW
        assert more.write_energy_fJ_per_bit == less.write_energy_fJ_per_bit
    unsaid = machine({"sram.rows_per_multiplier": None}).sram
    assert unsaid is not None
    assert sizes[0] is not None
    assert unsaid.rows_at_once == sizes[0].rows_at_once == 64
    assert unsaid.unit_area_um2 == sizes[0].unit_area_um2


@pytest.mark.parametrize("name", ["halora_rram_sram", "puma", "ahwa_pcm_pmca"])
def test_anchors_are_met(name: str) -> None:
    made = cimsim.machine(name)
    found = {m.path: m for m in made.modelled() if m.block in ("buffer", "dram", "sram")}
    assert {"buffer.models.memory", "dram.models.device"} <= found.keys()
    assert not any(m.outside for m in found.values())
    assert made.buffer.area_mm2 == {"puma": 11.868}.get(name, 44.032)
    assert made.buffer.leakage_mW == {"puma": 63.48}.get(name, 235.52)
    assert made.buffer.energy_pJ_per_bit == 0.067
    assert (made.dram.energy_pJ_per_bit, made.dram.background_mW) == (3.9, 100.0)
    assert "dram.background_mW" in made.assumed()
    assert "dram.energy_pJ_per_bit" not in made.assumed()


def test_4096_banks_are_not_free() -> None:
    """16 times the banks: of 0.842 mm2 of cells and banks a bank, and of 120,000 um2 of bus."""
    many = machine({"buffer.banks": 4096}).buffer
    cells = 760.0 * 32768

    def area(banks: int) -> float:
        return cells + banks * (580.0 + 512 * 90_000 / 384)

    assert many.area_mm2 == pytest.approx(44.032 * area(4096) / area(256))
    assert many.area_mm2 > 9 * MACHINE.buffer.area_mm2
    assert many.leakage_mW > 10 * MACHINE.buffer.leakage_mW
    # a bank of a sixteenth has lines of a quarter
    assert many.energy_pJ_per_bit == pytest.approx(0.067 / 4)


@given(
    st.sampled_from(["buffer.capacity_KiB", "buffer.banks", "buffer.bandwidth_GBps",
                     "dram.channels", "sram.rows", "sram.columns", "sram.weight_bits"]),
    st.integers(2, 4),
)  # fmt: skip
def test_more_costs_more(field: str, times: int) -> None:
    block, name = field.split(".")
    value = getattr(getattr(MACHINE, block), name)
    before, after = getattr(MACHINE, block), getattr(machine({field: value * times}), block)
    standing = {
        "buffer": ("area_mm2", "leakage_mW"), "dram": ("background_mW",),
        "sram": ("unit_area_um2", "leakage_uW"),
    }[block]  # fmt: skip
    for output in standing:
        assert getattr(after, output) > getattr(before, output)
    if block == "sram":
        # rows share the accumulator of a column: a column never takes less
        assert after.mac_energy_fJ * after.rows >= before.mac_energy_fJ * before.rows
        assert after.write_energy_fJ_per_bit >= before.write_energy_fJ_per_bit


def test_memory_of_another_kind() -> None:
    """16 GiB on 8 channels of 32 GB/s; a channel of LPDDR5 has 12.8 GB/s and 1 GiB.

    8 x 2 mW x (32 / 12.8 + 2 / 1) / 2 = 36 mW.
    """
    found = {}
    for kind in dram.DEVICES:
        made = machine({"dram.models.device.kind": kind}).dram
        found[kind] = (made.energy_pJ_per_bit, made.background_mW)
    assert found == {
        "hbm2": (3.9, 100.0), "hbm2e": (3.9, 100.0), "gddr5": (14.0, 150.0), "lpddr5": (4.0, 36.0),
    }  # fmt: skip
    assert "dram.energy_pJ_per_bit" in machine({"dram.models.device.kind": "lpddr5"}).assumed()
    with pytest.raises(SpecError, match="'ddr2', not 'hbm2'"):
        machine({"dram.models.device.kind": "ddr2"})


def test_given_numbers_are_set_by_their_anchor() -> None:
    with pytest.raises(SpecError, match=r"buffer\.models\.memory"):
        machine({"buffer.area_mm2": 10.0})
    assert machine({"buffer.models.memory.anchor.area_mm2": 10.0}).buffer.area_mm2 == 10.0


MACROS = {
    # rows, rows a multiplier, columns, bits of a weight in a column, of a result, of what is added
    # to it; pJ, mm2, MHz
    "ISSCC 2022 15.5": (32, 1, 6 * 64, 8, 32, 14, 2 / 36.63, 0.9408, 195),
    "ISSCC 2023 7.2": (1024, 8, 8 * 8, 1, 23, 23, 2 / 19.5, 0.1462, 182),
}


@pytest.mark.parametrize("macro", MACROS)
def test_an_sram_unit_meets_published_macros(macro: str) -> None:
    """Energies within 1.5 times, areas within 1.4; their clocks are below what the gates allow."""
    rows, shared, columns, bits, results, added, pJ, mm2, clock = MACROS[macro]
    law_fJ = sram_unit.mac_fJ(rows, shared, 8, 8, results, 4, 28, 0.9)
    assert 1 / 1.5 < law_fJ / (1e3 * pJ) < 1.5
    area = sram_unit.unit_um2(rows, shared, columns, bits, 2, results, 0, 28)
    assert 1 / 1.4 < area / (1e6 * mm2) < 1.4
    assert clock < 1e3 / sram_unit.cycle_ns(rows / shared, bits, added, 28) < 1.4 * clock


def test_a_unit_has_no_faster_clock_than_its_gates() -> None:
    """4.24 ns at 0.9 V in two stages: 471 MHz; twice the stages or voltage do twice of it.

    3.27 ns of the tree over 8 rows are 612 MHz.
    """
    whole = {"sram.rows_per_multiplier": 1}
    assert machine(whole | {"sram.clock_MHz": 470.0}).sram
    with pytest.raises(SpecError, match=r"clock_MHz is 471\.2 at most, not 472.*pipeline_cycles"):
        machine(whole | {"sram.clock_MHz": 472.0})
    assert machine({"sram.clock_MHz": 611.0}).sram
    with pytest.raises(SpecError, match=r"clock_MHz is 611\.7 at most"):
        machine({"sram.clock_MHz": 612.0})
    assert machine({"sram.clock_MHz": 900.0, "sram.pipeline_cycles": 4}).sram
    faster = machine({"sram.clock_MHz": 900.0, "sram.models.unit.supply_V": 1.8}).sram
    assert faster is not None
    assert faster.mac_energy_fJ == pytest.approx(4 * 91.4)


@pytest.mark.parametrize(
    ("field", "grown"),
    [
        ("sram.bits_per_cycle", {"sram.unit_area_um2", "sram.leakage_uW"}),
        ("sram.output_bits", {"sram.unit_area_um2", "sram.leakage_uW", "sram.mac_energy_fJ"}),
        ("sram.write_bits_per_cycle", {"sram.unit_area_um2", "sram.leakage_uW"}),
        ("tile_link.bandwidth_GBps", {"tile_link.port_area_um2", "tile_link.leakage_uW"}),
        ("cluster_link.bandwidth_GBps", {"cluster_link.port_area_um2", "cluster_link.leakage_uW"}),
        ("dram.bandwidth_GBps", {"dram.background_mW"}),
        ("dram.capacity_GiB", {"dram.background_mW"}),
        ("buffer.capacity_KiB", {"buffer.area_mm2", "buffer.leakage_mW", "buffer.access_ns",
                                 "buffer.energy_pJ_per_bit"}),
        ("pmca.matrix_engine.pipeline", {"pmca.cluster_area_mm2", "pmca.leakage_mW",
                                         "pmca.engine_energy_pJ_per_cycle",
                                         "pmca.dma_energy_pJ_per_byte"}),
    ],
)  # fmt: skip
def test_twice_as_much_of_it_costs(field: str, grown: set[str]) -> None:
    """These costs grow and no other of their block does."""
    block, _, name = field.partition(".")
    twice = machine({field: 2 * value_at(MACHINE.content, field)}).content[block]
    before = MACHINE.content[block]
    models = (m for m in MACHINE.modelled() if m.block == block and m.component != "wire")
    costs = {output for model in models for output in model.outputs}
    assert {f"{block}.{c}" for c in costs if twice[c] > before[c]} == grown
    assert name not in costs


def test_ports_and_banks_by_hand() -> None:
    """64 wires of four flip-flops. 12 + 4 gates of 47.8 ps and twice 0.4 mm at 0.3 ns/mm."""
    assert port.port_um2(8, 28) == pytest.approx(64 * 4 * 6 * 0.614)
    assert port.port_uW(1e6, 22) == pytest.approx(2000)
    assert port.port_uW(1e6, 44) == pytest.approx(1000)
    assert memory.bank_ns(128, 0.16e6, 28) == pytest.approx(16 * 0.0478 + 0.8 * 0.3)
    assert memory.bank_ns(8, 0.0, 56) == pytest.approx(12 * 2 * 0.0478)
    assert memory.bank_ns(8 * 2.0**-14, 0.0, 28) == pytest.approx(0.0478)


def test_a_unit_accumulates_once_a_cycle() -> None:
    """7 bits, 2 a cycle: 4 cycles."""
    made = machine({"sram.models.unit.kind": "digital", "sram.input_bits": 7}).sram
    assert made is not None
    law = sram_unit.mac_fJ(64, 8, 8, 7, 16, 4, 28, 0.9)
    assert made.mac_energy_fJ == pytest.approx(law, rel=1e-12)
