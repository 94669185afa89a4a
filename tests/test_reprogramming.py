"""Writing cells and memories: what is written, how long it takes, what it wears out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close

from cimsim import shipped
from cimsim.adaptation import adaptation_named, adapted_weights, saved_weights
from cimsim.blocks import CrossbarTiles
from cimsim.costs.programming import changed_levels, level_change
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Linear, Workload
from cimsim.mappers import MAPPERS, build_mapping
from cimsim.mapping import Correlated, LevelChange, Mapping, Registers, Written
from cimsim.report import Reprogramming
from cimsim.report.writes import adapter_switch, first_programming, reprogramming
from cimsim.spec import Architecture

ADAPTED = frozenset(f"layers.{i}.{name}.weight" for i in (0, 1) for name in ("q", "k", "v", "down"))
BASE_WEIGHTS = 2 * (32 * 32 * 2 + 2 * 32 * 16 + 3 * 32 * 48) + 32 * 50
NOTHING = Reprogramming(
    cells_written=0, energy_J=0.0, time_s=0.0, sram_bits_written=0, tcdm_bytes_written=0, wear=0.0
)


def tiles(**changes: Any) -> CrossbarTiles:
    rram = small.machine(rram=changes).rram
    assert rram is not None
    return rram


CHANGED, FROM_ERASED = (changed_levels(tiles(), erased=erased).changed for erased in (False, True))
"""Share of 8-bit cells with an offset that a foreign weight, or the first one, changes."""
FETCH_J = (3.9 + 2 * 0.067) * 1e-12
"""A bit out of DRAM, into the buffer and out of it."""
LINK_J = 0.3e-12
LATENCY_s = 104e-9
"""Of DRAM, and of the buffer twice."""


def placed(
    workload: Workload, machine: Architecture, adaptation: str, mapper: str = "one-per-tile"
) -> Mapping:
    chosen = adaptation_named(adaptation)
    return build_mapping(chosen.apply(workload), machine, chosen, MAPPERS[mapper]())


def switch(
    adaptation: str, *, mapper: str = "one-per-tile", rank: int = 2, **changes: Any
) -> Reprogramming:
    workload, machine = small.decoder(rank=rank), small.machine(**changes)
    return adapter_switch(workload, machine, placed(workload, machine, adaptation, mapper))


def first(adaptation: str, *, mapper: str = "one-per-tile", **changes: Any) -> Reprogramming:
    workload, machine = small.decoder(), small.machine(**changes)
    return first_programming(workload, machine, placed(workload, machine, adaptation, mapper))


def lora_values(workload: Workload) -> int:
    """rank * (in + out) summed over the adapted layers."""
    base = {op.name: op for _, op in workload.ops() if isinstance(op, Linear)}
    assert workload.adapter is not None
    adapted = {op.adapts for op in base.values() if op.adapts is not None}
    return sum(
        workload.adapter.rank * (base[name].in_features + base[name].out_features)
        for name in adapted
    )


@given(st.integers(1, 20), st.sampled_from([4, 8, 16]))
@settings(max_examples=20)
def test_a_switch_on_sram_writes_the_adapter_and_nothing_else(rank: int, weight_bits: int) -> None:
    changes: dict[str, Any] = {"sram": {"weight_bits": weight_bits}}
    write = switch("lora-sram", rank=rank, **changes)
    bits = lora_values(small.decoder(rank=rank)) * weight_bits
    assert write.sram_bits_written == bits
    assert (write.cells_written, write.tcdm_bytes_written, write.wear) == (0, 0, 0.0)
    assert write.energy_J == close(bits * (12e-15 + LINK_J + FETCH_J))
    port = math.ceil(16 * min(rank, 16) * weight_bits / 64) * 5e-9
    assert write.time_s == close(LATENCY_s + max(port, bits / 8 / 20e9), rel=1e-9)


def test_a_switch_on_the_cluster_writes_its_memory() -> None:
    write = switch("lora-pmca", rank=3)
    values = lora_values(small.decoder(rank=3))
    assert write.tcdm_bytes_written == 2 * values
    assert (write.cells_written, write.sram_bits_written, write.wear) == (0, 0, 0.0)
    assert write.energy_J == close(16 * values * (LINK_J + FETCH_J))
    assert write.time_s == close(LATENCY_s + 2 * values / 20e9)


def test_a_switch_on_tiles_writes_cells() -> None:
    write = switch("lora-rram", rank=3)
    values = lora_values(small.decoder(rank=3))
    assert write.cells_written == values
    assert write.cells_changed == close(values * CHANGED)
    assert write.pulses == close(values * CHANGED * 8.5)
    assert write.energy_J == close(values * (CHANGED * 8.5 * 1.01e-12 + 8 * (LINK_J + FETCH_J)))
    tiles = 2 * sum(-(-i // 16) + -(-o // 16) for i, o in ((32, 32), (32, 16), (32, 16), (48, 32)))
    rounds = math.ceil(tiles / 4)
    assert write.time_s == close(LATENCY_s + rounds * 16 * 3 * CHANGED * 8.5 * 150e-9)
    assert write.wear == close(CHANGED * 8.5 / 1e6)


def test_a_slow_link_holds_the_writing_of_tiles_up() -> None:
    write = first("none", cluster_link={"bandwidth_GBps": 1e-4})
    assert write.time_s == close(BASE_WEIGHTS / 1e5)
    assert write.time_s > first("none").time_s


def test_a_switch_of_merged_lora_writes_the_adapted_weights_only() -> None:
    write = switch("merged")
    cells = 2 * (32 * 32 + 2 * 32 * 16 + 48 * 32)
    assert adapted_weights(small.decoder()) == ADAPTED
    assert write.cells_written == cells < BASE_WEIGHTS
    count = 2 * (4 + 2 + 2 + 6)
    share = level_change(tiles(), Correlated(1.0 / (1.0 + 0.055**2))).changed
    assert share < CHANGED
    assert write.time_s == close(LATENCY_s + count / 4 * 256 * share * 8.5 * 150e-9)


def test_without_an_adapter_nothing_is_switched() -> None:
    assert switch("none") == NOTHING
    workload, machine = small.decoder(rank=None), small.machine()
    assert adapter_switch(workload, machine, placed(workload, machine, "merged")) == NOTHING


@pytest.mark.parametrize("adaptation", ["none", "merged", "lora-pmca", "lora-sram", "lora-rram"])
def test_the_first_programming_writes_everything(adaptation: str) -> None:
    write, later = first(adaptation), switch(adaptation)
    lora = 0 if adaptation in ("none", "merged") else lora_values(small.decoder())
    assert write.cells_written == BASE_WEIGHTS + (lora if adaptation == "lora-rram" else 0)
    assert write.sram_bits_written == (8 * lora if adaptation == "lora-sram" else 0)
    assert write.tcdm_bytes_written == (2 * lora if adaptation == "lora-pmca" else 0)
    assert write.energy_J >= later.energy_J - later.load_energy_J
    assert write.time_s >= later.time_s - (LATENCY_s if later.loaded_from else 0.0)
    assert write.loaded_from is None


def test_differential_cells_and_slices_are_all_written() -> None:
    rram = {"coding": "differential", "cells_per_weight": 2}
    pairs, share = first("none", rram=rram), changed_levels(tiles(**rram), erased=True)
    assert pairs.cells_written == 4 * BASE_WEIGHTS
    assert 0.49 < share.changed < 0.5  # one cell of a pair stays erased
    assert pairs.cells_changed == close(pairs.cells_written * share.changed)
    cells_J = pairs.cells_changed * 8.5 * 1.01e-12
    assert pairs.energy_J == close(cells_J + 8 * BASE_WEIGHTS * LINK_J)


def test_replicas_are_written_as_well() -> None:
    workload, machine = small.one_layer(16, 16), small.machine()
    chosen = adaptation_named("none")
    two = build_mapping(workload, machine, chosen, MAPPERS["dense"](replicate=(("*", 2),)))
    assert first_programming(workload, machine, two).cells_written == 2 * 256


def test_packed_blocks_of_a_tile_are_written_one_after_the_other() -> None:
    workload = small.decoder()
    machine = small.machine(rram={"rows": 256, "columns": 256})
    mapping = placed(workload, machine, "none", "dense")
    assert mapping.used("rram") == 1
    write = first_programming(workload, machine, mapping)
    share = changed_levels(tiles(rows=256, columns=256), erased=True).changed
    assert write.time_s == close(BASE_WEIGHTS * share * 8.5 * 150e-9)
    spread = first_programming(workload, machine, placed(workload, machine, "none"))
    assert spread.energy_J == close(write.energy_J)
    assert spread.time_s < write.time_s


def test_packed_blocks_of_an_sram_unit_share_its_port() -> None:
    fast = {"tile_link": {"bandwidth_GBps": 1e6}, "cluster_link": {"bandwidth_GBps": 1e6}}
    big: dict[str, Any] = {"sram": {"rows": 256, "columns": 256}, **fast}
    write = switch("lora-sram", mapper="dense", **big)
    bits = 8 * lora_values(small.decoder())
    assert write.time_s == close(LATENCY_s + math.ceil(bits / 64) * 5e-9, rel=1e-9)
    assert switch("lora-sram", **big).time_s < write.time_s


def test_a_wider_window_takes_fewer_pulses() -> None:
    wide, narrow = (
        first("none", rram={"write": {"pulses_per_cell": None, "window_uS": window}})
        for window in (4.0, 0.5)
    )
    assert wide.cells_written == narrow.cells_written
    assert wide.time_s < narrow.time_s
    assert wide.energy_J < narrow.energy_J
    assert 0.0 < wide.wear < narrow.wear


@pytest.mark.parametrize("field", ["cells_in_parallel", "tiles_in_parallel"])
def test_more_at_a_time_is_faster_at_the_same_energy(field: str) -> None:
    slow, fast = (first("none", rram={"write": {field: n}}) for n in (2, 4))
    assert fast.time_s < slow.time_s
    assert fast.energy_J == slow.energy_J


@pytest.mark.parametrize("adaptation", ["none", "merged", "lora-pmca", "lora-sram", "lora-rram"])
def test_a_switch_exchanges_what_is_saved_with_the_adapter(adaptation: str) -> None:
    machine, plain = small.machine(), small.decoder()
    workload = small.saved(plain, "head", "layers.0.o")
    with_head, without = (
        adapter_switch(w, machine, placed(w, machine, adaptation)) for w in (workload, plain)
    )
    values = 32 * 50 + 32 * 32
    unit = {"merged": "rram", "none": "nothing"}.get(adaptation, adaptation[5:])
    more = {
        "rram": with_head.cells_written - without.cells_written,
        "sram": with_head.sram_bits_written - without.sram_bits_written,
        "pmca": with_head.tcdm_bytes_written - without.tcdm_bytes_written,
    }
    each = {"rram": 1, "sram": 8, "pmca": 2}
    assert more == {u: values * each[u] if u == unit else 0 for u in each}
    written = first_programming(workload, machine, placed(workload, machine, adaptation))
    stays = BASE_WEIGHTS - (values if unit in ("sram", "pmca") else 0)
    on_tiles = lora_values(plain) if adaptation == "lora-rram" else 0
    assert written.cells_written == stays + on_tiles
    if adaptation == "none":
        assert with_head == NOTHING
    else:
        assert with_head.energy_J > without.energy_J
    assert saved_weights(workload) == {"head.weight", "layers.0.o.weight"}


def some(unit: Any, units: list[int], values: list[int]) -> Written:
    return Written("w", unit, np.array(units, np.int64), np.array(values, np.int64))


def test_a_share_of_a_weight_costs_its_share() -> None:
    machine = small.machine()
    part = reprogramming(machine, [some("rram", [0, 1, 2, 3, 4], [16, 0, 8, 8, 8])])
    assert part.cells_written == 40
    assert part.energy_J == close(40 * (CHANGED * 8.5 * 1.01e-12 + 8 * LINK_J))
    assert part.time_s == close(16 * CHANGED * 8.5 * 150e-9)  # four tiles with work, four at a time
    memory = reprogramming(machine, [some("pmca", [], [5]), some("sram", [3], [0])])
    assert (memory.tcdm_bytes_written, memory.sram_bits_written) == (10, 0)
    assert memory.time_s == close(10 / 20e9)
    assert reprogramming(machine, [some("rram", [2], [0])]) == NOTHING


def test_what_is_written_whole_is_the_placement() -> None:
    mapping = placed(small.decoder(), small.machine(), "lora-pmca")
    for placement in mapping.placements.values():
        written = placement.written()
        assert written.count == placement.weights
        assert written.units.size == placement.units.size


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(MappingError, match="has 2 numbers for 1 blocks: give one for each"):
        some("rram", [0], [1, 2])
    with pytest.raises(MappingError, match="has 2 numbers for 0 blocks"):
        some("pmca", [], [1, 2])
    with pytest.raises(MappingError, match="-1 values of 'w' are to be written"):
        some("rram", [0, 1], [-1, 2])
    without = small.machine(sram=None)
    for unit in ("sram", "registers", "buffer"):
        with pytest.raises(MappingError, match=f"into '{unit}' units, which architecture 'tiny'"):
            reprogramming(without, [some(unit, [0], [1])])


# Where an adapter begins -------------------------------------------------------------------------


def test_an_adapter_comes_out_of_dram_or_is_kept_in_the_buffer() -> None:
    """DRAM 3.9 pJ a bit, buffer 0.067 in and out, link 0.3, cells 0.012: by hand."""
    bits = 8 * lora_values(small.decoder())
    far, near = switch("lora-sram"), switch("lora-sram", adapters_in="buffer")
    assert far.load_energy_J == close(bits * (3.9 + 2 * 0.067) * 1e-12)
    assert near.load_energy_J == close(bits * 0.067e-12)
    assert far.energy_J - far.load_energy_J == close(bits * 0.312e-12)
    assert near.energy_J - near.load_energy_J == close(bits * 0.312e-12)
    assert (far.loaded_from, near.loaded_from) == ("dram", "buffer")
    assert far.loaded_bytes == near.loaded_bytes == bits // 8
    assert far.time_s - near.time_s == close(102e-9, rel=1e-6)


@pytest.mark.parametrize("adaptation", ["merged", "lora-pmca", "lora-sram", "lora-rram"])
@pytest.mark.parametrize("kept", ["dram", "buffer"])
def test_stages_overlap_or_follow_each_other(adaptation: str, kept: str) -> None:
    """Overlapped the slowest sets the pace, one after the other they add up."""
    slow = {"dram": {"bandwidth_GBps": 0.01}, "adapters_in": kept}
    one, more = (
        switch(adaptation, adapters_in=kept, adapter_loading=how)
        for how in ("overlapped", "sequential")
    )
    assert one.time_s < more.time_s
    assert one.energy_J == more.energy_J
    late = switch(adaptation, **slow)
    bits = 8 * one.loaded_bytes
    share = bits / 8 / (2 * 0.01e9)
    bound = LATENCY_s + share if kept == "dram" else 0.0
    assert late.time_s == close(max(bound, one.time_s), rel=1e-6)


def test_stages_one_after_the_other_by_hand() -> None:
    """928 values of 2 bytes: 4 stripes of 256 in a channel of 32 GB/s, 2 of 64 in a bank of 50."""
    workload = small.decoder(rank=2)
    size = 2 * lora_values(workload)
    write = switch("lora-pmca", adapter_loading="sequential")
    channel = size // 512 * 256 + min(size % 512, 256)
    bank = size // 1024 * 64 + min(size % 1024, 64)
    dram, buffer = 100e-9 + channel / 32e9, 2e-9 + bank / 50e9
    assert write.time_s == close(dram + 2 * buffer + size / 20e9, rel=1e-4)


@given(
    st.sampled_from(["dram.bandwidth_GBps", "dram.channels", "buffer.bandwidth_GBps"]),
    st.integers(2, 8),
    st.sampled_from(["overlapped", "sequential"]),
)
@settings(max_examples=15, deadline=None)
def test_more_bandwidth_is_never_slower(field: str, times: int, how: str) -> None:
    workload = small.decoder()
    machine = small.machine(adapter_loading=how)
    block, name = field.split(".")
    more = machine.with_values({field: times * getattr(getattr(machine, block), name)})
    mapping = placed(workload, machine, "lora-sram")
    before, after = (adapter_switch(workload, m, mapping) for m in (machine, more))
    assert after.time_s <= before.time_s
    assert after.energy_J == before.energy_J


def test_an_adapter_that_does_not_fit_where_it_is_kept_is_refused() -> None:
    bits = 8 * lora_values(small.decoder())
    room = bits / 8 / 1024
    small_buffer = {"buffer": {"capacity_KiB": 0.9 * room}}
    with pytest.raises(CapacityError, match=r"loads \d+ bytes from buffer .* Raise buffer\.cap"):
        switch("lora-sram", adapters_in="buffer", **small_buffer)
    assert switch("lora-sram", **small_buffer).loaded_from == "dram"
    fits = {"buffer": {"capacity_KiB": room}}
    assert switch("lora-sram", adapters_in="buffer", **fits).loaded_from == "buffer"
    with pytest.raises(CapacityError, match=r"bytes from dram .* Raise dram\.capacity_GiB"):
        switch("lora-sram", rank=8, dram={"capacity_GiB": 3300 / 2**30})


def test_the_switch_of_the_main_job_by_hand() -> None:
    """15.2 Mbit: 59.3 uJ out of DRAM, 2.0 through the buffer, 6.1 over the link, 0.2 in cells."""
    machine = shipped.machine("halora_rram_sram")
    workload = shipped.workload("llama3.2_1b_r4_p512_d128")
    assert workload.adapter is not None
    bits = 8 * workload.adapter.parameter_count
    assert bits == 15_204_352
    mapping = placed(workload, machine, "lora-sram")
    write = adapter_switch(workload, machine, mapping)
    assert machine.sram is not None
    cell_pJ = machine.sram.write_energy_fJ_per_bit * 1e-3
    links_pJ = machine.cluster_link.energy_pJ_per_bit
    memory_pJ = machine.dram.energy_pJ_per_bit + 2 * machine.buffer.energy_pJ_per_bit
    assert write.energy_J == close(bits * (cell_pJ + links_pJ + memory_pJ) * 1e-12)
    assert write.load_energy_J == pytest.approx(61.3e-6, rel=1e-3)


@pytest.mark.parametrize("unit", ["rram", "sram", "pmca"])
def test_digital_state_beside_units_is_bits_over_the_link(unit: str) -> None:
    machine, bits = small.machine(), 1234
    link = machine.cluster_link
    cost = reprogramming(machine, [Registers("w", unit, 1000), Registers("v", unit, 234)])
    stored_pJ = {
        "rram": bits / 8 * machine.rram.buffer_energy_pJ_per_byte,
        "sram": bits * 12e-3,
        "pmca": 0.0,
    }[unit]
    assert cost.register_bits_written == bits
    assert cost.cells_written == cost.sram_bits_written == cost.tcdm_bytes_written == 0
    assert cost.energy_J == pytest.approx((stored_pJ + bits * link.energy_pJ_per_bit) * 1e-12)
    assert cost.time_s == pytest.approx(bits / 8 / (link.bandwidth_GBps * 1e9))
    with pytest.raises(MappingError, match="-1 register bits of 'w'"):
        Registers("w", unit, -1)


def test_a_change_of_levels_is_a_square_of_shares() -> None:
    assert LevelChange(np.array([[0.5, 0.25], [0.0, 0.25]])).changed == 0.25
    for wrong in (np.ones((2, 2)), np.array([[1.5, -0.5]]), np.array([[1.5, -0.5], [0, 0]])):
        with pytest.raises(MappingError, match="square of shares that sum to 1"):
            LevelChange(wrong)
