"""Models of memory: buffer by banks, DRAM by kind, SRAM units by gates; by hand and as laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cimsim
from cimsim.costs.components import dram, memory, sram_unit
from cimsim.errors import SpecError
from cimsim.spec import Architecture

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
    """64 rows of 8 bits: words of 8 + 6 / 2 bits; 107 gates of 0.7 fF at 0.9 V, a quarter of them.

    Published macros of 28 nm take 55 to 103 fJ, ZigZag has 11.9 fJ a written bit.
    """
    assert sram_unit.adder_bits(64, 8) == 11
    gates = 8 + 11 * 9
    assert sram_unit.mac_fJ(64, 8, 8, 28) == pytest.approx(0.25 * 8 * gates * 0.7 * 0.81)
    area = 64 * (64 * 8 * 0.914 + 63 * 11 * 9 * 0.614)
    assert sram_unit.unit_um2(64, 64, 8, 28) == pytest.approx(area)
    assert sram_unit.write_fJ(64, 28) == pytest.approx(64 * math.sqrt(0.3) * 0.2 * 0.81)


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
        assert after.mac_energy_fJ >= before.mac_energy_fJ
        assert after.write_energy_fJ_per_bit >= before.write_energy_fJ_per_bit


def test_memory_of_another_kind() -> None:
    found = {}
    for kind in dram.DEVICES:
        made = machine({"dram.models.device.kind": kind}).dram
        found[kind] = (made.energy_pJ_per_bit, made.background_mW)
    assert found == {
        "hbm2": (3.9, 100.0), "hbm2e": (3.9, 100.0), "gddr5": (14.0, 100.0), "lpddr5": (4.0, 16.0),
    }  # fmt: skip
    assert "dram.energy_pJ_per_bit" in machine({"dram.models.device.kind": "lpddr5"}).assumed()
    with pytest.raises(SpecError, match="'ddr2', not 'hbm2'"):
        machine({"dram.models.device.kind": "ddr2"})


def test_given_numbers_are_set_by_their_anchor() -> None:
    with pytest.raises(SpecError, match=r"buffer\.models\.memory"):
        machine({"buffer.area_mm2": 10.0})
    assert machine({"buffer.models.memory.anchor.area_mm2": 10.0}).buffer.area_mm2 == 10.0
