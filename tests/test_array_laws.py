"""Weights on arrays and look-ups by hand: every interval in picoseconds, every charge in joules.

The buffer takes 2 ns and 2.5 ps a bit, the tile link 4 ns and 12.5 ps a bit. An SRAM unit has 8
rows of 4 weights, inputs of 7 bits, 3 of them in a cycle of 4 ns, and results of 12; a tile has 8
rows of 4 columns, inputs of 9 bits and results of 14. Activations have 6 bits in the buffer.
"""

from __future__ import annotations

from typing import Any

import pytest
import small
from small import close
from timed import charged_J, ends_ps, occupied, starts_ps, takes_ps

from cimsim.ir import Elementwise, Embedding, Linear, Op, Phase
from cimsim.mappers import DensePacking, OneBlockPerTile
from cimsim.simulation import Simulation, simulate

UNITS = small.machine(**small.UNEQUAL, weights_on="sram")
TILES = small.machine(
    **small.UNEQUAL,
    rram={"rows": 8, "columns": 4, "input_bits": 9, "dac_bits": 9, "output_bits": 14},
)
ADD_J, REGISTER_J = 0.03e-12, 0.02e-12 / 8
"""An addition of partial sums in SRAM units, a bit of one in its register."""
MAC_J, LINK_J, BUFFER_J, DRAM_J = 91e-15, 0.4e-12, 0.067e-12, 3.9e-12
"""A multiply-accumulate, a bit through the link, of the buffer and of DRAM."""

both_engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def layer(name: str = "layer", tokens: int = 3, **changes: Any) -> Linear:
    """A layer of 20 inputs and 6 outputs."""
    fields: dict[str, Any] = {
        "name": name, "inputs": (), "tokens": tokens, "weight": f"{name}.weight", "rows": tokens,
        "in_features": 20, "out_features": 6,
    }  # fmt: skip
    return Linear(**(fields | changes))


def run(*ops: Op, machine: Any = UNITS, **options: Any) -> Simulation:
    phase = Phase(name="prefill", tokens=max(op.tokens for op in ops), ops=ops)
    options = {"pipeline": "layer:1"} | options
    return simulate(small.workload_of("arrays", (phase,)), machine, **options)


# SRAM units --------------------------------------------------------------------------------------


@both_engines
def test_a_layer_on_sram_units(engine: Any) -> None:
    """Three row blocks by two column blocks: two levels of adders, a cycle each, then the link."""
    done = run(layer(), engine=engine)
    # read: 20 values of 6 bits, 8 inputs of 7 bits over the link
    assert takes_ps(done, "layer:read") == [[2000 + 300] * 3, [4000 + 700] * 3]
    # 3 cycles for 7 bits, 4 for the pipeline
    assert takes_ps(done, "layer:compute0.0") == [[7 * 4000] * 3]
    # two adder levels, 4 results of 12 bits over the link; 6 of them into the buffer
    assert takes_ps(done, "layer:send") == [[2 * 4000 + 4000 + 600] * 3, [2000 + 180] * 3]
    assert occupied(done, "layer:read") == (("buffer", 1), ("link", 6))
    assert occupied(done, "layer:send") == (("link", 6), ("buffer", 1))
    # columns of 4 and of 2 move in groups of their own, three row blocks each
    assert occupied(done, "layer:compute0.0") == (("sram", 3),)
    assert occupied(done, "layer:compute0.1") == (("sram", 3),)
    assert done.run.makespan_ps == 7000 + 3 * 28_000 + 14_780
    moved = 3 * (20 * 6 + 6 * 12)
    assert charged_J(done, "layer") == {
        "sram.products": close([3 * 20 * 6 * MAC_J]),
        "sram.accumulate": close([3 * 2 * 6 * ADD_J]),
        "sram.registers": close([3 * 3 * 6 * 12 * REGISTER_J]),
        "link.tile_link": close([moved * LINK_J]),
        "buffer.access": close([moved * BUFFER_J]),
    }
    times = done.report.unit_times
    assert (times["sram"].units, times["link"].units) == (6, 12)
    assert times["sram"].busy_s == close(3 * 28_000e-12)
    assert times["link"].busy_s == close(3 * (4700 + 12_600) * 1e-12 / 2)
    # 15 and 9 bytes at the 800 GB/s of all banks, in whole picoseconds
    assert times["buffer"].busy_s == close(3 * (19 + 12) * 1e-12)
    assert times["buffer"].units == 16


@pytest.mark.parametrize(
    ("row_blocks", "levels"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4)]
)
def test_sram_adders_have_a_level_for_every_doubling(row_blocks: int, levels: int) -> None:
    done = run(layer(in_features=8 * row_blocks - 1))
    assert takes_ps(done, "layer:send")[0] == [levels * 4000 + 4600] * 3
    spent = charged_J(done, "layer")
    if row_blocks == 1:
        assert not {"sram.accumulate", "sram.registers"} & set(spent)
    else:
        assert spent["sram.accumulate"] == close([3 * (row_blocks - 1) * 6 * ADD_J])
        assert spent["sram.registers"] == close([3 * row_blocks * 6 * 12 * REGISTER_J])


@both_engines
@pytest.mark.parametrize("group_tiles", [True, False])
@pytest.mark.parametrize(
    ("in_features", "shared", "passes"),
    [(1, 8, 1), (4, 2, 1), (4, 8, 4), (5, 2, 2), (7, 4, 4), (20, 1, 1), (20, 2, 2), (20, 8, 8)],
)
def test_a_layer_takes_a_pass_for_the_rows_that_have_multipliers(
    in_features: int, shared: int, passes: int, group_tiles: bool, engine: Any
) -> None:
    """Few rows, as those of a LoRA's B, lie at different multipliers; 8 fill a unit."""
    sram = {"rows_per_multiplier": shared, "sources": {"rows_per_multiplier": "assumed: for tests"}}
    machine = small.changed(UNITS, sram=sram)
    done = run(
        layer(in_features=in_features), machine=machine, engine=engine, group_tiles=group_tiles
    )
    takes = takes_ps(done, "layer:compute0.0")
    assert takes == [[(3 * passes + 4) * 4000] * 3]
    alone = run(layer(in_features=in_features), engine=engine)
    assert done.run.makespan_ps - alone.run.makespan_ps == 3 * 3 * (passes - 1) * 4000
    assert done.report.energy_by_component_J["sram.products"] == close(3 * in_features * 6 * MAC_J)


def test_a_small_layer_fills_part_of_a_unit() -> None:
    done = run(layer(in_features=4, out_features=2))
    assert takes_ps(done, "layer:read") == [[2000 + 60] * 3, [4000 + 350] * 3]
    assert takes_ps(done, "layer:compute0.0") == [[28_000] * 3]
    assert takes_ps(done, "layer:send") == [[4000 + 300] * 3, [2000 + 60] * 3]


@both_engines
def test_vectors_of_a_token_follow_each_other_in_the_unit(engine: Any) -> None:
    """Two vectors a token: the pipeline fills once, a transfer starts once and moves both."""
    done = run(layer(rows=6), engine=engine)
    assert takes_ps(done, "layer:read") == [[2000 + 2 * 300] * 3, [4000 + 2 * 700] * 3]
    assert takes_ps(done, "layer:compute0.0") == [[(2 * 3 + 4) * 4000] * 3]
    # two levels of adders and the head of the transfer come once
    sent = [[2 * 4000 + 4000 + 2 * 600] * 3, [2000 + 2 * 180] * 3]
    assert takes_ps(done, "layer:send") == sent
    moved = 6 * (20 * 6 + 6 * 12)
    assert charged_J(done, "layer") == {
        "sram.products": close([6 * 20 * 6 * MAC_J]),
        "sram.accumulate": close([6 * 2 * 6 * ADD_J]),
        "sram.registers": close([6 * 3 * 6 * 12 * REGISTER_J]),
        "link.tile_link": close([moved * LINK_J]),
        "buffer.access": close([moved * BUFFER_J]),
    }


@both_engines
def test_copies_take_tokens_in_turn_over_ports_of_their_own(engine: Any) -> None:
    """Each copy reads, computes and sends its own tokens; results leave in the order of tokens."""
    mapper = OneBlockPerTile(replicate=(("layer.weight", 2),))
    small_layer = layer(tokens=5, in_features=4, out_features=2)
    done = run(small_layer, mapper=mapper, engine=engine)
    for copy, tokens in enumerate((3, 2)):
        assert occupied(done, f"layer:read{copy}") == (("buffer", 1), ("link", 1))
        assert occupied(done, f"layer:send{copy}") == (("link", 1), ("buffer", 1))
        assert takes_ps(done, f"layer:read{copy}") == [[2060] * tokens, [4350] * tokens]
        assert takes_ps(done, f"layer:send{copy}") == [[4300] * tokens, [2060] * tokens]
        # 3 bytes of a read before it take all banks for 4 ps
        begun = [copy * 4 + 6410 + 28_000 * i for i in range(tokens)]
        assert starts_ps(done, f"layer:compute{copy}.0") == [begun]
    assert done.run.makespan_ps == 6410 + 3 * 28_000 + 4300 + 2060
    # a port is busy with its own tokens: 5 of them in and out, on 2 of 4 ports at a time
    assert done.report.unit_times["link"].busy_s == close(5 * (4350 + 4300) * 1e-12 / 4)


@pytest.mark.parametrize("machine", ["sram", "rram"])
@pytest.mark.parametrize(("copies", "rounds"), [(1, 8), (2, 4), (3, 3), (4, 2), (8, 1)])
def test_a_layer_that_its_link_bounds_gains_from_copies(
    copies: int, rounds: int, machine: str
) -> None:
    """Hops of 100 ns: the ports of a copy take 8 tokens in so many rounds of 400 ns and more.

    Copies that read at the same time wait a few picoseconds for each other at the banks.
    """
    slow = small.changed(UNITS if machine == "sram" else TILES, tile_link={"hop_ns": 100.0})
    mapper = OneBlockPerTile(replicate=(("layer.weight", copies),))
    done = run(layer(tokens=8, in_features=4, out_features=2), machine=slow, mapper=mapper)
    if machine == "sram":
        load, array, send = 2060 + 400_350, 28_000, 400_300 + 2060
    else:
        # 4 inputs of 9 bits and the registers; integration, 2 conversions and shift-and-add;
        # scaling, 2 results of 14 bits
        load, array, send = 2060 + 400_450 + 1000, 103_500, 1500 + 400_350 + 2070
    alone = load + array + send + (rounds - 1) * max(load, send)
    assert 0 <= done.run.makespan_ps - alone <= 8 * 4 * 3


@both_engines
def test_layers_that_share_a_unit_take_turns(engine: Any) -> None:
    """Two layers of 4 x 2 in a unit: port in, array and port out each serve one at a time."""
    one, two = (layer(name, 1, in_features=4, out_features=2) for name in ("one", "two"))
    done = run(one, two, mapper=DensePacking(), engine=engine)
    assert done.report.sram_units_used == 1
    for name in ("one", "two"):
        assert takes_ps(done, f"{name}:read") == takes_ps(done, f"{name}:send") == [[2060]]
        assert takes_ps(done, f"{name}:compute0.0") == [[4350], [28_000], [4300]]
        assert occupied(done, f"{name}:compute0.0") == (("link", 1), ("sram", 1), ("link", 1))
    assert starts_ps(done, "one:compute0.0") == [[2060], [6410], [34_410]]
    assert starts_ps(done, "two:compute0.0") == [[6410], [34_410], [62_410]]
    assert done.run.makespan_ps == 62_410 + 4300 + 2060


def test_a_unit_sends_while_it_is_loaded() -> None:
    """Three layers in a unit whose link takes 20 ns and more: the third is loaded meanwhile."""
    machine = small.changed(UNITS, tile_link={"hop_ns": 5.0})
    layers = [layer(name, 1, in_features=4, out_features=2) for name in ("one", "two", "three")]
    done = run(*layers, mapper=DensePacking(), machine=machine)
    assert done.report.sram_units_used == 1
    load, send = 20_350, 20_300
    assert takes_ps(done, "one:compute0.0") == [[load], [28_000], [send]]
    assert starts_ps(done, "one:compute0.0") == [[2060], [22_410], [50_410]]
    assert starts_ps(done, "two:compute0.0") == [[22_410], [50_410], [78_410]]
    assert starts_ps(done, "three:compute0.0") == [[42_760], [78_410], [106_410]]


# Tiles -------------------------------------------------------------------------------------------


def test_vectors_of_a_token_on_tiles() -> None:
    """Two vectors a token are loaded, integrated and sent behind one head of the transfer.

    The first is converted while the second is integrated, or for longer where that is longer.
    """
    twice = layer(rows=6, in_features=16, out_features=4)
    done = run(twice, machine=TILES)
    # 16 values of 6 bits; 8 inputs of 9 bits and 1 ns into the registers
    read = 4000 + 2 * (900 + 1000)
    assert takes_ps(done, "layer:read") == [[2000 + 2 * 240] * 3, [read] * 3]
    assert takes_ps(done, "layer:compute0.0") == [[100_000] * 3] * 2
    assert takes_ps(done, "layer:convert0.0") == [[4 * 750 + 2000] * 3] * 2
    # one level of adders, rounds of scaling, 4 results of 14 bits each
    send = 1000 + 4000 + 2 * (1500 + 700)
    assert takes_ps(done, "layer:send") == [[send] * 3, [2000 + 2 * 140] * 3]
    ends = 2480 + read + 3 * 200_000 + 5000 + send + 2280
    assert done.run.makespan_ps == ends
    assert done.report.unit_times["adc"].busy_s == close(6 * 5000e-12)
    assert occupied(done, "layer:compute0.0") == (("rram", 2),) * 2
    assert occupied(done, "layer:convert0.0") == (("adc", 2),) * 2
    moved = 6 * (16 * 6 + 4 * 14)
    energy = charged_J(done, "layer")
    assert energy["link.tile_link"] == close([moved * LINK_J])
    assert energy["buffer.access"] == close([moved * BUFFER_J])
    assert energy["rram.cells"] == close([6 * 16 * 4 * 7e-15])
    assert energy["rram.accumulate"] == close([6 * 4 * 0.04e-12])
    assert energy["rram.registers"] == close([6 * (16 * 9 + 2 * 4 * 14) / 8 * 0.06e-12])
    slow = small.changed(TILES, rram={"adc_time_ns": 40.0})
    done = run(twice, machine=slow)
    assert takes_ps(done, "layer:compute0.0") == [[100_000] * 3] * 2
    assert takes_ps(done, "layer:convert0.0") == [[4 * 40_000 + 2000] * 3] * 2
    # the converter bounds it: six vectors after the first integration
    assert done.run.makespan_ps == 2480 + read + 100_000 + 6 * 162_000 + send + 2280
    assert done.report.unit_times["adc"].busy_s == close(6 * 162_000e-12)


@both_engines
@pytest.mark.parametrize("adc_ns", [0.75, 40.0])
def test_vectors_of_a_token_take_as_long_as_tokens_of_a_vector(adc_ns: float, engine: Any) -> None:
    """Tiles bound the layer: 6 vectors take them as long in 1, 2, 3 and 6 tokens."""
    stripes = {"interleave_bytes": 4096}
    machine = small.changed(TILES, rram={"adc_time_ns": adc_ns}, buffer=stripes)
    shape = {"rows": 6, "in_features": 16, "out_features": 4}
    steady = 6 * max(100_000, 4 * round(adc_ns * 1000) + 2000)
    for tokens in (1, 2, 3, 6):
        done = run(layer(tokens=tokens, **shape), machine=machine, engine=engine)
        each = 6 // tokens
        read = 2000 + 240 * each + 4000 + 1900 * each
        send = 1000 + 4000 + 2200 * each + 2000 + 140 * each
        once = 4 * round(adc_ns * 1000) + 2000 if steady == 600_000 else 100_000
        assert done.run.makespan_ps == read + steady + once + send


def test_layers_that_share_a_tile_take_turns() -> None:
    """A converter is not shared: the second layer integrates while the first converts."""
    one, two = (layer(name, 1, in_features=4, out_features=2) for name in ("one", "two"))
    done = run(one, two, mapper=DensePacking(), machine=TILES)
    assert done.report.tiles_used == 1
    # 4 inputs of 9 bits and the registers; 2 results of 14 bits after one round of scaling
    load, send = 4000 + 450 + 1000, 1500 + 4000 + 350
    assert takes_ps(done, "two:compute0.0") == [[load], [100_000]]
    assert takes_ps(done, "two:convert0.0") == [[2 * 750 + 2000], [send]]
    assert starts_ps(done, "one:compute0.0") == [[2060], [2060 + load]]
    assert starts_ps(done, "two:compute0.0") == [[2060 + load], [102_060 + load]]
    assert starts_ps(done, "two:convert0.0") == [[202_060 + load], [205_560 + load]]
    assert done.run.makespan_ps == 205_560 + load + send + 2000 + 70


@pytest.mark.parametrize("machine", [UNITS, TILES], ids=["sram", "rram"])
def test_a_cluster_beside_its_array_gets_results_without_the_buffer(machine: Any) -> None:
    read = Elementwise(name="act", inputs=("layer",), tokens=3, elements=18, functions={"relu": 1})
    out_bits = 12 if machine is UNITS else 14
    done = run(layer(), read, machine=machine)
    assert [unit for unit, _ in occupied(done, "layer:send")] == ["link"]
    assert charged_J(done, "layer")["buffer.access"] == close([3 * 120 * BUFFER_J])
    moved = 3 * (120 + 6 * out_bits)
    assert charged_J(done, "layer")["link.tile_link"] == close([moved * LINK_J])
    both = run(layer(), read, layer("next", inputs=("layer",), in_features=6), machine=machine)
    assert [unit for unit, _ in occupied(both, "layer:send")] == ["link", "buffer"]
    assert charged_J(both, "layer")["buffer.access"] == close([moved * BUFFER_J])


# Look-ups ----------------------------------------------------------------------------------------


def table(name: str, tokens: int, columns: int, rows: int) -> Embedding:
    return Embedding(
        name=name, inputs=(), tokens=tokens, weight=f"{name}.weight", rows=rows, columns=columns
    )


@both_engines
def test_a_look_up_reads_dram_and_writes_the_buffer(engine: Any) -> None:
    """Two rows of 10 values of 16 bits a token: 100 ns and 3.90625 ps a bit, then the buffer."""
    done = run(table("words", 4, 10, 8), engine=engine)
    assert takes_ps(done, "words:look-up") == [[100_000 + 1250] * 4, [2000 + 800] * 4]
    assert occupied(done, "words:look-up") == (("dram", 1), ("buffer", 1))
    assert charged_J(done, "words") == {
        "dram.access": close([4 * 320 * DRAM_J]),
        "buffer.access": close([4 * 320 * BUFFER_J]),
    }
    assert done.run.makespan_ps == 4 * (101_250 + 2800)
    times = done.report.unit_times
    # 40 bytes at 64 GB/s and at 800 GB/s
    assert times["dram"].busy_s == close(4 * 625e-12)
    assert times["buffer"].busy_s == close(4 * 50e-12)


@both_engines
def test_look_ups_share_the_channels(engine: Any) -> None:
    """Three tables on two channels: 20 bytes each take both for 312.5 ps, latencies overlap."""
    tables = [table(name, 1, 10, 1) for name in ("one", "two", "three")]
    done = run(*tables, engine=engine)
    assert [starts_ps(done, f"{t.name}:look-up")[0] for t in tables] == [[0], [313], [626]]
    assert ends_ps(done, "three:look-up") == [2 * 313 + 100_625 + 2400]


@both_engines
def test_transfers_share_the_banks(engine: Any) -> None:
    """Three tokens of three layers at once on two banks: 3 bytes take both for 30 ps."""
    machine = small.changed(UNITS, buffer={"banks": 2})
    layers = [layer(name, 1, in_features=4, out_features=2) for name in ("one", "two", "three")]
    done = run(*layers, machine=machine, engine=engine)
    assert [starts_ps(done, f"{op.name}:read")[0] for op in layers] == [[0], [30], [60]]
    assert done.run.makespan_ps == 2 * 30 + 2060 + 4350 + 28_000 + 4300 + 2060
