"""Stages of a cluster against closed forms by hand: time to the picosecond, energy to rounding.

The machine has numbers that tell terms apart, and unlike bandwidths of link and buffer. A cycle is
1250 ps; a word is two values. Nothing here calls an equation of `cimsim.costs`; cycles of
the matrix engine are those of its RTL (`data/redmule_cycles_sample.csv`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import small
from small import close

from cimsim.ir import Elementwise, Embedding, Linear, MatMul, Move, Norm, Op, Phase, Reduce, Softmax
from cimsim.simulation import simulate
from cimsim.spec import Architecture

CYCLE_PS = 1250
ONE_STRIPE = {"banks": 1000, "interleave_bytes": 2**20}
"""A transfer lies in one of many banks: its share of all of them is shorter than its latency."""
SLOW_BUFFER: dict[str, Any] = {
    "cluster_link": {"bandwidth_GBps": 8.0, "hop_ns": 1.5, "hops": 3, "energy_pJ_per_bit": 0.5},
    "dram": {"interleave_bytes": 2**20},
    "buffer": {"bandwidth_GBps": 5.0, "access_ns": 2.5, "energy_pJ_per_bit": 0.07, **ONE_STRIPE},
}
SLOW_LINK: dict[str, Any] = {
    "cluster_link": {"bandwidth_GBps": 5.0, "hop_ns": 1.5, "hops": 3, "energy_pJ_per_bit": 0.5},
    "dram": {"interleave_bytes": 2**20},
    "buffer": {"bandwidth_GBps": 8.0, "access_ns": 2.5, "energy_pJ_per_bit": 0.07, **ONE_STRIPE},
}
HEAD_PS = 3 * 1500 + 2500
MEETING_PS = 2 * 3 * 1500 + 7 * CYCLE_PS
CORE = {
    "stream_cycles_per_word": 3.0, "convert_cycles_per_word": 5.0, "select_cycles_per_word": 7.0,
    "divide_cycles_per_element": 10.5, "root_cycles_per_element": 11.5,
    "power_cycles_per_element": 50.5,
    "sine_cycles_per_element": 40.5, "sigmoid_cycles_per_word": 0.5,
    "silu_cycles_per_word": 1.0, "tanh_cycles_per_word": 2.5, "erf_cycles_per_word": 3.0,
    "gelu_cycles_per_word": 4.5, "layer_norm_cycles_per_word": 5.0,
    "rms_norm_cycles_per_word": 3.0, "norm_row_cycles": 13.0,
    "reduce_cycles_per_word": 1.0, "reduce_cycles_per_level": 2.5, "reduce_store_cycles": 1.0,
    "softmax_row_cycles": 17.0,
    "stream_setup_cycles": 11, "tcdm_contention_ratio": 1.25, "product_utilisation_ratio": 0.625,
    "least_part_elements": 10,
}  # fmt: skip
SUPPLY = {"energy_voltage_V": 0.7, "reference_clock_MHz": 800.0, "reference_voltage_V": 0.7}
"""At the clock of the machine energies are those of the file."""
PMCA: dict[str, Any] = {
    "cluster_count": 1, "pool_clusters": 1, "cores": 3, "simd_width": 2, "clock_MHz": 800.0,
    "dma_bytes_per_cycle": 16, "dma_setup_cycles": 30, "barrier_cycles": 7, "exp_cycles": 9.0,
    "softmax_other_cycles_per_word": 4.0, "merge_cycles_per_element": 0.375,
    "core_energy_pJ_per_cycle": 8.0, "engine_energy_pJ_per_cycle": 70.0,
    "shared_energy_pJ_per_cycle": 5.0, "tcdm_energy_pJ_per_byte": 0.25,
    "dma_energy_pJ_per_byte": 0.125, "supply": SUPPLY, "core": CORE,
}  # fmt: skip


def clusters(*, ports: dict[str, Any] = SLOW_BUFFER, **changes: Any) -> Architecture:
    return small.machine(pmca={**PMCA, **changes}, **ports)


@dataclass(frozen=True)
class Found:
    """What a simulation says of its clusters: makespan, and energies of parts, link and buffer."""

    makespan_ps: int
    parts_J: dict[str, float]
    link_J: float
    buffer_J: float


def run(*ops: Op, machine: Architecture, pipeline: str) -> Found:
    phase = Phase(name="prefill", tokens=ops[0].tokens, ops=ops)
    done = simulate(small.workload_of("ops", (phase,), 8), machine, pipeline=pipeline)
    parts = done.report.energy_by_component_J
    of_clusters = {n.removeprefix("pmca."): e for n, e in parts.items() if n.startswith("pmca.")}
    return Found(
        done.run.makespan_ps, of_clusters, parts["link.cluster_link"], parts["buffer.access"]
    )


def norm(tokens: int, kind: Any = "layer") -> Norm:
    return Norm(name="norm", inputs=(), tokens=tokens, norm=kind, rows=tokens, columns=20)


def energies(
    found: Found, cycles: float, moved_bytes: int, *,
    cores: int, engine: int = 0, touched: int, other_bits: int = 0,
) -> None:  # fmt: skip
    """Clusters on for `cycles` in all at 5 pJ, `cores` cycles of a core at 8 pJ, `engine` cycles at
    70 pJ; `touched` bytes and those moved pass the TCDM at 0.25 pJ, those moved the DMA at 0.125,
    and link and buffer once. `other_bits` are the buffer's alone."""
    parts = {
        "shared": 5e-12 * cycles, "cores": 8e-12 * cores, "engine": 70e-12 * engine,
        "tcdm": 0.25e-12 * (touched + moved_bytes), "dma": 0.125e-12 * moved_bytes,
    }  # fmt: skip
    assert found.parts_J == {part: close(energy) for part, energy in parts.items() if energy}
    assert found.link_J == close(moved_bytes * 8 * 0.5e-12)
    assert found.buffer_J == close((moved_bytes * 8 + other_bits) * 0.07e-12)


# Row kernels -------------------------------------------------------------------------------------

DRAIN_20_PS = HEAD_PS + 32 * CYCLE_PS  # 20 bytes: 2 beats and a set-up, 40 ns; 4 ns at 5 GB/s
DRAIN_40_PS = HEAD_PS + 33 * CYCLE_PS  # 40 bytes: 3 beats
DRAIN_120_PS = HEAD_PS + 38 * CYCLE_PS  # 120 bytes: 8 beats


def test_a_norm_shares_a_single_row_between_the_cores() -> None:
    """A token has 20 values, 7 on the busiest of 3 cores: 7 * 2.5 * 1.25 = 21.875, and 13 a row;
    11 to set up; mean and variance are reduced with a barrier of 7 and a fold each, two levels
    of 2.5 for three cores and a store of 1. Blocks follow each other, the last is drained."""
    found = run(norm(6), machine=clusters(), pipeline="layer:1")
    assert found.makespan_ps == 6 * (11 + 61) * CYCLE_PS + DRAIN_20_PS
    # 3 * 60.875 and 3 * 11; each of 20 values is touched 6 times: 3 passes, gamma and beta
    energies(found, 6 * 72, 120, cores=6 * (183 + 33), touched=6 * 20 * 6 * 2)


def test_an_rms_norm_reduces_once() -> None:
    """7 * 1.5 * 1.25 = 13.125, 13 a row, a barrier and a fold; 40 would be 20 on one core."""
    found = run(norm(6, "rms"), machine=clusters(), pipeline="layer:1")
    assert found.makespan_ps == 6 * (11 + 40) * CYCLE_PS + DRAIN_20_PS
    energies(found, 6 * 51, 120, cores=6 * (118 + 33), touched=6 * 20 * 4 * 2)  # 3 * 39.125


def test_a_norm_deals_rows_whole_where_there_are_several() -> None:
    """Two rows on three cores: one row each, 20 * 2.5 * 1.25 + 13 = 75.5. The third core sleeps."""
    found = run(norm(6), machine=clusters(), pipeline="layer:2")
    assert found.makespan_ps == 3 * (11 + 76) * CYCLE_PS + DRAIN_40_PS
    energies(found, 3 * 87, 120, cores=3 * (151 + 22), touched=120 * 6 * 2)


@pytest.mark.parametrize(
    ("kind", "cycles", "cores", "touches"), [("layer", 151, 453, 6), ("rms", 101, 303, 4)]
)
def test_a_norm_of_all_tokens_at_once(kind: str, cycles: int, cores: int, touches: int) -> None:
    """Two rows a core: 40 * 2.5 * 1.25 + 26 = 151, and 40 * 1.5 * 1.25 + 26 = 101."""
    found = run(norm(6, kind), machine=clusters(), pipeline="layer:6")
    assert found.makespan_ps == (11 + cycles) * CYCLE_PS + DRAIN_120_PS
    energies(found, 11 + cycles, 120, cores=cores + 33, touched=120 * touches * 2)


def softmax(tokens: int, heads: int) -> Softmax:
    return Softmax(name="softmax", inputs=(), tokens=tokens, rows=heads * tokens, columns=10)


@pytest.mark.parametrize(
    ("block", "cycles", "cores", "drain_ps"),
    [
        (6, 519, 1557, DRAIN_120_PS),  # 4 rows a core: 40 * (9 + 2) + 4 * 17 = 508
        (2, 265, 541, DRAIN_40_PS),  # 4 rows, 2 on the busiest core: 20 * 11 + 34 = 254
        (1, 138, 276, DRAIN_20_PS),  # 2 rows, 1 on the busiest core: 10 * 11 + 17 = 127
    ],
)
def test_a_softmax(block: int, cycles: int, cores: int, drain_ps: int) -> None:
    """Two heads. No contention: computing bounds it. A row takes 127 cycles of its core, and each
    core that has one 11: three cores, but two of them for two rows. Five touches an element."""
    found = run(softmax(6, 2), machine=clusters(), pipeline=f"layer:{block}")
    assert found.makespan_ps == 6 // block * cycles * CYCLE_PS + drain_ps
    energies(found, 6 // block * cycles, 120, cores=6 // block * cores, touched=120 * 5 * 2)


def test_a_token_is_split_over_the_clusters_of_a_pool() -> None:
    """4 heads on 2 clusters: 2 rows of 10 each, 138 cycles on either, and 20 bytes to drain.

    They meet over 2 * 3 hops and a barrier of 7 cycles; the second waits 4 ps for the banks."""
    machine = clusters(cluster_count=2, pool_clusters=2)
    found = run(softmax(1, 4), machine=machine, pipeline="layer:1")
    assert found.makespan_ps == 138 * CYCLE_PS + MEETING_PS + 4 + DRAIN_20_PS
    on = 2 * (138 + MEETING_PS / CYCLE_PS)
    energies(found, on, 40, cores=2 * 276, touched=40 * 5 * 2)


def test_blocks_go_round_the_clusters_of_a_pool() -> None:
    machine = clusters(cluster_count=2, pool_clusters=2)
    found = run(softmax(6, 2), machine=machine, pipeline="layer:2")
    assert found.makespan_ps == 2 * 265 * CYCLE_PS + DRAIN_40_PS
    energies(found, 3 * 265, 120, cores=3 * 541, touched=120 * 5 * 2)


def test_a_reduction() -> None:
    """Six rows of 20 to a value each; two lanes are a level of 2.5 and a store of 1: 40 * 0.625 +
    2 * 3.5 = 32; a row alone: 12.5 + 3.5, and no sharing: 10 * 0.625 + 3.5 + 7 + 3.5.

    A byte or six are a beat of the DMA, which is slower than the single row."""
    op = Reduce(name="sum", inputs=(), tokens=6, elements=6, inputs_per_output=20, function="sum")
    drain_ps = HEAD_PS + 31 * CYCLE_PS
    found = run(op, machine=clusters(), pipeline="layer:6")
    assert found.makespan_ps == (11 + 32) * CYCLE_PS + drain_ps
    energies(found, 43, 6, cores=75 + 21 + 33, touched=120 * 2)
    found = run(op, machine=clusters(), pipeline="layer:1")
    assert found.makespan_ps == (11 + 16) * CYCLE_PS + 6 * drain_ps
    energies(found, 6 * 27, 6, cores=6 * 27, touched=120 * 2)


# Elementwise -------------------------------------------------------------------------------------


def pointwise(name: str, *inputs: str, tokens: int = 6, width: int = 20, **times: int) -> Op:
    return Elementwise(
        name=name, inputs=inputs, tokens=tokens, elements=tokens * width, functions=times
    )


@pytest.mark.parametrize(("block", "cycles"), [(6, 1161), (2, 414), (1, 213)])
def test_an_elementwise_chain(block: int, cycles: int) -> None:
    """2 * 3 / 2 + 10.5 + (9 + 1 / 2) = 23 cycles an element; 40, 14 or 7 on the busiest core:
    40 * 23 * 1.25 = 1150, 14 * 28.75 = 402.5, 7 * 28.75 = 201.25, and 11 to set up. Each of four
    functions touches two values an element."""
    chain = pointwise("chain", add=2, div=1, silu=1)
    found = run(chain, machine=clusters(), pipeline=f"layer:{block}")
    drain_ps = {6: DRAIN_120_PS, 2: DRAIN_40_PS, 1: DRAIN_20_PS}[block]
    assert found.makespan_ps == 6 // block * cycles * CYCLE_PS + drain_ps
    cores = 120 * 23 * 125 // 100 + 6 // block * 33
    energies(found, 6 // block * cycles, 120, cores=cores, touched=120 * 4 * 2 * 2)


@pytest.mark.parametrize(
    ("function", "cycles"),
    [
        ("add", 75), ("to", 125), ("where", 175), ("div", 525), ("sqrt", 575), ("rsqrt", 1100),
        ("pow", 2525), ("sin", 2025), ("clamp", 150), ("exp", 450), ("log", 450),
        ("sigmoid", 463), ("silu", 475), ("tanh", 513), ("erf", 525), ("gelu", 563),
    ],
)  # fmt: skip
def test_functions_one_by_one(function: str, cycles: int) -> None:
    """40 elements a core, 1.25 times as long by contention: 50 times the cycles of one."""
    op = pointwise("op", **{function: 1})
    found = run(op, machine=clusters(), pipeline="layer:6")
    assert found.makespan_ps == (11 + cycles) * CYCLE_PS + DRAIN_120_PS


def test_operations_in_a_row_are_set_up_each_and_drained_once() -> None:
    ops = (pointwise("a", mul=1), norm(6).model_copy(update={"inputs": ("a",)}))
    ops = (*ops, pointwise("b", "norm", add=1), Move(name="m", inputs=("b",), tokens=6, elements=6))
    found = run(*ops, machine=clusters(), pipeline="layer:6")
    cycles = (11 + 75) + (11 + 151) + (11 + 75)
    assert found.makespan_ps == cycles * CYCLE_PS + HEAD_PS + 31 * CYCLE_PS  # 6 bytes of `m`
    energies(found, cycles, 6, cores=258 + 486 + 258, touched=120 * 2 * (2 + 6 + 2))


def test_a_token_is_cut_into_parts_that_are_large_enough() -> None:
    """20 values on three clusters make two parts of at least 10: 4 on the busiest of the cores.

    4 * 10.5 * 1.25 = 52.5, and they meet; 10 bytes are a beat, and 2 ps of all banks."""
    machine = clusters(cluster_count=3, pool_clusters=3)
    found = run(pointwise("op", tokens=1, div=1), machine=machine, pipeline="layer:1")
    computed_ps = (11 + 53) * CYCLE_PS + MEETING_PS
    assert found.makespan_ps == computed_ps + 2 + HEAD_PS + 31 * CYCLE_PS
    on = 2 * computed_ps / CYCLE_PS
    energies(found, on, 20, cores=2 * (132 + 33), touched=20 * 2 * 2)  # 10 * 13.125


# DMA ---------------------------------------------------------------------------------------------


def table(tokens: int, columns: int) -> Embedding:
    """Rows of 16-bit values from DRAM, at 32 GB/s after 100 ns, to the buffer."""
    return Embedding(
        name="table", inputs=(), tokens=tokens, weight="table.weight", rows=tokens,
        columns=columns,
    )  # fmt: skip


@pytest.mark.parametrize("ports", [SLOW_BUFFER, SLOW_LINK], ids=["buffer", "link"])
def test_a_transfer_moves_at_the_slower_of_link_and_buffer(ports: dict[str, Any]) -> None:
    """4 x 300 bytes at 5 GB/s take 240 ns, 105 cycles of the DMA 131.25 ns; 7 ns before them.

    Each row of the table, 600 bytes, comes from DRAM and is stored at the buffer's own rate.
    """
    copy = pointwise("copy", "table", tokens=4, width=300, copy=1)
    found = run(table(4, 300), copy, machine=clusters(ports=ports), pipeline="layer:4")
    rate = ports["buffer"]["bandwidth_GBps"]
    stored_ps = 4 * (100_000 + 18_750 + 2500 + round(600_000 / rate))
    cycles = 11 + 750  # 400 elements a core: 400 * 1.5 * 1.25
    transfer_ps = HEAD_PS + 240_000
    assert found.makespan_ps == stored_ps + 2 * transfer_ps + cycles * CYCLE_PS
    used = {"cores": 2250 + 33, "touched": 1200 * 2 * 2}
    energies(found, cycles, 2 * 1200, **used, other_bits=4 * 300 * 16)


@pytest.mark.parametrize(("beat_bytes", "cycles"), [(1, 1230), (3, 430), (7, 202), (4, 330)])
def test_a_transfer_moves_at_the_beats_of_the_dma_where_those_are_slower(
    beat_bytes: int, cycles: int
) -> None:
    """30 cycles to set up and 1200, 400, 172 or 300 beats; 240 ns at 5 GB/s are 192 cycles."""
    machine = clusters(dma_bytes_per_cycle=beat_bytes)
    found = run(pointwise("op", tokens=4, width=300, copy=1), machine=machine, pipeline="layer:4")
    assert found.makespan_ps == 761 * CYCLE_PS + HEAD_PS + cycles * CYCLE_PS
    energies(found, 761, 1200, cores=2250 + 33, touched=1200 * 2 * 2)


# Products ----------------------------------------------------------------------------------------


def product(batch: int, stationary: int) -> tuple[Op, ...]:
    """`batch` products 24 x 24 x 24 with operands of 2304 and `stationary` * 576 values."""
    sides = (
        pointwise("x", tokens=24, width=batch * 24, add=1),
        pointwise("w", tokens=24, width=stationary * 24, add=1),
    )
    op = MatMul(
        name="product", inputs=("x", "w"), tokens=24, batch=batch, m=24, k=24, n=24,
        stationary_batch=stationary, stationary_token_axis="none",
    )  # fmt: skip
    return (*sides, op)


def sides_ps(width: int) -> int:
    """Time until `w` is in the buffer: width * 24 / 3 values a core, and its drain."""
    return (11 + width * 24 // 3 * 15 // 8) * CYCLE_PS + HEAD_PS + width * 24 * 200


@pytest.mark.parametrize("engine", [True, False])
def test_a_product(engine: bool) -> None:
    """24 x 24 x 24 takes 661 cycles (RTL) and 60 of software; on cores 13824 multiply-adds at
    0.625 * 6 = 3.75 a cycle, and a barrier: 3687 + 7. Four of them.

    `x` is computed beside the product: 768 elements a core * 1.5 * 1.25 = 1440. Then 2304 values
    of `w` come in and 2304 results go out, 460.8 ns each way."""
    machine = clusters() if engine else clusters(matrix_engine=None)
    found = run(*product(4, 4), machine=machine, pipeline="layer:24")
    each = 661 + 60 if engine else 3687 + 7
    cycles = 1451 + 4 * each
    moved_ps = 2 * (HEAD_PS + 460_800)
    assert found.makespan_ps == sides_ps(96) + cycles * CYCLE_PS + moved_ps
    touched = 2 * 2304 * 2 * 2
    if engine:  # of 32 bytes: two words of a row of X for two tiles, W for six, Y and Z
        touched += 4 * 32 * (24 * 2 * 2 + 24 * 6 + 2 * 24 * 2)
        used = {"cores": 2 * 4353 + 4 * 60, "engine": 4 * 661, "touched": touched}
    else:
        touched += 4 * 24 * 24 * 24 * 2
        used = {"cores": 2 * 4353 + 4 * 3 * (3687 + 7), "touched": touched}
    energies(found, cycles + 1451, 3 * 2304, **used)


def test_products_that_share_an_operand_are_one_of_more_rows() -> None:
    """Two of 48 rows: 12 tiles * 4 * 24 + 85 = 1237 cycles, as 24 rows are 6 * 96 + 85 = 661."""
    found = run(*product(4, 2), machine=clusters(), pipeline="layer:24")
    cycles = 1451 + 2 * (1237 + 60)
    moved_ps = 2 * HEAD_PS + 230_400 + 460_800
    assert found.makespan_ps == sides_ps(48) + cycles * CYCLE_PS + moved_ps
    touched = (2304 + 1152) * 2 * 2 + 2 * 32 * (48 * 2 * 2 + 24 * 12 + 2 * 48 * 2)
    used = {"cores": 4353 + 2193 + 2 * 60, "engine": 2 * 1237, "touched": touched}
    energies(found, cycles + 11 + 720, 1152 + 1152 + 2304, **used)


# LoRA beside a tile ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A layer with LoRA of rank 8: sizes, and cycles of X.A and (X.A).B by RTL."""

    inputs: int
    outputs: int
    block: int
    first: int
    second: int

    def ops(self, tokens: int) -> tuple[Op, ...]:
        def linear(name: str, source: tuple[str, ...], m: int, n: int, **more: Any) -> Linear:
            return Linear(
                name=name, inputs=source, tokens=tokens, rows=tokens, weight=f"{name}.weight",
                in_features=m, out_features=n, **more,
            )  # fmt: skip

        return (
            linear("q", (), self.inputs, self.outputs),
            linear("q.lora_A", (), self.inputs, 8, role="lora_a", adapts="q"),
            linear("q.lora_B", ("q.lora_A",), 8, self.outputs, role="lora_b", adapts="q"),
            pointwise("q/add", "q.lora_B", "q", tokens=tokens, width=self.outputs, mul=1, add=1),
        )


ONE = Pair(128, 128, 1, 591, 348)
MANY = Pair(384, 512, 16, 3157, 2203)


def beside_a_tile(**changes: Any) -> Architecture:
    """One tile of 512 x 512 with one cluster."""
    tile = {"rows": 512, "columns": 512, "tile_count": 1}
    return small.machine(
        pmca={**PMCA, "weights_per_cluster": 512 * 512, **changes}, rram=tile, **SLOW_BUFFER
    )


def tile_ps(pair: Pair, tokens: int) -> int:
    """Read, compute, convert and send once, and the slowest of them for every further token.

    Buffer 2.5 ns and 5 GB/s, link 4 ns and 8 GB/s, registers 1 ns; 100 ns; 16 conversions of
    0.75 ns and 2 ns; 1.5 ns for 4 outputs, link at 2 bytes a value: straight to the cluster.
    """
    read = 2500 + pair.inputs * 200 + 4000 + pair.inputs * 125 + 1000
    send = pair.outputs * 375 + 4000 + pair.outputs * 250
    return read + 100_000 + 14_000 + send + (tokens - 1) * max(read, 100_000, send)


def moved_ps(total_bytes: int) -> int:
    """A transfer that the buffer's 5 GB/s bound."""
    return HEAD_PS + total_bytes * 200


MERGED = 3 * 2 * 16 * 512
"""Bytes of X.W, the branch and their sum."""
PORT = (16 * 24 + 384 * 2 + 2 * 16) + (16 * 32 + 8 * 64 + 2 * 16 * 32)
"""Words of X, W, and Y and Z: two tiles for X.A, 64 for (X.A).B."""


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("engine", [True, False])
def test_lora_of_a_block_of_tokens(split: bool, engine: bool) -> None:
    """6144 bytes of X and 14336 of A and B come in, 8192 go out. 0.375 cycles an output to merge.

    The tile has taken its first vector, 384 bytes at 5 TB/s, from the banks before the DMA begins.
    On the cores 16 * 384 * 8 / 3.75 = 13107.2 and 16 * 8 * 512 / 3.75 = 17476.3 cycles, and a
    barrier each. Split: X.A does not wait for the tile."""
    machine = beside_a_tile() if engine else beside_a_tile(matrix_engine=None)
    found = run(*MANY.ops(16), machine=machine, pipeline="split:16" if split else "layer:16")
    first, second = (3157 + 60, 2203 + 60) if engine else (13108 + 7, 17477 + 7)
    second += 3072 + 7
    fetched, there = 77 + moved_ps(6144 + 14336), tile_ps(MANY, 16)
    if split:
        ready = max(fetched + first * CYCLE_PS, there)
    else:
        ready = max(fetched, there) + first * CYCLE_PS
    assert fetched < there < fetched + first * CYCLE_PS
    assert found.makespan_ps == ready + second * CYCLE_PS + moved_ps(8192)
    used = {"cores": 3 * (first + second), "touched": 2 * 16 * 8 * (384 + 512) + MERGED}
    if engine:
        used = {"cores": 120 + 3 * 3079, "engine": 3157 + 2203, "touched": 32 * PORT + MERGED}
    energies(found, first + second, 6144 + 14336 + 8192, **used, other_bits=16 * 384 * 8)


def test_lora_of_two_blocks_fetches_a_and_b_once() -> None:
    found = run(*MANY.ops(32), machine=beside_a_tile(), pipeline="layer:16")
    cycles = 3157 + 60 + 2203 + 60 + 3072 + 7
    first = tile_ps(MANY, 16)
    assert tile_ps(MANY, 32) < first + cycles * CYCLE_PS, "the cluster is the slower one"
    assert found.makespan_ps == first + 2 * cycles * CYCLE_PS + moved_ps(8192)
    used = {"cores": 2 * (120 + 3 * 3079), "engine": 2 * (3157 + 2203)}
    moved = 2 * 6144 + 14336 + 2 * 8192
    touched = 2 * (32 * PORT + MERGED)
    energies(found, 2 * cycles, moved, **used, touched=touched, other_bits=32 * 384 * 8)


@pytest.mark.parametrize("products_on", ["engine", "faster", "cores"])
def test_lora_of_one_token_a_block(products_on: str) -> None:
    """651 cycles for X.A, 408 for (X.A).B, 48 to merge and 7: slower than the tile. On the cores
    either product is 1024 multiply-adds at 3.75 a cycle and a barrier, 274 + 7: they are faster.

    Bytes in: 128 of X, 4096 of A and B with the first block alone; out 128: 8 beats and a set-up.
    The first block waits for A and B, not for the tile."""
    machine = beside_a_tile(products_on=products_on)
    found = run(*ONE.ops(5), machine=machine, pipeline="layer:1")
    products = 591 + 60 + 348 + 60 if products_on == "engine" else 2 * (274 + 7)
    cycles = products + 48 + 7
    assert moved_ps(128 + 4096) > tile_ps(ONE, 5)
    drained = HEAD_PS + 38 * CYCLE_PS
    before = 26  # 128 bytes of the tile's first vector
    assert found.makespan_ps == before + moved_ps(4224) + 5 * cycles * CYCLE_PS + drained
    merged = 3 * 2 * 128
    used = {"cores": 5 * 3 * (products + 48 + 7), "touched": 5 * (2 * 2 * 1024 + merged)}
    if products_on == "engine":  # all 8 rows of Y and Z; the one tile of X.A fetches Y twice
        words = (8 + 128 + 3 * 8) + 8 * (1 + 8 + 2 * 8)
        touched = 5 * (32 * words + merged)
        used = {"cores": 5 * (120 + 3 * 55), "engine": 5 * 939, "touched": touched}
    energies(found, 5 * cycles, 5 * 128 + 4096 + 5 * 128, **used, other_bits=5 * 128 * 8)


AFTER_THE_BANKS_PS = 77 + 10_650 - HEAD_PS
"""The tile's first vector goes first; 53248 bytes at 5 TB/s keep the banks beyond the latency."""


def test_what_does_not_fit_the_tcdm_passes_in_tiles() -> None:
    """2 * (16 * 384 + 8 * 896 + 16 * 8 + 16 * 512) = 43264 bytes are 2304 above 40 KiB. Beside X.A
    there is room for two tiles of 16 rows, 8 of A or B and 416 columns: all inputs, and two of
    256 outputs, 32 tiles of the engine at 33 and 91. X.W, 16384 bytes, goes out and in."""
    found = run(*MANY.ops(16), machine=beside_a_tile(tcdm_KiB=40.0), pipeline="token:16")
    cycles = 3157 + 60 + 2 * (1147 + 60) + 3072 + 2 * 7
    block = 6144 + 14336 + 2 * 16384
    ready = max(AFTER_THE_BANKS_PS + moved_ps(block), tile_ps(MANY, 16))
    assert found.makespan_ps == ready + cycles * CYCLE_PS + moved_ps(8192)
    used = {"cores": 3 * 60 + 3 * (3072 + 14), "engine": 3157 + 2 * 1147}
    energies(found, cycles, block + 8192, **used, touched=32 * PORT + MERGED, other_bits=49152)


def test_a_and_b_come_with_every_block_that_passes_in_tiles() -> None:
    """20 KiB are 10240 values, 10112 beside X.A: two tiles of 16 rows of X and 8 of A have 208
    columns. Inputs are two tiles of 192, 2 * 768 + 85 cycles; outputs two of 176, 22 tiles of the
    engine at 33 and 91, and one of 160. A barrier each. A block moves A and B, 14336 bytes, and
    16384 bytes of X.W out and in."""
    found = run(*MANY.ops(32), machine=beside_a_tile(tcdm_KiB=20.0), pipeline="token:16")
    cycles = 2 * (1621 + 60) + 2 * (817 + 60) + (751 + 60) + 3072 + 3 * 7
    block = 6144 + 14336 + 2 * 16384
    assert moved_ps(block) < cycles * CYCLE_PS, "the second block is there in time"
    ready = AFTER_THE_BANKS_PS + moved_ps(block)
    assert found.makespan_ps == ready + 2 * cycles * CYCLE_PS + moved_ps(8192)
    words = 2 * (16 * 12 + 192 * 2 + 2 * 16) + PORT - (16 * 24 + 384 * 2 + 2 * 16)
    used = {"cores": 2 * (5 * 60 + 3 * (3072 + 21)), "engine": 2 * (2 * 1621 + 2 * 817 + 751)}
    touched = 2 * (32 * words + MERGED)
    energies(found, 2 * cycles, 2 * (block + 8192), **used, touched=touched, other_bits=98304)


def test_every_transfer_of_a_block_is_set_up() -> None:
    """X, A and B: 4000 cycles each, and 20480 bytes are 1280 beats. 8192 bytes out are 512.

    The second block fetches X alone, behind the first; its 4512 cycles out are the last."""
    machine = beside_a_tile(dma_setup_cycles=4000)
    first = run(*MANY.ops(16), machine=machine, pipeline="layer:16")
    cycles = 3157 + 60 + 2203 + 60 + 3072 + 7
    fetched = 77 + HEAD_PS + (3 * 4000 + 1280) * CYCLE_PS
    assert fetched > tile_ps(MANY, 16)
    drained = HEAD_PS + (4000 + 512) * CYCLE_PS
    assert first.makespan_ps == fetched + cycles * CYCLE_PS + drained
    both = run(*MANY.ops(32), machine=machine, pipeline="layer:16")
    assert cycles * CYCLE_PS > HEAD_PS + (4000 + 384) * CYCLE_PS
    assert both.makespan_ps == fetched + 2 * cycles * CYCLE_PS + drained


def test_x_of_another_stage_is_a_transfer_of_its_own() -> None:
    """As above, with the rows of X from a table: three set-ups, and A and B are there with X.

    A token of the table takes 124 ns of DRAM and 156.1 ns of the buffer before the tile reads it:
    the tile is done before the DMA, which waits for all of the block's rows."""
    machine = beside_a_tile(dma_setup_cycles=4000)
    ops = [op.model_copy(update={"inputs": op.inputs or ("table",)}) for op in MANY.ops(16)]
    found = run(table(16, 384), *ops, machine=machine, pipeline="layer:16")
    cycles = 3157 + 60 + 2203 + 60 + 3072 + 7
    stored = 16 * (100_000 + 24_000 + 2500 + 153_600)
    fetched = HEAD_PS + (3 * 4000 + 1280) * CYCLE_PS
    drained = HEAD_PS + (4000 + 512) * CYCLE_PS
    before = 77  # the tile takes its last vector from the banks first
    assert found.makespan_ps == stored + before + fetched + cycles * CYCLE_PS + drained
    used = {"cores": 120 + 3 * 3079, "engine": 3157 + 2203, "touched": 32 * PORT + MERGED}
    energies(found, cycles, 20480 + 8192, **used, other_bits=16 * 384 * (8 + 16))
