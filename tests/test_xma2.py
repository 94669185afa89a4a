"""XMA2: chosen arrays rewritten, scales elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim import simulate
from cimsim.adaptation import (
    BASE_TASK,
    AdaptedTask,
    ArraysAndScales,
    switched,
    task_bits,
    tuned_weights,
)
from cimsim.errors import MappingError
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping, Registers, Written

MODEL = small.decoder(layers=1)
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))


def mapped(adaptation: ArraysAndScales) -> Mapping:
    return build_mapping(adaptation.apply(MODEL), small.machine(), adaptation)


def cells(mapping: Mapping, before: AdaptedTask, after: AdaptedTask) -> dict[str, list[int]]:
    parts = switched(mapping, before, after)
    return {p.weight: p.values.tolist() for p in parts if isinstance(p, Written)}


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 1.0))
def test_a_switch_writes_what_either_chose_and_the_way_back_is_the_same(share: float) -> None:
    adaptation = ArraysAndScales(share)
    mapping = mapped(adaptation)
    assert cells(mapping, A, B) == cells(mapping, B, A)
    assert cells(mapping, A, BASE) == cells(mapping, BASE, A)
    assert switched(mapping, A, A) == ()
    for name, values in cells(mapping, A, BASE).items():
        placement = mapping.placements[name]
        own = adaptation.chosen("a", placement)
        assert own.sum() == round(share * placement.grid.blocks)
        # to return to the base, the old weights of every array that was chosen come back
        assert values == (placement.written().values * own.ravel()).tolist()
        both = own | adaptation.chosen("b", placement)
        found = cells(mapping, A, B)[name]
        assert found == (placement.written().values * both.ravel()).tolist()


def test_scales_are_those_of_arrays_that_stay() -> None:
    mapping = mapped(adaptation := ArraysAndScales(0.5, bits=6))
    for part in switched(mapping, A, B):
        if isinstance(part, Registers):
            grid = mapping.placements[part.weight].grid
            own = adaptation.chosen("b", mapping.placements[part.weight])
            columns = sum(
                b - a
                for c, (a, b) in enumerate(map(grid.column_range, range(grid.column_blocks)))
                for r in range(grid.row_blocks)
                if not own[r, c]
            )
            assert part.bits == 6 * columns + grid.blocks


def test_ends_of_the_share() -> None:
    none, every = (mapped(ArraysAndScales(share)) for share in (0.0, 1.0))
    assert not any(any(values) for values in cells(none, A, B).values())
    whole = cells(every, A, B)
    assert all(sum(v) == every.placements[n].weights for n, v in whole.items())


def test_tasks_choose_by_name() -> None:
    adaptation = ArraysAndScales(0.5)
    placement = mapped(adaptation).placements["layers.0.down.weight"]
    first = adaptation.chosen("a", placement)
    assert np.array_equal(first, adaptation.chosen("a", placement))
    others = [adaptation.chosen(name, placement) for name in "bcdef"]
    assert any(not np.array_equal(first, other) for other in others)


def test_a_run_counts_cells_and_scales() -> None:
    report = simulate(MODEL, small.machine(), adaptation="xma2:share=0.5", pipeline="token").report
    switch = report.reprogramming.adapter_switch
    assert switch.cells_written > 0
    assert switch.register_bits_written > 0
    assert report.energy_by_component_J["rram.columns"] > 0.0


def test_options_that_cannot_be_are_refused() -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(MappingError, match="share is the part of arrays rewritten, 0 to 1"):
            ArraysAndScales(share)
    with pytest.raises(MappingError, match="bits of a scale are 2 to 24, got 1"):
        ArraysAndScales(bits=1)


def test_memory_keeps_arrays_and_scales_of_a_task_and_the_pretrained_weights() -> None:
    machine, mapping = small.machine(), mapped(adaptation := ArraysAndScales(0.5, bits=6))
    named = [p for n, p in mapping.placements.items() if n in tuned_weights(MODEL)]
    assert task_bits(machine, mapping, BASE) == 8 * sum(p.grid.weights for p in named)
    wanted = 0
    for placement in named:
        grid, own = placement.grid, adaptation.chosen("a", placement)
        heights, widths = grid.sizes()
        wanted += 8 * int((heights * widths * own).sum())  # 8-bit weights of its arrays
        wanted += 6 * int((widths * (1 - own)).sum()) + grid.blocks
    assert task_bits(machine, mapping, A) == wanted
    head = AdaptedTask("h", small.saved(MODEL, "head"))
    other = build_mapping(adaptation.apply(head.workload), machine, adaptation)
    with_head = task_bits(machine, other, AdaptedTask("a", head.workload))
    assert with_head - wanted == 8 * other.placements["head.weight"].weights
