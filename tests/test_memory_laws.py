"""Buffer and DRAM by law: stripes over banks, shares of all of them, transfers of the DMA.

The buffer of the small machine has stripes of 64 bytes, 50 GB/s a bank (20 ps a byte) and 2 ns of
latency; DRAM stripes of 256 bytes, 32 GB/s a channel (31.25 ps a byte) and 100 ns.
"""

from __future__ import annotations

from typing import Any

import pytest
import small
from small import close
from timed import starts_ps, takes_ps

from cimsim.ir import Elementwise, Embedding, Linear, Op, Phase
from cimsim.schedule.work import dma_ps, dma_times
from cimsim.simulation import Simulation, simulate


def run(
    *ops: Op, engine: Any = "compiled", pipeline: str = "layer:1", **changes: Any
) -> Simulation:
    phase = Phase(name="prefill", tokens=ops[0].tokens, ops=ops)
    machine = small.machine(**({"adaptation": "none"} | changes))
    workload = small.workload_of("memory", (phase,))
    return simulate(workload, machine, pipeline=pipeline, engine=engine)


@pytest.mark.parametrize(
    ("banks", "fullest"),
    [(1, 2000), (2, 16 * 64), (4, 8 * 64), (16, 2 * 64), (31, 80), (32, 64), (4096, 64)],
)
def test_logits_of_one_token_lie_over_the_banks(banks: int, fullest: int) -> None:
    """1000 results of 16 bits are 31 stripes and 16 bytes; all banks take 40 us / banks."""
    head = Linear(
        name="head", inputs=(), tokens=1, weight="head.weight", rows=1, in_features=16,
        out_features=1000,
    )  # fmt: skip
    done = run(head, buffer={"banks": banks})
    assert takes_ps(done, "head:send")[1] == [2000 + fullest * 20]
    share_ps = -(-16 * 20 // banks) + -(-2000 * 20 // banks)
    assert done.report.unit_times["buffer"].busy_s == close(share_ps * 1e-12)
    assert done.report.unit_times["buffer"].units == banks


@pytest.mark.parametrize(
    ("channels", "fullest"), [(1, 4096), (2, 2048), (8, 512), (16, 256), (64, 256)]
)
def test_a_row_of_a_table_lies_over_the_channels(channels: int, fullest: int) -> None:
    row = Embedding(
        name="row", inputs=(), tokens=1, weight="row.weight", rows=1, columns=2048
    )  # fmt: skip
    done = run(row, dram={"channels": channels})
    assert takes_ps(done, "row:look-up")[0] == [100_000 + fullest * 31.25]
    assert done.report.unit_times["dram"].busy_s == close(4096 * 31.25e-12 / channels)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(("banks", "each_ps"), [(1, 10_000), (5, 2000), (1000, 10)])
def test_transfers_at_one_instant_follow_each_other_through_all_banks(
    banks: int, each_ps: int, engine: Any
) -> None:
    """Four tables from channels without end, 500 bytes each: the last one waits for three shares.

    In one bank its own share is its whole time but the latency.
    """
    tables = [
        Embedding(name=n, inputs=(), tokens=1, weight=f"{n}.weight", rows=1, columns=250)
        for n in ("a", "b", "c", "d")
    ]
    memories = {
        "dram": {"channels": 2**31 - 1, "bandwidth_GBps": 1e9},
        "buffer": {"banks": banks, "interleave_bytes": 500},
    }
    done = run(*tables, engine=engine, **memories)
    first = starts_ps(done, "a:look-up")[1][0]
    begun = [starts_ps(done, f"{t.name}:look-up")[1][0] - first for t in tables]
    waited = max(0, each_ps - 1)  # shares of DRAM are a picosecond each
    assert begun == [0, 1 + waited, 2 + 2 * waited, 3 + 3 * waited]
    assert takes_ps(done, "d:look-up")[1] == [12_000]


def pools(banks: int, count: int, **changes: Any) -> Simulation:
    """Layers beside clusters that are a pool each; all read and write at the same time."""
    ops: list[Op] = []
    for i in range(count):
        layer = Linear(
            name=f"layer{i}", inputs=(), tokens=8, weight=f"layer{i}.weight", rows=8,
            in_features=16, out_features=16,
        )  # fmt: skip
        table = Embedding(
            name=f"table{i}", inputs=(), tokens=8, weight=f"table{i}.weight", rows=8, columns=500
        )
        work = Elementwise(
            name=f"work{i}", inputs=(f"layer{i}", f"table{i}"), tokens=8, elements=4000,
            functions={"add": 1},
        )  # fmt: skip
        ops += [layer, table, work]
    pmca = {"cluster_count": count, "pool_clusters": 1, "weights_per_cluster": 256}
    return run(*ops, pipeline="layer:8", buffer={"banks": banks, **changes}, pmca=pmca)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("banks", [1, 2, 16])
def test_banks_carry_their_bandwidth_whatever_the_number_of_pools(banks: int, count: int) -> None:
    """All bytes that the buffer is charged for pass its banks, one after the other in each."""
    report = pools(banks, count).report
    moved_bytes = report.energy_by_component_J["buffer.access"] / 0.067e-12 / 8
    busy_s = report.unit_times["buffer"].busy_s
    rate = banks * 50e9
    transfers = count * (8 + 8 + 2)  # layers read, tables are stored, blocks come and go
    assert moved_bytes / rate <= busy_s * (1 + 1e-12)
    assert busy_s <= moved_bytes / rate + transfers * 1e-12
    assert busy_s <= report.latency_s
    assert report.unit_times["dma"].units == count


def test_one_bank_bounds_many_pools() -> None:
    """Twice the pools move twice the bytes, through one bank in nearly twice the time."""
    four, eight = (pools(1, count, bandwidth_GBps=0.1).report for count in (4, 8))
    for report in (four, eight):
        assert report.unit_times["buffer"].busy_s > 0.8 * report.latency_s
    assert eight.latency_s > 1.8 * four.latency_s
    free = pools(4096, 8, bandwidth_GBps=0.1).report
    assert free.latency_s < eight.latency_s / 4


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        # 640 bytes: 800 ps of 16 banks; 4.5 and 2 ns of latency; 45 + 10 cycles of 1 ns
        ({}, (800, 5700, 55_000)),
        # the link's 5 GB/s
        ({"cluster_link": {"bandwidth_GBps": 5.0}}, (800, 5700, 128_000)),
        # a stripe of 64 bytes in each of 10 banks of 1 GB/s
        ({"buffer": {"bandwidth_GBps": 1.0}}, (40_000, 0, 64_000)),
        # all of it in one bank
        ({"buffer": {"banks": 1, "bandwidth_GBps": 4.0}}, (160_000, 0, 160_000)),
    ],
)
def test_a_dma_transfer_takes_banks_latency_and_engine_in_turn(
    changes: dict[str, Any], times: tuple[int, int, int]
) -> None:
    machine = small.machine(**changes)
    assert dma_times(machine, 640, 1) == times
    assert dma_ps(machine, 640, 1) == sum(times)
    assert dma_times(machine, 640, 3)[2] == max(times[2], 145_000)
    assert dma_times(machine, 0, 3) == (0, 0, 0)
    op = Elementwise(name="op", inputs=(), tokens=8, elements=640, functions={"add": 1})
    done = run(op, pipeline="layer:8", **changes)
    share, latency, engine = times
    assert takes_ps(done, "op:drain0" if len(done.plan.actors) > 1 else "op:block0")[-3:] == [
        [share], [latency], [engine],
    ]  # fmt: skip
