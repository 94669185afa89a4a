"""Deltas of few levels beside the pretrained weights: fewer cells, no write at a switch."""

from __future__ import annotations

import math
from typing import Any

import analog
import numpy as np
import pytest
import small
import torch
from torch import nn

from cimsim import simulate
from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.adaptation import (
    BASE_TASK,
    AdaptedTask,
    NarrowDelta,
    adaptation_named,
    switched,
    tuned_weights,
)
from cimsim.adaptation.delta import delta_of
from cimsim.adaptation.layers.delta import THRESHOLD, DeltaLinear, ternary
from cimsim.costs.programming import change_of
from cimsim.errors import CapacityError, MappingError
from cimsim.frontend import trace_module
from cimsim.functional import Chip, program_chip
from cimsim.ir import Elementwise, Linear, Narrow, Workload, load_workload, save_workload
from cimsim.mappers import MAPPERS, DensePacking, build_mapping
from cimsim.mapping import Mapping, Registers, Written
from cimsim.noise import Gaussian
from cimsim.report import Report
from cimsim.report.writes import adapter_switch, first_programming
from cimsim.spec import Architecture
from cimsim.unit_kinds import Arrays, holding

MODEL = small.decoder(layers=1)
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))
ONE_BIT: dict[str, Any] = {
    "bits_per_cell": 1, "cells_per_weight": 8, "rows": 16, "columns": 64, "tile_count": 8192,
}  # fmt: skip


def machine(**rram: Any) -> Architecture:
    return small.machine(rram={**ONE_BIT, **rram})


def mapped(delta: NarrowDelta, mapper: str = "one-per-tile", **rram: Any) -> Mapping:
    return build_mapping(delta.apply(MODEL), machine(**rram), delta, MAPPERS[mapper]())


def report(adaptation: str, **rram: Any) -> Report:
    return simulate(MODEL, machine(**rram), adaptation=adaptation, pipeline="token").report


# The graph and where it stands --------------------------------------------------------------------


def test_every_adapted_weight_has_a_delta_and_a_sum_under_its_name() -> None:
    applied = NarrowDelta().apply(MODEL)
    Workload.model_validate(applied.model_dump())
    named = tuned_weights(MODEL)
    for phase in applied.phases:
        by_name = {op.name: op for op in phase.ops}
        deltas = [op for op in phase.ops if isinstance(op, Linear) and op.narrow is not None]
        assert {op.weight for op in deltas} == {delta_of(name) for name in named}
        for delta in deltas:
            layer = delta.name.removesuffix("/delta")
            base, total = by_name[f"{layer}/base"], by_name[layer]
            assert isinstance(base, Linear)
            assert isinstance(total, Elementwise)
            assert base.inputs == delta.inputs
            assert (base.in_features, base.out_features) == (delta.in_features, delta.out_features)
            assert total.inputs == (base.name, delta.name)
            assert total.elements == delta.rows * delta.out_features
            assert not delta.bias


def test_an_applied_workload_is_read_as_it_was_written(tmp_path: Any) -> None:
    applied = NarrowDelta(tasks=3).apply(MODEL)
    save_workload(applied, tmp_path / "w.json")
    assert load_workload(tmp_path / "w.json").phases == applied.phases


@pytest.mark.parametrize("cells", [1.0, 1.12, 2.5])
@pytest.mark.parametrize("tasks", [1, 3])
def test_deltas_take_arrays_by_their_cells_by_hand(cells: float, tasks: int) -> None:
    mapping = mapped(NarrowDelta(tasks=tasks, cells=cells))
    wide = int(64 // cells)
    for name in tuned_weights(MODEL):
        whole, delta = mapping.placements[name], mapping.placements[delta_of(name)]
        rows, columns = whole.grid.rows, whole.grid.columns
        assert whole.units.size == math.ceil(rows / 16) * math.ceil(columns / 8)
        assert delta.units.size == math.ceil(rows / 16) * math.ceil(columns / wide)
        for number in range(2, tasks + 1):
            assert mapping.placements[f"{delta_of(name)}.{number}"].units.size == delta.units.size
    assert len(mapping.placements) == len(mapped(NarrowDelta(tasks=1)).placements) + (
        (tasks - 1) * len(tuned_weights(MODEL))
    )
    placed = np.concatenate([p.units.ravel() for p in mapping.placements.values()])
    assert np.unique(placed).size == placed.size == mapping.used("rram")
    assert 0.0 < mapping.cell_utilisation <= 1.0


def test_whole_weights_share_no_array_with_deltas() -> None:
    mapping = mapped(NarrowDelta(tasks=4), "dense", columns=128, rows=128)
    kinds: dict[bool, set[int]] = {True: set(), False: set()}
    for placement in mapping.placements.values():
        kinds[placement.grid.narrow is None] |= set(placement.units.ravel().tolist())
    assert not kinds[True] & kinds[False]
    assert len(kinds[False]) < 4 * len(tuned_weights(MODEL))


# What it costs ------------------------------------------------------------------------------------


def test_a_switch_writes_a_number_and_no_cell() -> None:
    mapping = mapped(NarrowDelta(tasks=5))
    parts = switched(mapping, A, B)
    assert all(isinstance(part, Registers) for part in parts)
    # counted: 5 tasks are told apart by 3 bits
    assert {part.weight: part.bits for part in parts if isinstance(part, Registers)} == {
        delta_of(name): 3 for name in tuned_weights(MODEL)
    }
    cost = adapter_switch(MODEL, machine(), mapping)
    assert (cost.cells_written, cost.pulses, cost.wear) == (0, 0.0, 0.0)
    assert switched(mapping, A, A) == ()
    assert switched(mapping, A, BASE) == switched(mapping, BASE, A)


def test_a_head_that_is_saved_with_the_task_is_written_whole() -> None:
    head = AdaptedTask("h", small.saved(MODEL, "head"))
    delta = NarrowDelta(tasks=2)
    mapping = build_mapping(delta.apply(head.workload), machine(), delta)
    whole = [part for part in switched(mapping, A, head) if isinstance(part, Written)]
    assert [part.weight for part in whole] == ["head.weight"]


def test_first_programming_counts_the_cells_of_deltas() -> None:
    nothing = first_programming(MODEL, machine(), mapped(NarrowDelta(tasks=1, nonzero=0.0)))
    some = first_programming(MODEL, machine(), mapped(NarrowDelta(tasks=1, nonzero=0.25)))
    three = first_programming(MODEL, machine(), mapped(NarrowDelta(tasks=3, nonzero=0.25)))
    elements = sum(p.weights for n, p in mapped(NarrowDelta(tasks=1)).placements.items()
                   if n in tuned_weights(MODEL))  # fmt: skip
    assert some.cells_written == nothing.cells_written
    one = (three.cells_written - some.cells_written) / 2
    assert one == pytest.approx(1.12 * elements, rel=1e-3)
    # by hand: a quarter of the cells leaves the erased level
    assert some.cells_changed - nothing.cells_changed == pytest.approx(0.25 * one, rel=1e-3)
    assert three.time_s > some.time_s


def test_few_levels_of_a_delta_are_two() -> None:
    rram = machine().rram
    assert rram is not None
    narrow = Narrow(cells=1.12, nonzero=0.3)
    units, values = np.zeros(1, np.int64), np.array([100])
    erased = Written("w", "rram", units, values, erased=True, narrow=narrow)
    assert change_of(rram, erased).changed == pytest.approx(0.3)
    again = Written("w", "rram", units, values, narrow=narrow)
    assert change_of(rram, again).changed == pytest.approx(2 * 0.3 * 0.7)


def test_a_vector_by_hand() -> None:
    """1.12 cells of 24 elements are converted, each once a pulse; 8 of whole weights."""
    m = machine()
    arrays = m.arrays("rram")
    narrow = holding(arrays, Narrow(cells=1.5, nonzero=0.5))
    assert isinstance(narrow, Arrays)
    assert narrow.shape == (16, 42)
    delta = NarrowDelta(cells=1.5)
    grid = next(p.grid for p in mapped(delta).placements.values() if p.grid.narrow is not None)
    whole = next(p.grid for n, p in mapped(delta).placements.items() if n in tuned_weights(MODEL)
                 and (p.grid.rows, p.grid.columns) == (grid.rows, grid.columns))  # fmt: skip
    few_J, many_J = narrow.vector_J(grid), arrays.vector_J(whole)
    for part in ("adc", "cells"):
        assert few_J[part] / many_J[part] == pytest.approx(1.5 / 8)
    assert few_J["dac"] / many_J["dac"] == pytest.approx(grid.column_blocks / whole.column_blocks)
    # as many columns are integrated and converted: 28 elements of 1.5 cells, 5 weights of 8
    assert narrow.passage_ps((16, 28), 3)[0] <= arrays.passage_ps((16, 6), 3)[0]
    assert narrow.passage_ps((16, 28), 1) == arrays.passage_ps((16, 42), 1) or 28 * 1.5 < 42 * 8


def test_more_cells_and_more_tasks_cost_more() -> None:
    base, one = report("none"), report("delta:tasks=1")
    many, wide = report("delta:tasks=8"), report("delta:tasks=1,cells=3")
    assert base.energy_J < one.energy_J < wide.energy_J
    assert base.latency_s < one.latency_s == many.latency_s
    assert base.area_used_mm2 < one.area_used_mm2 < many.area_used_mm2
    assert many.area_used_mm2 - base.area_used_mm2 > 7.9 * (one.area_used_mm2 - base.area_used_mm2)
    whole = report("full").area_used_mm2
    assert many.area_used_mm2 < 8 * whole


def test_a_machine_that_is_too_small_says_so_of_deltas_as_well() -> None:
    """Blocks of a delta are as wide as an array in elements of their own, not in weights."""
    delta = NarrowDelta(tasks=8)
    with pytest.raises(CapacityError, match=r"mapping needs \d+ units"):
        mapped(delta, tile_count=64)
    dense = mapped(delta, "dense")
    grids = [(p.grid, p.replicas) for p in dense.placements.values() if p.unit == "rram"]
    taken = DensePacking().demand(grids)
    assert abs(taken - dense.used("rram")) <= 1  # the first grid sets the columns that are counted
    # columns in use, as shares of an array, are no more than there are
    room = sum(g.rows * g.columns / (g.block_rows * g.block_columns) * n for g, n in grids)
    assert room <= taken <= 1.5 * room + 2


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("delta:tasks=0", "tasks with a delta are 1 to"),
        ("delta:cells=0.5", "cells of an element are 1 or more"),
        ("delta:nonzero=1.5", "nonzero is a share"),
    ],
)
def test_options_that_mean_nothing_are_refused(text: str, words: str) -> None:
    with pytest.raises(MappingError, match=words):
        adaptation_named(text)


def test_a_machine_whose_weights_take_no_more_is_refused() -> None:
    with pytest.raises(MappingError, match="it saves nothing there"):
        simulate(MODEL, small.machine(), adaptation="delta", pipeline="token")
    with pytest.raises(MappingError, match="hold whole weights alone"):
        holding(small.machine().units["sram"], Narrow(cells=1.0, nonzero=0.1))


def test_more_tasks_than_deltas_are_refused() -> None:
    NarrowDelta(tasks=3).check_tasks(3)
    with pytest.raises(MappingError, match="say delta:tasks=4"):
        NarrowDelta(tasks=3).check_tasks(4)


# The torch form -----------------------------------------------------------------------------------


def test_a_layer_is_the_sum_of_weight_and_ternary_difference() -> None:
    torch.manual_seed(1)
    layer, difference = nn.Linear(6, 4), torch.randn(4, 6)
    found = DeltaLinear(layer, difference)
    for row, hard in zip(difference, found.delta.detach(), strict=True):
        kept = row.abs() > THRESHOLD * row.abs().mean()
        scale = row.abs()[kept].mean()
        assert torch.allclose(hard, torch.where(kept, row.sign() * scale, torch.zeros(())))
    x = torch.randn(3, 6)
    wanted = x @ (layer.weight + ternary(difference)).T + layer.bias
    assert torch.allclose(found(x), wanted, atol=1e-6)
    assert torch.equal(DeltaLinear(layer)(x), layer(x))
    with pytest.raises(ValueError, match="they are equal"):
        DeltaLinear(layer, torch.zeros(2, 2))


def test_a_difference_is_trained_through_its_ternary_form() -> None:
    torch.manual_seed(2)
    found = DeltaLinear(nn.Linear(5, 3), torch.randn(3, 5))
    x, weight = torch.randn(4, 5), torch.randn(4, 3)
    (found(x) * weight).sum().backward()
    assert found.difference.grad is not None
    assert torch.allclose(found.difference.grad, weight.T @ x, atol=1e-6)
    assert found.base_layer.weight.grad is None


# On a chip ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """Two layers, the first with a difference a tenth as wide as its weight."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 10))
    return nn.Sequential(DeltaLinear(net[0], 0.1 * torch.randn(24, 40)), net[1], net[2]).eval()


X = torch.randn((6, 40), generator=torch.Generator().manual_seed(4))


def tiles_of(scheme: str) -> Architecture:
    cells = {"bits_per_cell": 2, "cells_per_weight": 4, "coding": scheme}
    return analog.machine(**cells)


def on_chip(model: nn.Module, scheme: str = "differential", noise: Any = "ideal") -> Chip:
    built = tiles_of(scheme)
    work = analog.unmarked(trace_module(model, (X,), name="net"))
    placed = analog.mapped(work, built, "delta:tasks=2")
    return program_chip(as_mapped(model, placed), placed, built, noise)


@pytest.mark.parametrize("scheme", ["differential", "offset"])
def test_base_and_difference_are_read_on_arrays_of_their_own(
    trained: nn.Module, scheme: str
) -> None:
    chip = on_chip(trained, scheme)
    placed = chip.mapping.placements
    assert {n for n in placed if n.endswith("delta.weight")} == {
        "0.delta.weight", "2.delta.weight",
    }  # fmt: skip
    with torch.no_grad():
        wanted = trained(X)
        read = chip.at(samples=(X,))
        found = read(X)
        # converters of 8 bits, in the range of sums with an offset where there is one
        assert float((found - wanted).abs().max()) < 0.08 * float(wanted.abs().max())
        base = nn.Sequential(trained[0].base_layer, trained[1], trained[2])
        assert float((base(X) - wanted).abs().max()) > 0.1 * float(wanted.abs().max())
    for name, layer in read.layers.items():
        cells = layer.recipe.hardware.coding.cells_per_weight
        assert cells == (1 if ".delta." in name else 4), name
        # a conversion for each column, row block and vector, those of the difference of 0 as well
        assert layer.counts.conversions > 0, name


def test_ternary_values_stand_in_cells_without_rounding(trained: nn.Module) -> None:
    """Without converters what is left are the cells: exact for a difference, rounded for W0."""
    layer = trained[0]
    hard = layer.delta.detach()
    chip = on_chip(nn.Sequential(DeltaLinear(nn.Linear(40, 24, bias=False), hard)))
    with torch.no_grad():
        for weight in chip.model[0].base_layer.parameters():
            weight.zero_()
        found = chip.at(converters=False)(X)
        torch.testing.assert_close(found, X @ hard.T, rtol=1e-5, atol=1e-5)


def test_noise_of_the_cells_of_a_difference_is_as_small_as_it_is() -> None:
    """Errors relative to a column's largest weight: those of D are |D| / |W| times those of W."""
    torch.manual_seed(5)
    zero = nn.Linear(64, 64, bias=False)
    nn.init.zeros_(zero.weight)
    x = torch.randn((200, 64))

    def error(width: float) -> float:
        delta = width * torch.randint(0, 2, (64, 64)).float().mul(2).sub(1)
        model = nn.Sequential(DeltaLinear(zero, delta)).eval()
        built = tiles_of("differential")
        placed = analog.mapped(trace_module(model, (x,), name="net"), built, "delta")
        noise = Gaussian(0.05, "column")
        chip = program_chip(as_mapped(model, placed), placed, built, noise, seed=1)
        with torch.no_grad():
            return float((chip.at(converters=False)(x) - model(x)).std())

    assert error(0.01) == pytest.approx(0.01 * error(1.0), rel=0.1)


def test_what_a_chip_refuses(trained: nn.Module) -> None:
    built = tiles_of("differential")
    work = trace_module(trained, (X,), name="net")
    placed = analog.mapped(work, built, "delta")
    plain = nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 10))
    with pytest.raises(MappingError, match="Sequential has none: train them with"):
        as_mapped(plain, placed)
    other = nn.Sequential(trained[0], nn.ReLU(), DeltaLinear(nn.Linear(24, 10)), nn.Linear(10, 2))
    shallow = analog.mapped(trace_module(nn.Sequential(trained[0]), (X,), name="n"), built, "delta")
    with pytest.raises(MappingError, match="2 has a difference, for which the mapping has no arr"):
        as_mapped(other, shallow)
    bare = analog.mapped(work, built, "none")
    with pytest.raises(MappingError, match="0 has a difference beside its weight, which adaptati"):
        check_adapter(work, bare, trained)
