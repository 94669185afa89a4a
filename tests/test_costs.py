"""Costs of tiles, SRAM units, memories and areas: closed forms, by hand and by law."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small import close

from cimsim.blocks import CrossbarTiles, Link, SramUnits
from cimsim.costs.memory import access_energy_J, access_ps, fullest_bits, share_ps
from cimsim.costs.sram import (
    passes,
    product_cycles,
    product_energy_J,
    product_ps,
    write_energy_J,
    write_ps,
)
from cimsim.costs.tile import (
    conversion_ps,
    convert_ps,
    integrate_ps,
    link_energy_J,
    load_ps,
    mvm_energy_J,
    send_ps,
    transfer_ps,
    write_pulse_ps,
)
from cimsim.report.leakage import leakage_W
from cimsim.spec import load_architecture

SIZES = st.integers(1, 300)


def tiles(**changes: Any) -> CrossbarTiles:
    rram = small.machine(rram=changes).rram
    assert rram is not None
    return rram


def units(**changes: Any) -> SramUnits:
    sram = small.machine(sram=changes).sram
    assert sram is not None
    return sram


def link(**changes: Any) -> Link:
    return small.machine(tile_link=changes).tile_link


def isaac() -> CrossbarTiles:
    """A crossbar of 2-bit cells with bit-serial inputs and one ADC, as in ISAAC."""
    return tiles(
        rows=128, columns=128, weight_bits=16, cells_per_weight=8, bits_per_cell=2, input_bits=16,
        input_pulses=16, dac_bits=1, adc_time_ns=0.78125, columns_per_adc=128, shift_add_ns=1.0,
        dac_energy_pJ=0.39, cell_read_energy_fJ=1.83, adc_energy_pJ=1.5625,
        shift_add_energy_pJ=0.02, affine_energy_pJ=0.5, accumulate_energy_pJ=0.05,
        buffer_energy_pJ_per_byte=0.1,
    )  # fmt: skip


def test_isaac_takes_16_pulses_with_conversions_behind_them() -> None:
    rram = isaac()
    assert rram.input_pulses == 16
    assert conversion_ps(rram, 128) == 100_000
    assert integrate_ps(rram, 128) == 100_000 + 15 * max(100_000, 100_000)
    assert convert_ps(rram, 128) == 100_000 + 1000


@given(st.floats(1.0, 500.0), st.floats(0.0, 8.0), st.integers(1, 32), st.integers(1, 64))
def test_pulses_overlap_the_conversions_before_them(
    integration_ns: float, adc_time_ns: float, pulses: int, columns: int
) -> None:
    rram = tiles(
        integration_ns=integration_ns, adc_time_ns=adc_time_ns, input_pulses=pulses,
        columns_per_adc=16, columns=64,
    )  # fmt: skip
    pulse = round(integration_ns * 1000)
    conversion = round(min(columns, 16) * adc_time_ns * 1000)
    expected = pulse + (pulses - 1) * max(pulse, conversion)
    assert abs(integrate_ps(rram, columns) - expected) <= pulses
    assert abs(convert_ps(rram, columns) - conversion - 2000) <= 1


def test_mvm_energy_by_hand() -> None:
    rram = isaac()
    energy = mvm_energy_J(rram, 300, 20, 3, 2)
    by_hand = {
        "cells": 300 * 20 * 8 * 16 * 1.83e-15,
        "dac": 2 * 300 * 16 * 0.39e-12,
        "adc": 3 * 20 * 8 * 16 * 1.5625e-12,
        "shift_add": 3 * 20 * 8 * 16 * 0.02e-12,
        "accumulate": 2 * 20 * 0.05e-12,
        "affine": 20 * 0.5e-12,
        "registers": (2 * 300 * 2 + 3 * 20 * 2) * 0.1e-12,
    }
    assert energy == close(by_hand)


def test_halora_energy_a_mac_by_hand() -> None:
    """Arrays of the paper's figure; a conversion for 64 rows, an 8-bit input for 64 columns."""
    rram = load_architecture(small.ROOT / "arch_configs" / "halora_rram_sram.json").rram
    assert rram is not None
    energy = mvm_energy_J(rram, 64, 64, 1, 1)
    each = {key: energy[key] / 64**2 for key in ("cells", "adc", "dac")}
    assert each == close({"cells": 31.97e-15, "adc": 1.5625e-12 / 64, "dac": 0.324e-12 / 64})
    # ZigZag: 50 fF a bit, 8 bits, 0.9 V
    assert rram.dac_energy_pJ == close(50e-3 * 8 * 0.9**2)


@given(SIZES, SIZES, st.integers(1, 9), st.integers(1, 9))
def test_mvm_energy_grows_with_every_argument(
    rows: int, outputs: int, row_blocks: int, column_blocks: int
) -> None:
    rram = tiles()
    here = mvm_energy_J(rram, rows, outputs, row_blocks, column_blocks)
    assert min(here.values()) >= 0.0
    for step in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        sizes = (
            a + b for a, b in zip((rows, outputs, row_blocks, column_blocks), step, strict=True)
        )
        more = mvm_energy_J(rram, *sizes)
        assert all(more[key] >= here[key] for key in here)
        assert math.fsum(more.values()) > math.fsum(here.values())


@given(st.integers(0, 10**6), st.floats(0.1, 100.0), st.integers(1, 9), st.floats(0.0, 9.0))
def test_a_transfer_is_head_and_body(
    bits: int, bandwidth_GBps: float, hops: int, hop_ns: float
) -> None:
    port = link(bandwidth_GBps=bandwidth_GBps, hops=hops, hop_ns=hop_ns)
    expected = hops * hop_ns * 1000 + bits / 8 / bandwidth_GBps * 1000
    assert transfer_ps(bits, port) == close(expected, abs=0.6)
    assert link_energy_J(port, bits) == close(bits * 0.4e-12)
    faster = link(bandwidth_GBps=2 * bandwidth_GBps, hops=hops, hop_ns=hop_ns)
    assert transfer_ps(bits, faster) <= transfer_ps(bits, port)
    assert transfer_ps(bits + 8, port) >= transfer_ps(bits, port)


def test_load_and_send_by_hand() -> None:
    rram, port = tiles(), link()
    assert load_ps(rram, port, 16) == 4000 + 2000 + 1000
    # 8 outputs in two rounds of 4 lanes, 16 bits each over 8 GB/s, two levels for 3 partial sums
    assert send_ps(rram, port, 8, 1) == 2 * 1500 + 4000 + 2000
    assert send_ps(rram, port, 8, 3) == 2 * 1000 + 2 * 1500 + 4000 + 2000


@given(SIZES, st.integers(1, 600))
def test_send_has_a_level_for_every_doubling(outputs: int, row_blocks: int) -> None:
    rram, port = tiles(), link()
    levels = (row_blocks - 1).bit_length()
    assert send_ps(rram, port, outputs, row_blocks) == close(
        send_ps(rram, port, outputs, 1) + 1000 * levels, abs=1
    )
    assert send_ps(rram, port, outputs + 1, row_blocks) >= send_ps(rram, port, outputs, row_blocks)
    assert load_ps(rram, port, outputs + 1) >= load_ps(rram, port, outputs)


@given(st.integers(1, 64), st.integers(1, 16), st.integers(0, 9), st.integers(1, 99), SIZES)
def test_sram_products_and_writes(
    input_bits: int, bits_per_cycle: int, pipeline: int, vectors: int, weights: int
) -> None:
    sram = units(input_bits=input_bits, bits_per_cycle=bits_per_cycle, pipeline_cycles=pipeline)
    cycles = vectors * math.ceil(input_bits / bits_per_cycle) + pipeline
    assert product_cycles(sram, 16, vectors) == cycles
    assert product_ps(sram, 16, vectors) == cycles * 5000
    assert product_ps(sram, 16, vectors + 1) > product_ps(sram, 16, vectors)
    assert write_ps(sram, weights) == math.ceil(weights * 8 / 64) * 5000
    assert write_ps(sram, weights + 8) > write_ps(sram, weights)
    assert product_energy_J(sram, weights) == close(weights * 91e-15)
    assert write_energy_J(sram, weights) == close(weights * 12e-15)


def test_rows_that_share_a_multiplier_take_turns() -> None:
    """64 rows, 8 a multiplier: 8 at once, 8 bits by 2, two cycles of pipeline.

    4 rows take a pass of 4 cycles, 9 take two, 64 eight; three vectors of 9 rows six passes.
    """
    sram = units(rows=64, rows_per_multiplier=8, input_bits=8, bits_per_cycle=2, pipeline_cycles=2)
    assert [passes(sram, rows) for rows in (1, 4, 8, 9, 16, 63, 64)] == [1, 1, 1, 2, 2, 8, 8]
    assert product_cycles(sram, 4) == 4 + 2
    assert product_cycles(sram, 64) == 8 * 4 + 2
    assert product_cycles(sram, 9, 3) == 3 * 2 * 4 + 2
    assert write_ps(sram, 64) == write_ps(units(rows=64), 64)
    with pytest.raises(ValidationError, match="rows_per_multiplier 5 does not divide the 64 rows"):
        units(rows=64, rows_per_multiplier=5)


@given(st.integers(1, 64), st.integers(0, 6), st.integers(1, 9))
def test_sharing_multipliers_is_never_faster(rows: int, doublings: int, vectors: int) -> None:
    one, less = (
        units(rows=64, rows_per_multiplier=2**n) for n in (doublings, max(0, doublings - 1))
    )
    assert product_ps(one, rows, vectors) >= product_ps(less, rows, vectors)
    assert passes(one, rows) <= min(2 * passes(less, rows), rows)
    assert product_ps(units(rows=64, rows_per_multiplier=1), rows) == product_ps(units(rows=64), 64)


def test_memories_by_hand() -> None:
    machine = small.machine()
    assert access_ps(machine.buffer, 0) == 2000
    # 16 banks of 50 GB/s in stripes of 64 bytes, 2 channels of 32 GB/s in stripes of 256
    assert access_ps(machine.buffer, 8 * 640) == 2000 + 64 * 20
    assert access_ps(machine.buffer, 8 * (16 * 64 + 10)) == 2000 + (64 + 10) * 20
    assert access_ps(machine.dram, 8 * 640) == 100_000 + (256 + 128) * 31.25
    assert share_ps(machine.buffer, 8 * 640) == 800
    assert share_ps(machine.buffer, 1) == 1  # 0.16 ps, rounded up
    assert share_ps(machine.dram, 8 * 640) == 10_000
    assert access_energy_J(machine.buffer, 1000) == close(67e-12)
    assert access_energy_J(machine.dram, 1000) == close(3.9e-9)


MEMORIES = st.fixed_dictionaries(
    {
        "banks": st.integers(1, 300),
        "interleave_bytes": st.integers(1, 300),
        "bandwidth_GBps": st.floats(0.1, 1e3),
    }
)


@given(st.integers(0, 10**6), MEMORIES, st.sampled_from(["banks", "bandwidth_GBps"]))
@settings(max_examples=50)
def test_memories_are_never_slower_with_more(bits: int, block: dict[str, Any], more: str) -> None:
    one = small.machine(buffer=block).buffer
    two = small.machine(buffer=block | {more: block[more] + 1}).buffer
    for time_ps in (access_ps, share_ps):
        assert time_ps(two, bits) <= time_ps(one, bits) <= time_ps(one, bits + 8)


@given(st.integers(0, 4000), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50)
def test_the_fullest_bank_is_that_of_the_first_stripe(
    bits: int, banks: int, interleave_bytes: int
) -> None:
    buffer = small.machine(buffer={"banks": banks, "interleave_bytes": interleave_bytes}).buffer
    held = Counter(bit // (8 * interleave_bytes) % banks for bit in range(bits))
    assert fullest_bits(buffer, bits) == max(held.values(), default=0) == held[0]


def test_write_pulse_is_followed_by_its_read() -> None:
    assert write_pulse_ps(tiles()) == 150_000


def test_area_by_hand() -> None:
    machine = small.machine()
    tile = 16 * 16 * 0.05 + 16 * 0.2 + 1200 + 100
    built = machine.area_mm2()
    assert built == close(
        {
            "rram": 4096 * tile * 1e-6,
            "sram": 512 * 15000e-6,
            "pmca": 8 * 0.5,
            "link": (4096 + 512) * 100e-6 + 8 * 150e-6,
            "buffer": 4.0,
        }
    )
    used = machine.area_mm2({"rram": 4096, "sram": 512, "pmca": 8})
    assert used == built
    assert machine.die_area_mm2 == close(math.fsum(built.values()))
    assert small.machine(sram=None).area_mm2()["sram"] == 0.0


def test_leakage_by_hand() -> None:
    machine = small.machine()
    assert leakage_W(machine, {"rram": 10, "sram": 3, "pmca": 2, "adc": 99}) == close(
        {
            "rram": 10 * 0.5e-6,
            "sram": 3 * 5e-6,
            # at 0.8 V, of a value at 0.65 V
            "pmca": 2e-3 * 0.8 / 0.65 * 10 ** (0.1 * 0.15 / 0.09),
            "link": (13 * 0.1 + 2 * 0.13) * 1e-6,
            "buffer": 20e-3,
            "dram": 10e-3,
        }
    )


@given(st.tuples(SIZES, SIZES, st.integers(1, 8)), st.sampled_from(["rram", "sram", "pmca"]))
@settings(max_examples=30)
def test_more_units_take_more_area_and_leak_more(counts: tuple[int, int, int], kind: str) -> None:
    machine = small.machine()
    used = dict(zip(("rram", "sram", "pmca"), counts, strict=True))
    more = used | {kind: used[kind] + 1}
    assert math.fsum(machine.area_mm2(more).values()) > math.fsum(machine.area_mm2(used).values())
    assert math.fsum(leakage_W(machine, more).values()) > math.fsum(
        leakage_W(machine, used).values()
    )
