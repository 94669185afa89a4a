"""Mapping: every weight position sits on exactly one place, and the machine has that place."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close

from cimsim.adaptation import adaptation_named
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Workload, load_workload
from cimsim.mappers import MAPPERS, DensePacking, Mapper, OneBlockPerTile, build_mapping
from cimsim.mapping import Grid, Mapping, Placement, held_by
from cimsim.spec import Architecture, load_architecture

SHAPES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3)), min_size=1, max_size=6
)
TILES = st.tuples(st.integers(1, 17), st.integers(1, 17))


def whole(text: str) -> str:
    return "^" + re.escape(text) + "$"


def mapped(
    workload: Workload,
    machine: Architecture,
    adaptation: str = "lora-pmca",
    mapper: Mapper | None = None,
) -> Mapping:
    chosen = adaptation_named(adaptation)
    return build_mapping(chosen.apply(workload), machine, chosen, mapper)


@pytest.mark.parametrize("name", MAPPERS)
@given(shapes=SHAPES, tile=TILES, group=st.integers(1, 9))
@settings(max_examples=60)
def test_every_weight_position_is_stored_exactly_once(
    name: str, shapes: list[tuple[int, int, int]], tile: tuple[int, int], group: int
) -> None:
    grids = [(Grid(rows, columns, *tile), copies) for rows, columns, copies in shapes]
    arranged = MAPPERS[name]().arrange(grids, group)
    cells: Counter[tuple[int, int, int]] = Counter()
    for (grid, copies), (units, row_offset, column_offset) in zip(grids, arranged, strict=True):
        shape = (copies, grid.row_blocks, grid.column_blocks)
        assert units.shape == row_offset.shape == column_offset.shape == shape
        for copy in range(copies):
            covered = np.zeros((grid.rows, grid.columns), int)
            for r in range(grid.row_blocks):
                for c in range(grid.column_blocks):
                    top, bottom = grid.row_range(r)
                    left, right = grid.column_range(c)
                    covered[top:bottom, left:right] += 1
                    x, y = row_offset[copy, r, c], column_offset[copy, r, c]
                    assert x >= 0
                    assert x + bottom - top <= tile[0]
                    assert y >= 0
                    assert y + right - left <= tile[1]
                    unit = int(units[copy, r, c])
                    assert unit >= 0
                    cells.update(
                        (unit, i, j)
                        for i in range(x, x + bottom - top)
                        for j in range(y, y + right - left)
                    )
            assert (covered == 1).all()
    assert set(cells.values()) == {1}
    assert len(cells) == sum(rows * columns * copies for rows, columns, copies in shapes)


@given(shapes=SHAPES, tile=TILES)
def test_dense_never_needs_more_tiles(
    shapes: list[tuple[int, int, int]], tile: tuple[int, int]
) -> None:
    grids = [(Grid(rows, columns, *tile), copies) for rows, columns, copies in shapes]
    used = {
        name: {int(u) for units, _, _ in mapper().arrange(grids, 1) for u in units.ravel()}
        for name, mapper in MAPPERS.items()
    }
    blocks = sum(
        -(-rows // tile[0]) * -(-columns // tile[1]) * copies for rows, columns, copies in shapes
    )
    assert len(used["one-per-tile"]) == blocks
    cells = sum(rows * columns * copies for rows, columns, copies in shapes)
    assert -(-cells // (tile[0] * tile[1])) <= len(used["dense"]) <= blocks
    assert used["dense"] == set(range(len(used["dense"])))


@given(shapes=SHAPES, tile=TILES, group=st.integers(1, 9))
def test_a_weight_straddles_no_cluster_that_it_does_not_fill(
    shapes: list[tuple[int, int, int]], tile: tuple[int, int], group: int
) -> None:
    grids = [(Grid(rows, columns, *tile), copies) for rows, columns, copies in shapes]
    for units, _, _ in OneBlockPerTile().arrange(grids, group):
        first, last = int(units.min()), int(units.max())
        if units.size <= group:
            assert first // group == last // group
        else:
            assert first % group == 0 or last // group - first // group < -(-units.size // group)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_tiles_of_a_layer_are_the_product_of_ceilings(
    inputs: int, outputs: int, rows: int, columns: int
) -> None:
    machine = small.machine(rram={"rows": rows, "columns": columns})
    mapping = mapped(small.one_layer(inputs, outputs), machine)
    assert mapping.used("rram") == -(-inputs // rows) * -(-outputs // columns)
    held = mapping.used("rram") * rows * columns
    assert mapping.cell_utilisation == close(inputs * outputs / held)
    placement = mapping.placements["layer.weight"]
    assert (placement.replicas, placement.weights) == (1, inputs * outputs)


def test_bit_slices_take_columns() -> None:
    machine = load_architecture(small.ROOT / "arch_configs" / "isaac_rram.json")
    mapping = mapped(small.one_layer(128, 33), machine, "none")
    assert mapping.used("rram") == 3
    assert mapping.placements["layer.weight"].grid == Grid(128, 33, 128, 16)


@pytest.mark.parametrize("kind", MAPPERS)
def test_replicas(kind: str) -> None:
    workload, machine = small.decoder(), small.machine()
    one = mapped(workload, machine, mapper=MAPPERS[kind]())
    mapper = MAPPERS[kind](replicate=(("layers.0.q.weight", 3), ("layers.1.*", 2)))
    more = mapped(workload, machine, mapper=mapper)
    for name, placement in more.placements.items():
        copies = 3 if name == "layers.0.q.weight" else 2 if name.startswith("layers.1.") else 1
        if placement.unit == "rram":
            assert placement.replicas == copies
            assert np.unique(placement.units).size == placement.units.size or kind == "dense"
    assert more.used("rram") > one.used("rram")
    assert mapper.copies("layers.1.norm") == 2
    assert mapper.copies("head.weight") == 1


def test_replicas_below_one_are_refused() -> None:
    text = "replicas of 'layers.*' must be at least 1, got 0"
    with pytest.raises(MappingError, match=whole(text)):
        mapped(
            small.decoder(), small.machine(), mapper=OneBlockPerTile(replicate=(("layers.*", 0),))
        )


def test_too_few_tiles() -> None:
    machine = small.machine(rram={"tile_count": 50})
    mapper = OneBlockPerTile(replicate=(("layers.0.gate.weight", 2),))
    with pytest.raises(CapacityError) as caught:
        mapped(small.decoder(), machine, mapper=mapper)
    error = caught.value
    assert str(error) == (
        "mapping needs 74 units, rram.tile_count is 50 (24 short). Largest: "
        "layers.0.gate.weight (12), head.weight (8), layers.0.up.weight (6). "
        "Raise rram.tile_count of 'tiny' or use --mapper dense or lower --replicate or rewrite "
        "tiles while the model runs (--mapper reload)."
    )
    assert (error.unit, error.demand, error.bound, error.gap) == ("rram.tile_count", 74, 50, 24)
    assert error.largest[0] == ("layers.0.gate.weight", 12)
    assert error.levers == (
        "Raise rram.tile_count of 'tiny'", "use --mapper dense", "lower --replicate",
        "rewrite tiles while the model runs (--mapper reload)",
    )  # fmt: skip
    exact = mapped(small.decoder(), small.machine(rram={"tile_count": 74}), mapper=mapper)
    assert exact.used("rram") == 74


def test_gaps_before_clusters_are_left_only_where_there_is_room() -> None:
    roomy = mapped(small.decoder(), small.machine(pmca={"weights_per_cluster": 7 * 256}))
    tight = mapped(
        small.decoder(),
        small.machine(
            pmca={"weights_per_cluster": 7 * 256}, rram={"tile_count": roomy.used("rram")}
        ),
    )
    ends = [
        max(int(p.units.max()) for p in m.placements.values() if p.unit == "rram") + 1
        for m in (roomy, tight)
    ]
    assert ends[0] > ends[1] == tight.used("rram") == roomy.used("rram")


def test_too_few_sram_units() -> None:
    machine = small.machine(sram={"unit_count": 10}, attention_on="sram", adaptation="lora-sram")
    with pytest.raises(CapacityError) as caught:
        mapped(small.decoder(), machine, "lora-sram", DensePacking())
    error = caught.value
    assert error.unit == "sram.unit_count"
    assert error.levers == ("Raise sram.unit_count of 'tiny'", "shorten the context")
    enough = small.machine(
        sram={"unit_count": error.demand}, attention_on="sram", adaptation="lora-sram"
    )
    mapping = mapped(small.decoder(), enough, "lora-sram", DensePacking())
    assert mapping.used("sram") == error.demand == 10 + error.gap
    kv = sum(store.units for store in mapping.kv.values())
    assert kv == 2 * 2 * 2
    assert error.demand > kv


@pytest.mark.parametrize("block", ["sram", "rram"])
def test_a_block_that_is_missing(block: str) -> None:
    weights = "rram" if block == "sram" else "sram"
    machine = small.machine(weights_on=weights, **{block: None})
    text = (
        f"'lora-{block}' needs a `{block}` block for 'layers.0.q.lora_A', which architecture "
        "'tiny' lacks: choose another --adapt or add the block"
    )
    with pytest.raises(MappingError, match=whole(text)):
        mapped(small.decoder(), machine, f"lora-{block}")


def test_lora_that_no_unit_runs_is_refused() -> None:
    text = (
        "op 'layers.0.q.lora_A' is LoRA, but adaptation 'none' has no place for it: "
        "apply the adaptation to the workload first"
    )
    with pytest.raises(MappingError, match=whole(text)):
        build_mapping(small.decoder(), small.machine(), adaptation_named("none"))


@pytest.mark.parametrize(("adaptation", "unit"), [
    ("lora-rram", "rram"), ("lora-sram", "sram"), ("lora-pmca", "pmca"),
])  # fmt: skip
def test_lora_goes_where_the_adaptation_says(adaptation: str, unit: str) -> None:
    mapping = mapped(small.decoder(), small.machine(), adaptation)
    for placement in mapping.placements.values():
        assert placement.unit == ("rram" if placement.role == "base" else unit)


def test_weights_on_sram() -> None:
    machine = small.machine(weights_on="sram", rram=None)
    mapping = mapped(small.decoder(), machine)
    assert mapping.used("rram") == 0
    assert mapping.cell_utilisation == 0.0
    assert mapping.used("sram") == 2 * (4 + 2 + 2 + 4 + 6 + 6 + 6) + 8


def test_mobilebert_has_a_tile_a_layer() -> None:
    workload = load_workload(small.ROOT / "workloads" / "mobilebert_squad_r8_s320.json")
    machine = load_architecture(small.ROOT / "arch_configs" / "ahwa_pcm_pmca.json")
    mapping = mapped(workload, machine)
    base = [p for p in mapping.placements.values() if p.role == "base"]
    assert len(base) == 362
    assert mapping.used("rram") == 362
    assert round(100 * mapping.cell_utilisation, 1) == 21.3
    dense = mapped(workload, machine, mapper=DensePacking())
    fewest = sum(p.weights for p in base) / 512**2
    assert fewest <= dense.used("rram") <= 1.02 * fewest + 1
    assert abs(dense.used("rram") - 78) <= 1


def test_kv_stores_hold_the_longest_context() -> None:
    machine = small.machine(attention_on="sram", adaptation="lora-sram")
    mapping = mapped(small.decoder(prompt=14, steps=7), machine, "lora-sram")
    assert set(mapping.kv) == {f"layers.{i}.{op}" for i in (0, 1) for op in ("scores", "values")}
    scores, values = mapping.kv["layers.0.scores"], mapping.kv["layers.0.values"]
    assert scores.grid == Grid(8, 21, 16, 16)
    assert values.grid == Grid(21, 8, 16, 16)
    assert (scores.heads, scores.units, values.units) == (2, 4, 4)
    taken = [range(s.first_unit, s.first_unit + s.units) for s in mapping.kv.values()]
    units = [u for span in taken for u in span]
    weights = [p.units.ravel() for p in mapping.placements.values() if p.unit == "sram"]
    units += np.unique(np.concatenate(weights)).tolist()
    assert len(set(units)) == len(units) == mapping.used("sram")
    assert mapped(small.decoder(), small.machine()).kv == {}


def test_clusters_serve_their_tiles() -> None:
    machine = small.machine(pmca={"weights_per_cluster": 4 * 256})
    mapping = mapped(small.decoder(layers=1), machine)
    for name, (first, count) in mapping.clusters.items():
        units = mapping.placements[name].units
        served = {min(int(u) // 4, 7) for u in units.ravel()}
        assert served <= set(range(first, first + count))
        assert {first, first + count - 1} <= served
    assert max(first + count for first, count in mapping.clusters.values()) <= 8


@pytest.mark.parametrize(("side", "per"), [(8, 16), (16, 4), (32, 1), (33, 1 / 2), (64, 1 / 4)])
def test_a_cluster_serves_as_many_weights_whatever_the_tiles(side: int, per: float) -> None:
    """1024 weights: 16 tiles of 8 x 8, one of 32 x 32, a quarter of one of 64 x 64."""
    machine = small.machine(
        pmca={"weights_per_cluster": 1024, "cluster_count": 64},
        rram={"rows": side, "columns": side, "columns_per_adc": side},
    )
    assert machine.arrays("rram").per_cluster(machine.pmca) == per
    phase = small.chain(tokens=2, widths=(128, 128))
    mapping = mapped(small.workload_of("layer", (phase,)), machine, "none")
    (clusters,) = mapping.clusters.values()
    assert clusters == (0, math.ceil((-(-128 // side)) ** 2 / per))
    assert side == 33 or clusters == (0, 16)


def test_digest_is_equal_for_equal_mappings_only() -> None:
    machine = small.machine(attention_on="sram", adaptation="lora-sram")
    mapping = mapped(small.decoder(), machine, "lora-sram")
    assert mapping.digest() == mapped(small.decoder(), machine, "lora-sram").digest()
    name = "layers.0.q.weight"
    placement = mapping.placements[name]
    store = mapping.kv["layers.0.scores"]
    first, count = mapping.clusters[name]
    moved = placement.units.copy()
    moved[0, 0, 0], moved[0, 0, 1] = placement.units[0, 0, 1], placement.units[0, 0, 0]
    shift = np.zeros_like(placement.units)
    shift[0, 1, 1] = 1
    others = [
        dataclasses.replace(mapping, placements={**mapping.placements, name: changed})
        for changed in (
            dataclasses.replace(placement, units=moved),
            dataclasses.replace(placement, row_offset=shift),
            dataclasses.replace(placement, column_offset=shift),
            dataclasses.replace(placement, unit="sram"),
            dataclasses.replace(placement, role="lora_a"),
            dataclasses.replace(placement, grid=Grid(32, 31, 16, 16)),
        )
    ]
    others += [
        dataclasses.replace(
            mapping, kv={**mapping.kv, store.op: dataclasses.replace(store, first_unit=99)}
        ),
        dataclasses.replace(mapping, clusters={**mapping.clusters, name: (first, count + 1)}),
        mapped(small.decoder(layers=1), machine, "lora-sram"),
        mapped(small.decoder(), machine, "lora-sram", DensePacking()),
        mapped(small.decoder(), machine, "lora-rram"),
    ]
    digests = {other.digest() for other in others} | {mapping.digest()}
    assert len(digests) == len(others) + 1
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert json.dumps(sorted(digests))


@pytest.mark.parametrize(
    ("adaptation", "unit", "role"),
    [
        ("lora-sram", "sram", "saved"),
        ("lora-pmca", "pmca", "saved"),
        ("lora-rram", "rram", "saved"),
        ("none", "rram", "base"),
        ("merged", "rram", "base"),
    ],
)
@pytest.mark.parametrize("mapper", [OneBlockPerTile(), DensePacking(replicate=(("*", 2),))])
def test_what_is_saved_with_an_adapter_lives_where_its_branch_does(
    adaptation: str, unit: str, role: str, mapper: Mapper
) -> None:
    workload, machine = small.decoder(), small.machine(sram={"unit_count": 4096})
    plain = mapped(workload, machine, adaptation, mapper)
    mapping = mapped(small.saved(workload, "head"), machine, adaptation, mapper)
    head = mapping.placements["head.weight"]
    assert (head.unit, head.role) == (unit, role)
    assert head.replicas == (1 if unit == "pmca" else mapper.copies("head.weight"))
    others = [p for p in mapping.placements.values() if p is not head]
    assert all(p.unit == plain.placements[p.weight].unit for p in others)
    assert all(p.role == plain.placements[p.weight].role for p in others)
    held = [
        sum(p.weights for p in m.placements.values() if p.unit == "rram") for m in (mapping, plain)
    ]
    moved = 0 if unit == "rram" else 32 * 50 * mapper.copies("head.weight")
    assert held[1] - held[0] == moved


SIDES = st.integers(1, 12)


@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
                    min_size=1, max_size=6),
    rows=SIDES, columns=SIDES, dense=st.booleans(),
)  # fmt: skip
def test_the_demand_counted_is_what_is_laid_out(
    shapes: list[tuple[int, int, int]], rows: int, columns: int, dense: bool
) -> None:
    mapper = DensePacking() if dense else OneBlockPerTile()
    grids = [(Grid(r, c, rows, columns), copies) for r, c, copies in shapes]
    laid = np.concatenate([units.ravel() for units, _, _ in mapper.arrange(grids, 1)])
    assert mapper.demand(grids) == np.unique(laid).size == laid.max() + 1


def test_what_a_demand_costs_does_not_grow_with_the_copies() -> None:
    grids = [(Grid(100, 30, 16, 16), 10**15), (Grid(7, 5, 16, 16), 10**12)]
    assert OneBlockPerTile().demand(grids) == 14 * 10**15 + 10**12
    # A copy has 6 whole blocks, 6 of 16 x 14 that stand alone, a 4 x 16 and a 4 x 14: four
    # shelves of 4 rows a unit. Of 7 x 5 a unit takes two shelves of three.
    assert DensePacking().demand(grids[:1]) == 12 * 10**15 + 10**15 // 2
    assert DensePacking().demand(grids[1:]) == -(-(10**12) // 6)


def test_all_walls_are_told_at_once() -> None:
    machine = small.machine(
        rram={"tile_count": 5}, sram={"unit_count": 3}, attention_on="sram",
        dram={"capacity_GiB": 1e-6}, pmca={"tcdm_KiB": 0.125},
    )  # fmt: skip
    with pytest.raises(CapacityError) as caught:
        mapped(small.decoder(), machine, "lora-pmca")
    units = [short.unit for short in caught.value.shortages]
    assert units == ["rram.tile_count", "sram.unit_count", "bytes of DRAM", "bytes of TCDM"]
    assert len(str(caught.value).splitlines()) == 4
    table = caught.value.shortages[2]
    assert (table.demand, table.bound) == (50 * 32 * 2, 1073)
    assert caught.value.demand == caught.value.shortages[0].demand


def test_a_mapping_beyond_memory_is_refused() -> None:
    machine = small.machine(rram={"tile_count": 2**31 - 1})
    with pytest.raises(MappingError, match=r"mapping takes \d+ tiles .* at most 67108864: lower"):
        mapped(small.decoder(), machine, mapper=OneBlockPerTile(replicate=(("*", 10**6),)))


@given(
    blocks=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=5), max_size=4),
    ordered=st.booleans(),
)
def test_units_in_use_and_their_blocks_are_counted(blocks: list[list[int]], ordered: bool) -> None:
    if ordered:
        blocks = [[10 * i + u for u in sorted(set(row))] for i, row in enumerate(blocks)]
    placements = []
    for i, row in enumerate(blocks):
        units = np.array(row, np.int64).reshape(1, 1, -1)
        grid = Grid(1, len(row), 1, 1)
        placements += [
            Placement(f"{unit}{i}", unit, "base", grid, units, 0 * units, 0 * units)
            for unit in ("rram", "sram")
        ]
    expected = Counter(unit for row in blocks for unit in row)
    units, counts = held_by(placements, "rram")
    assert dict(zip(units.tolist(), counts.tolist(), strict=True)) == expected
    assert units.tolist() == sorted(expected)
