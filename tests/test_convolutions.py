"""Convolutions as products over patches: counts, blocks on a diagonal, costs, both engines."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import small
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import charged_J
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import cimsim
from cimsim.costs.tile import mvm_energy_J
from cimsim.errors import WorkloadError
from cimsim.frontend import trace_module
from cimsim.ir import Linear, Parameter, Phase, Reduce, Workload, make_workload
from cimsim.mappers import DensePacking, OneBlockPerTile, build_mapping
from cimsim.mapping import Grid

SIDES = st.integers(1, 9)
GROUPED = st.builds(
    lambda g, r, c, br, bc: Grid(g * r, g * c, br, bc, g),
    st.integers(1, 12), SIDES, SIDES, st.integers(1, 14), st.integers(1, 14),
)  # fmt: skip


def traced(model: nn.Module, *shape: int) -> Workload:
    return trace_module(model, (torch.zeros(1, *shape),), name="net")


def linears(work: Workload) -> list[Linear]:
    return [op for _, op in work.ops() if isinstance(op, Linear)]


def layer(groups: int, inputs: int, outputs: int, tokens: int = 4, rows: int = 8) -> Workload:
    """A layer of `groups` groups with so many features each."""
    op = Linear(
        name="conv", inputs=(), tokens=tokens, weight="conv.weight", rows=rows, groups=groups,
        in_features=groups * inputs, out_features=groups * outputs,
    )  # fmt: skip
    return make_workload(
        name="grouped", origin={"source": "test"}, architecture="Tiny",
        parameters=(Parameter(name="conv.weight", shape=(groups * outputs, inputs)),),
        phases=(Phase(name="prefill", tokens=tokens, ops=(op,)),),
    )  # fmt: skip


# -- blocks


@given(grid=GROUPED)
@settings(max_examples=150)
def test_every_weight_of_every_group_is_in_one_block(grid: Grid) -> None:
    rows, columns = grid.group
    diagonal = np.kron(np.eye(grid.groups, dtype=int), np.ones((rows, columns), int))
    covered = np.zeros_like(diagonal)
    heights, widths = grid.sizes()
    held = grid.held()
    kinds: Counter[tuple[int, int]] = Counter()
    for r in range(grid.row_blocks):
        for c in range(grid.column_blocks):
            (top, bottom), (left, right) = grid.row_range(r, c), grid.column_range(c)
            assert 0 < bottom - top <= grid.block_rows
            assert 0 < right - left <= grid.block_columns
            assert (bottom - top, right - left) == (heights[r, c], widths[r, c])
            assert held[r, c] == diagonal[top:bottom, left:right].sum()
            covered[top:bottom, left:right] += 1
            kinds[bottom - top, right - left] += 1
    assert (covered[diagonal == 1] == 1).all()
    assert held.sum() == grid.weights == diagonal.sum()
    counted: Counter[tuple[int, int]] = Counter()
    for height, width, count in grid.kinds():
        counted[height, width] += count
    assert counted == kinds
    assert grid.block == (heights.max(), widths.max())
    # an output has row_blocks partial sums, an input is driven into so many blocks
    assert heights.sum() == grid.driven * grid.rows
    assert widths.sum() == grid.row_blocks * grid.columns


@given(grid=GROUPED)
def test_arrays_of_a_grouped_weight_in_closed_form(grid: Grid) -> None:
    """Diagonally as many groups as rows and columns allow, or each group cut for itself."""
    rows, columns = grid.group
    fit = min(grid.block_rows // rows, grid.block_columns // columns)
    if fit:
        assert grid.blocks == -(-grid.groups // fit)
    else:
        each = -(-rows // grid.block_rows) * -(-columns // grid.block_columns)
        assert grid.blocks == grid.groups * each


@given(grids=st.lists(st.tuples(GROUPED, st.integers(1, 3)), min_size=1, max_size=4),
       dense=st.booleans())  # fmt: skip
def test_the_demand_of_groups_is_what_is_laid_out(
    grids: list[tuple[Grid, int]], dense: bool
) -> None:
    mapper = DensePacking() if dense else OneBlockPerTile()
    tile = grids[0][0].block_rows, grids[0][0].block_columns
    alike = [(Grid(g.rows, g.columns, *tile, g.groups), copies) for g, copies in grids]
    laid = np.concatenate([units.ravel() for units, _, _ in mapper.arrange(alike, 1)])
    assert mapper.demand(alike) == np.unique(laid).size == laid.max() + 1


def test_a_mapping_counts_and_writes_the_cells_of_the_groups_alone() -> None:
    """Tiles of 16 x 16: three groups of 5 x 4 a tile; of 20 x 4 each takes two tiles."""
    machine = small.machine(adaptation="none")
    mapping = build_mapping(layer(7, 5, 4), machine, "none")
    placement = mapping.placements["conv.weight"]
    assert placement.units.shape == (1, 1, 3)
    assert placement.written().values.tolist() == [60, 60, 20]
    assert mapping.cell_utilisation == pytest.approx(7 * 20 / (3 * 256))
    cut = build_mapping(layer(2, 20, 4), machine, "none").placements["conv.weight"]
    assert cut.units.shape == (1, 2, 2)
    assert cut.written().values.tolist() == [64, 64, 16, 16]
    one = build_mapping(layer(1, 35, 28), machine, "none")
    assert len({mapping.digest(), one.digest()}) == 2


@pytest.mark.parametrize(("rows", "columns"), [
    (32, 732_992), (64, 366_528), (72, 339_968), (128, 183_936), (256, 93_888)
])  # fmt: skip
def test_row_tiles_times_columns_of_resnet_50(rows: int, columns: int) -> None:
    work = cimsim.workload("resnet50_224")
    machine = small.machine(
        adaptation="none", rram={"rows": rows, "columns": 64, "tile_count": 1 << 20}
    )
    placed = build_mapping(work, machine, "none").placements
    convolutions = [p for name, p in placed.items() if "classifier" not in name]
    assert sum(p.grid.row_blocks * p.grid.columns for p in convolutions) == columns
    assert sum(p.weights for p in convolutions) == 23_454_912


# -- costs


@pytest.mark.parametrize(("groups", "inputs", "outputs", "row_blocks", "driven"), [
    (7, 5, 4, 1, 1), (3, 20, 4, 2, 1), (3, 5, 20, 1, 2), (2, 40, 33, 3, 3),
])  # fmt: skip
def test_energy_of_a_grouped_product_by_hand(
    groups: int, inputs: int, outputs: int, row_blocks: int, driven: int
) -> None:
    """Cells of the groups, an input into the blocks of its group, a conversion a partial sum."""
    machine = small.machine(adaptation="none")
    rram = machine.arrays("rram").block  # type: ignore[attr-defined]
    grid = Grid(groups * inputs, groups * outputs, 16, 16, groups)
    spent = machine.arrays("rram").vector_J(grid)
    assert spent["cells"] == close(groups * inputs * outputs * 7.0e-15)
    assert spent["dac"] == close(driven * groups * inputs * 0.3e-12)
    assert spent["adc"] == close(row_blocks * groups * outputs * 1.5e-12)
    assert spent["affine"] == close(groups * outputs * 0.5e-12)
    assert spent["accumulate"] == close((row_blocks - 1) * groups * outputs * 0.04e-12, abs=1e-30)
    alone = mvm_energy_J(rram, inputs, outputs, row_blocks, driven)
    for part, energy in alone.items():
        assert spent[part] == close(groups * energy, abs=1e-30)


@given(groups=st.sampled_from([1, 2, 3, 4, 6, 12]), more=st.sampled_from([1, 2, 3, 4]))
def test_more_groups_never_take_more(groups: int, more: int) -> None:
    """Of one layer of 48 inputs and 24 outputs: multiplications, weights, energy of cells."""
    few, many = groups, math.lcm(groups, more)
    machine = small.machine(adaptation="none")
    found = []
    for g in (few, many):
        work = layer(g, 48 // g, 24 // g)
        energy = machine.arrays("rram").vector_J(Grid(48, 24, 16, 16, g))
        found.append((work.macs, work.parameter_count, energy["cells"], energy["accumulate"]))
        assert work.macs == 8 * 48 * 24 // g
    assert all(b <= a for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_every_patch_is_read_whole_from_the_buffer(engine: Any) -> None:
    """No line buffer: 9 inputs a channel for each of the 8 rows, as wide as activations are."""
    machine = small.machine(adaptation="none")
    done = cimsim.simulate(layer(3, 9, 1), machine, pipeline="token", engine=engine)
    patches, results = 8 * 27 * machine.activation_bits, 8 * 3 * machine.rram.output_bits
    spent = charged_J(done, "conv")
    assert spent["buffer.access"] == close([(patches + results) * 0.067e-12])
    assert spent["link.tile_link"] == close([(patches + results) * 0.4e-12])


# -- traces


class Bottleneck(nn.Module):
    """A residual block with a depthwise convolution, a strided pooling and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.wide = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depth = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.pairs = nn.Conv2d(16, 8, 3, padding="same", groups=4)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(),
                                  nn.Linear(8, 5))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.stem(x)))
        return self.head(x + self.pairs(self.depth(self.wide(x))))


@pytest.fixture(scope="module")
def network() -> Workload:
    return traced(Bottleneck(), 3, 32, 32)


def test_macs_of_a_small_network(network: Workload) -> None:
    with FlopCounterMode(display=False) as counter:
        Bottleneck().eval()(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * network.macs
    by_hand = 256 * 27 * 8 + 64 * (8 * 16 + 9 * 16 + 36 * 8) + 8 * 5
    assert network.macs == by_hand


def test_rows_are_places_and_tokens_those_of_the_smallest_image(network: Workload) -> None:
    ops = {op.name: op for op in linears(network)}
    assert {name: (op.rows, op.tokens, op.gathers, op.groups) for name, op in ops.items()} == {
        "stem.0": (256, 64, True, 1), "wide.0": (64, 64, False, 1),
        "depth": (64, 64, True, 16), "pairs": (64, 64, True, 4), "head.3": (1, 1, False, 1),
    }  # fmt: skip
    pools = [op for _, op in network.ops() if isinstance(op, Reduce)]
    assert [(op.function, op.inputs_per_output, op.gathers) for op in pools] == [
        ("max", 9, True), ("mean", 64, False)
    ]  # fmt: skip


def test_engines_agree_on_a_small_network(network: Workload) -> None:
    machine = small.machine(adaptation="none")
    runs = [
        cimsim.simulate(network, machine, pipeline="token", engine=engine).run
        for engine in ("simpy", "compiled")
    ]
    assert runs[0].makespan_ps == runs[1].makespan_ps
    assert np.array_equal(runs[0].iteration_end_ps, runs[1].iteration_end_ps)


def test_a_network_that_halves_its_image_streams_through_all_of_it() -> None:
    halved = nn.Sequential(*(nn.Conv2d(3, 3, 2, 2) for _ in range(3)))
    assert [(op.rows, op.tokens) for op in linears(traced(halved, 3, 16, 16))] == [
        (64, 4), (16, 4), (4, 4)
    ]  # fmt: skip


def test_batch_norm_behind_a_product_is_its_scale() -> None:
    folded = traced(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)), 3, 4, 4)
    (op,) = (op for _, op in folded.ops())
    assert isinstance(op, Linear)
    assert op.bias
    assert {p.name: p.role for p in folded.parameters} == {
        "0.weight": "base", "1.weight": "norm", "1.bias": "norm"
    }  # fmt: skip
    first = traced(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), 3, 4, 4)
    assert [op.kind for _, op in first.ops()] == ["elementwise", "linear"]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.norm(y)


def test_batch_norm_of_a_product_that_others_read_is_an_operation() -> None:
    kinds = [op.kind for _, op in traced(Twice(), 3, 4, 4).ops()]
    assert kinds == ["linear", "elementwise", "elementwise"]


@pytest.mark.parametrize(("pool", "inputs", "gathers"), [
    (nn.MaxPool2d(2), 4, False), (nn.MaxPool2d(3, 2, 1), 9, True), (nn.AvgPool2d(2), 4, False),
    (nn.AvgPool2d(3, 1, 1), 9, True), (nn.AvgPool2d(2, 2, (0, 0)), 4, False),
    (nn.AdaptiveAvgPool2d(4), 4, False), (nn.AdaptiveMaxPool2d(4), 4, False),
])  # fmt: skip
def test_pooling_waits_where_its_windows_overlap(
    pool: nn.Module, inputs: int, gathers: bool
) -> None:
    work = traced(nn.Sequential(nn.Conv2d(1, 2, 1), pool, nn.Conv2d(2, 2, 1)), 1, 8, 8)
    (found,) = (op for _, op in work.ops() if isinstance(op, Reduce))
    assert found.inputs_per_output == inputs
    assert found.tokens in (16, 64)
    assert found.gathers == gathers


def test_one_dimension_has_groups_too() -> None:
    (op,) = linears(traced(nn.Sequential(nn.Conv1d(4, 8, 3, groups=4)), 4, 10))
    assert (op.rows, op.in_features, op.out_features, op.groups) == (8, 12, 8, 4)


@pytest.mark.parametrize("model", [nn.ConvTranspose2d(3, 4, 2), nn.ConvTranspose1d(3, 4, 2)])
def test_a_transposed_convolution_is_refused(model: nn.Module) -> None:
    shape = (3, 8, 8)[: 3 if isinstance(model, nn.ConvTranspose2d) else 2]
    with pytest.raises(WorkloadError, match=r"^module '0': a transposed convolution is no linear"):
        traced(nn.Sequential(model), *shape)


@pytest.mark.parametrize(("changes", "problem"), [
    ({"groups": 3}, "has groups 3 and in_features 16: all groups have equally many features"),
    ({"groups": 2, "role": "lora_a", "adapts": "x"}, "LoRA of a grouped convolution is not supp"),
    ({"groups": 0}, "groups"),
])  # fmt: skip
def test_groups_that_do_not_fit_are_refused(changes: dict[str, Any], problem: str) -> None:
    sizes = {"in_features": 16, "out_features": 18}
    with pytest.raises(ValueError, match=problem):
        Linear(name="a", inputs=(), tokens=1, weight="w", rows=1, **sizes, **changes)


def test_the_weight_of_groups_has_the_features_of_one() -> None:
    work = layer(4, 6, 2)
    shape = (Parameter(name="conv.weight", shape=(8, 24)),)
    with pytest.raises(WorkloadError, match="in_features 24 and out_features 8 in 4 groups"):
        work.remade(parameters=shape)


def test_a_layer_of_one_group_is_written_as_ever() -> None:
    assert "groups" not in small.one_layer().model_dump()["phases"][0]["ops"][0]
    work = layer(4, 6, 2)
    assert work.model_dump()["phases"][0]["ops"][0]["groups"] == 4
    assert Workload.model_validate(work.model_dump()) == work
