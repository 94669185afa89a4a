"""XBM: a bit on each column of each row block, and nothing written into cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import small

from cimsim import machine as machine_named
from cimsim import simulate
from cimsim import workload as workload_named
from cimsim.adaptation import (
    BASE_TASK,
    AdaptedTask,
    ColumnMask,
    adaptation_named,
    switched,
    task_bits,
    tuned_weights,
)
from cimsim.costs.columns import number_count
from cimsim.errors import MappingError, SpecError
from cimsim.ir import Linear
from cimsim.mappers import OneBlockPerTile, build_mapping
from cimsim.mapping import Grid, Mapping, Registers, Written

Cli = Callable[..., tuple[int, str, str]]
MODEL = small.decoder(layers=1)
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))


def mapped(adaptation: ColumnMask, task: AdaptedTask = A) -> Mapping:
    return build_mapping(adaptation.apply(task.workload), small.machine(), adaptation)


def registers(mapping: Mapping, before: AdaptedTask, after: AdaptedTask) -> dict[str, int]:
    parts = switched(mapping, before, after)
    return {part.weight: part.bits for part in parts if isinstance(part, Registers)}


def test_masks_are_on_what_the_adapter_adapts() -> None:
    workload = ColumnMask(0.5).apply(MODEL)
    masked = {
        op.weight for _, op in workload.ops() if isinstance(op, Linear) and op.columns is not None
    }
    assert masked == tuned_weights(MODEL)
    assert not any(isinstance(op, Linear) and op.role != "base" for _, op in workload.ops())
    bare = small.decoder(layers=1, rank=None)
    every = [op for _, op in ColumnMask().apply(bare).ops() if isinstance(op, Linear)]
    assert all(op.columns is not None for op in every)


def test_a_switch_writes_a_bit_a_column_and_row_block_and_no_cell() -> None:
    mapping = mapped(ColumnMask())
    bits = {
        op.weight: math.ceil(op.in_features / 16) * op.out_features
        for op in MODEL.phases[0].ops
        if isinstance(op, Linear) and op.weight in tuned_weights(MODEL)
    }
    for before, after in ((A, B), (B, A), (BASE, A), (A, BASE)):
        assert registers(mapping, before, after) == bits
        assert not any(isinstance(p, Written) for p in switched(mapping, before, after))
    assert switched(mapping, A, A) == ()
    assert task_bits(small.machine(), mapping, A) == sum(bits.values())
    assert task_bits(small.machine(), mapping, BASE) == 0


def test_a_run_says_what_is_written() -> None:
    report = simulate(MODEL, small.machine(), adaptation="xbm:kept=0.5", pipeline="token").report
    assert report.adaptation == "xbm:kept=0.5"
    switch = report.reprogramming.adapter_switch
    bits = sum(registers(mapped(ColumnMask()), A, B).values())
    assert (switch.cells_written, switch.register_bits_written) == (0, bits)
    assert switch.loaded_bytes == math.ceil(bits / 8)
    assert switch.wear == 0.0


def test_copies_of_a_weight_have_masks_of_their_own() -> None:
    name = "layers.0.q.weight"
    adaptation, machine = ColumnMask(), small.machine()
    one, two = (
        build_mapping(adaptation.apply(MODEL), machine, adaptation, mapper)
        for mapper in (OneBlockPerTile(), OneBlockPerTile(((name, 2),)))
    )
    assert registers(two, A, B)[name] == 2 * registers(one, A, B)[name]
    assert task_bits(machine, two, A) == task_bits(machine, one, A)


def test_what_is_saved_with_the_task_is_written_whole_and_not_masked() -> None:
    head = AdaptedTask("h", small.saved(MODEL, "head"))
    mapping = mapped(ColumnMask(), head)
    found = {p.weight: p for p in switched(mapping, A, head) if isinstance(p, Written)}
    assert set(found) == {"head.weight"}
    assert found["head.weight"].count == 32 * 50
    assert "head.weight" not in registers(mapping, A, head)
    bits = sum(registers(mapping, A, head).values()) + 8 * 32 * 50
    assert task_bits(small.machine(), mapping, head) == bits


def test_slices_have_bits_of_their_own() -> None:
    machine = small.machine(rram={"columns": 64, "cells_per_weight": 4, "bits_per_cell": 2})
    by = [ColumnMask(slices=n) for n in (1, 4)]
    maps = [build_mapping(each.apply(MODEL), machine, each) for each in by]
    few, many = (sum(registers(m, A, B).values()) for m in maps)
    assert many == 4 * few
    with pytest.raises(MappingError, match="has 2 numbers on each column"):
        build_mapping(ColumnMask(slices=2).apply(MODEL), machine, ColumnMask(slices=2))


def resnet_50() -> list[tuple[int, int]]:
    """Rows (k k Cin) and columns (Cout) of the convolutions of ResNet-50 (He et al., CVPR 2016)."""
    found, into = [(7 * 7 * 3, 64)], 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            found += [(into, width), (9 * width, width), (width, 4 * width)]
            found += [(into, 4 * width)] if block == 0 else []
            into = 4 * width
    return found


@pytest.mark.parametrize(("rows", "columns"), [(64, 366_528), (72, 339_968), (128, 183_936)])
def test_columns_of_the_convolutions_of_resnet_50(rows: int, columns: int) -> None:
    shapes = resnet_50()
    assert sum(k * n for k, n in shapes) == 23_454_912
    grids = [Grid(k, n, rows, rows) for k, n in shapes]
    assert sum(number_count(ColumnMask().columns, grid) for grid in grids) == columns
    # XBM: 1.4 % of Piggyback's bits, at 72 rows
    if rows == 72:
        assert columns / 23_454_912 == pytest.approx(0.0145, abs=5e-5)


@pytest.mark.parametrize("kept", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(kept: float) -> None:
    with pytest.raises(MappingError, match="kept is a share of columns, 0 to 1, got"):
        ColumnMask(kept)


def test_slices_that_are_none_are_refused() -> None:
    with pytest.raises(MappingError, match="slices is 1, or the cells that a weight takes, got 0"):
        adaptation_named("xbm:slices=0")


def test_the_counting_of_the_paper_has_no_masks() -> None:
    workload = workload_named("halora_accounting_1b")
    with pytest.raises(SpecError, match="has numbers on its columns, which the paper's counting"):
        simulate(workload, machine_named("halora_rram_sram"), adaptation="xbm", pipeline="token")


def test_a_weight_without_a_place_is_refused() -> None:
    other = AdaptedTask("other", small.decoder(layers=2))
    with pytest.raises(MappingError, match="has no place for it"):
        switched(mapped(ColumnMask()), A, other)


def test_tables_and_pictures_have_the_memory_of_masks(cimsim: Cli, tmp_path: Path) -> None:
    shown = ("isaac_rram", "minilm_sentiment_r8_s32", "--pipeline", "token", "--adapt", "xbm")
    code, out, _ = cimsim("run", *shown, "-o", tmp_path)
    assert code == 0
    assert any("columns" in line and "mm2" in line for line in out.splitlines())
    assert (tmp_path / "breakdown.png").exists()
