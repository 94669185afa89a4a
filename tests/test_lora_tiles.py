"""LoRA that does not fit the TCDM: tiles by hand, and what holds for any size."""

from __future__ import annotations

from typing import Any

import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from cimsim import shipped
from cimsim.blocks import PmcaClusters
from cimsim.costs import least_lora_bytes, lora_tcdm_bytes, lora_tiles
from cimsim.schedule.pair import LoraBranch, Pair
from cimsim.schedule.pipelines import parse_pipeline
from cimsim.simulation import simulate
from cimsim.studies.layer import layer_workload

features, ranks, rows = st.integers(1, 700), st.integers(1, 20), st.integers(1, 40)


def clusters(tcdm_KiB: float, **changes: Any) -> PmcaClusters:
    return small.machine(pmca={"tcdm_KiB": tcdm_KiB, **changes}).pmca


def test_a_layer_of_4096_at_rank_8_by_hand() -> None:
    """128 KiB are 65536 values; A and B alone are as many. Beside X.A two tiles of a row and of
    A's or B's eight have 3632 columns, so that inputs and outputs are two of 2048. A job of A is
    8279 - 8 cycles, one of B 4268.
    """
    machine = shipped.machine("ahwa_pcm_pmca").with_values({"pmca.products_on": "engine"})
    tiles = lora_tiles(machine.pmca, 1, 4096, 4096, 8)
    assert tiles is not None
    assert (tiles.inputs, tiles.outputs, tiles.whole) == (2048, 2048, False)
    assert tiles.tcdm_bytes == 2 * (8 + 2 * 9 * 2048)
    assert tiles.weight_bytes == 2 * 8 * 8192
    assert tiles.spilled_bytes == tiles.weight_bytes + 2 * 8192
    assert tiles.fetches(first=True) == tiles.fetches(first=False) == 2 + 2 + 2 + 2 * 2
    assert tiles.drains == 2
    first, second = (job.cycles for job in tiles.busy(machine.pmca))
    assert first == 2 * (8279 - 8 + 30)
    assert second == 2 * (4268 + 30) + 984 + 2 * 10  # 4096 * 0.24 = 983.04 to merge


def test_a_layer_of_4096_runs_and_moves_each_byte_that_it_must() -> None:
    """For every token X of 4096 bytes, A and B of 131072, X.W of 8192 twice, outputs of 4096."""
    machine = shipped.machine("ahwa_pcm_pmca")
    done = simulate(
        layer_workload(4096, 4096, 8, 3), machine, pipeline=parse_pipeline("token:block_tokens=1")
    )
    moved = done.report.energy_by_component_J["link.cluster_link"]
    bits = 8 * 3 * (4096 + 131072 + 2 * 8192 + 4096)
    assert moved == small.close(bits * machine.cluster_link.energy_pJ_per_bit * 1e-12)
    assert done.plan.spill_bytes == {"layer.merge": 131072 + 2 * 8192}
    best = simulate(layer_workload(4096, 4096, 8, 64), machine, pipeline=parse_pipeline("balanced"))
    assert best.plan.block_tokens["layer.merge"] > 1, "A and B are worth more tokens"


@given(rows=rows, inputs=features, outputs=features, rank=ranks, kib=st.integers(1, 40))
def test_tiles_fit_cover_and_are_whole_where_they_can(
    rows: int, inputs: int, outputs: int, rank: int, kib: int
) -> None:
    pmca, sizes = clusters(kib), (rows, inputs, outputs, rank)
    tiles, whole = lora_tiles(pmca, *sizes), lora_tcdm_bytes(*sizes)
    if tiles is None:
        assert kib * 1024 < least_lora_bytes(pmca, *sizes)
        return
    assert tiles.tcdm_bytes <= kib * 1024
    assert tiles.whole == (whole <= kib * 1024)
    assert (tiles.input_tiles - 1) * tiles.inputs < inputs <= tiles.input_tiles * tiles.inputs
    assert (tiles.output_tiles - 1) * tiles.outputs < outputs <= tiles.output_tiles * tiles.outputs
    assert tiles.weight_bytes == 2 * rank * (inputs + outputs)
    twice = 0 if tiles.whole else tiles.weight_bytes + 2 * (2 * rows * outputs)
    assert tiles.spilled_bytes == twice


@given(rows=rows, inputs=features, outputs=features, rank=ranks, kib=st.floats(0.25, 40))
def test_the_least_bytes_are_those_that_tiles_need(
    rows: int, inputs: int, outputs: int, rank: int, kib: float
) -> None:
    sizes = (rows, inputs, outputs, rank)
    need = least_lora_bytes(clusters(kib), *sizes)
    assert lora_tiles(clusters(need / 1024), *sizes) is not None
    if need > 2:
        assert lora_tiles(clusters((need - 2) / 1024), *sizes) is None


@given(
    rows=rows, inputs=features, outputs=features, rank=ranks, kib=st.floats(1, 40),
    more=st.floats(0, 20), where=st.sampled_from(["engine", "faster"]),
)  # fmt: skip
def test_more_tcdm_is_never_slower(
    rows: int, inputs: int, outputs: int, rank: int, kib: float, more: float, where: str
) -> None:
    sizes = (rows, inputs, outputs, rank)
    little, much = (clusters(size, products_on=where) for size in (kib, kib + more))
    small_tiles, large_tiles = lora_tiles(little, *sizes), lora_tiles(much, *sizes)
    if small_tiles is not None:
        assert large_tiles is not None
        pairs = zip(large_tiles.busy(much), small_tiles.busy(little), strict=True)
        assert all(large.cycles <= small.cycles for large, small in pairs)
        for first in (True, False):
            assert large_tiles.fetches(first=first) <= small_tiles.fetches(first=first)
        assert large_tiles.spilled_bytes <= small_tiles.spilled_bytes


@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_more_tcdm_is_never_slower_in_a_run(tokens: int) -> None:
    """Each size against the next, with a block for all of them and with the best one of each."""
    workload = layer_workload(256, 192, 8, tokens)
    times, runs = [], []
    for kib in (2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0):
        machine = small.machine(
            rram={"rows": 256, "columns": 192},
            pmca={"tcdm_KiB": kib, "weights_per_cluster": 256 * 192},
        )
        pair = Pair(LoraBranch(256, 192, 8), machine)
        times.append(pair.makespan_ps(tokens, pair.best_block(tokens)))
        given_block = parse_pipeline(f"token:{min(8, tokens)}")
        runs.append(simulate(workload, machine, pipeline=given_block).run.makespan_ps)
    assert times == sorted(times, reverse=True)
    assert runs == sorted(runs, reverse=True)
