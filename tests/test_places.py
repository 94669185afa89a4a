"""A block among the lines of its tile: against a nodal solve of the whole tile, and in a model."""

from dataclasses import dataclass

import analog
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_irdrop import nodal

from cimsim.analog.coding import Coding
from cimsim.analog.crossbar import Cuts, program
from cimsim.analog.places import Moment, TilePlace
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.frontend import trace_module
from cimsim.functional import hardware_of
from cimsim.mappers import build_mapping
from cimsim.noise import Hermes, Ideal

NOW = Moment(0.0, "frozen", 0)
WIRES = Wires(20.0, 30.0, 5.0, 7.0)
UNUSED_uS = 2.0


@dataclass(frozen=True)
class Stored:
    """A block of given conductances."""

    corner: tuple[int, int]
    g: np.ndarray

    def cells(self, moment):
        return self.g

    def version(self):
        return 0


def random_cells(slices, polarities, rows, columns, seed=0):
    return np.random.default_rng(seed).random((slices, polarities, rows, columns)) * 100.0


def line(place, g, r, c, s, p):
    """Word line and bit line of the cell of one weight, by the rule of the docstring."""
    slices, polarities = g.shape[:2]
    return place[0] + r, ((place[1] + c) * slices + s) * polarities + p


def by_hand(shape, blocks):
    """Conductances of a whole tile, cell by cell; `blocks` are (corner, cells)."""
    g0 = blocks[0][1]
    tile = np.full((shape[0], shape[1] * g0.shape[0] * g0.shape[1]), UNUSED_uS)
    for corner, g in blocks:
        for s, p, r, c in np.ndindex(g.shape):
            tile[line(corner, g, r, c, s, p)] = g[s, p, r, c]
    return tile


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.booleans(),
    st.sampled_from(["grounded", "open"]),
)
def test_a_block_sees_all_of_its_tile(kinds, corner, beside, idle):
    g, other = random_cells(*kinds, 2, 3), random_cells(*kinds, 4, 1, seed=1)
    there = (1, 5)
    blocks = [(corner, g), *([(there, other)] if beside else [])]
    whole = by_hand((5, 6), blocks)
    if idle == "open":
        whole[[r for r in range(5) if not corner[0] <= r < corner[0] + 2]] = 0.0
    wires = Wires(20.0, 30.0, 5.0, 7.0, idle)
    effective = nodal(whole, wires)
    place = TilePlace(5, 6, *corner, (Stored(there, other),) if beside else ())
    found = place.effective(g.astype(np.float32), wires, UNUSED_uS, NOW)
    for s, p, r, c in np.ndindex(g.shape):
        assert found[s, p, r, c] == pytest.approx(effective[line(corner, g, r, c, s, p)], rel=1e-5)


def loss(place, size=8, wires=WIRES):
    g = np.full((1, 1, size, size), 20.0, np.float32)
    return 1.0 - place.effective(g, wires, UNUSED_uS, NOW)[0, 0] / 20.0


def test_the_place_in_the_tile_decides_what_is_lost():
    near, far = loss(TilePlace(32, 32, 24, 0)), loss(TilePlace(32, 32, 0, 24))
    assert (far > near).all()
    assert (loss(TilePlace(32, 32)) > loss(TilePlace(8, 8))).all()
    assert (loss(TilePlace(32, 32, 24, 0)) > loss(TilePlace(8, 8))).all()
    beside = TilePlace(8, 16, 0, 8, (Stored((0, 0), random_cells(1, 1, 8, 8)),))
    assert (loss(beside) > loss(TilePlace(8, 16, 0, 8))).all()


def test_lines_without_drop_see_no_neighbours():
    beside = TilePlace(8, 16, 0, 8, (Stored((0, 0), random_cells(1, 1, 8, 8)),))
    assert (loss(beside, wires=Wires(0.0, 0.0)) == 0.0).all()


def test_a_pair_and_slices_share_their_word_line():
    w = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    for coding in (Coding(g_min_uS=1.0), Coding(cells_per_weight=2, bits_per_cell=2)):
        bar = program(w, Cuts.of(w.shape, (6, 5)), coding, Ideal(), seed=0, wires=WIRES)
        g = coding.encode(w).g_uS_SPRC
        lines = g.transpose(2, 3, 0, 1).reshape(6, -1)
        seen = nodal(lines.astype(np.float64), WIRES).reshape(6, 5, *g.shape[:2])
        want = (seen[..., 0] - seen[..., 1]).transpose(2, 0, 1) / coding.step_uS
        assert bar.read().steps_SKN == pytest.approx(want, abs=1e-3)


# Whole models: the layout is that of the mapping.


@pytest.fixture(scope="module")
def placed():
    """A model of two small layers in one tile, its mapping packed and not, and inputs."""
    machine, model = analog.machine(rows=20, columns=20), analog.network(16, 8, 12)
    x = analog.vectors(20, 16)
    workload = trace_module(model, (x,), name="net")
    mappings = {name: build_mapping(workload, machine, "none", name)
                for name in ("dense", "one-per-tile")}  # fmt: skip
    return machine, model, x, mappings


def on_tiles(placed, mapper, wires=WIRES, **given):
    machine, model, _, mappings = placed
    return analog.analogize(
        model, mappings[mapper], machine, wires=wires, **given, **analog.ideal(machine)
    )


@torch.no_grad()
def outputs(model, x):
    return model(x)


def test_blocks_in_one_tile_load_each_other(placed):
    _, model, x, mappings = placed
    assert {int(p.units.max()) for p in mappings["dense"].placements.values()} == {0}
    exact = outputs(model, x)
    alone, packed = (outputs(on_tiles(placed, m), x) - exact for m in ("one-per-tile", "dense"))
    assert alone.norm() > 0.0
    assert packed.norm() > 1.1 * alone.norm()


def test_the_tile_of_a_packed_model_by_hand(placed):
    machine, _, _, mappings = placed
    layers = on_tiles(placed, "dense").layers
    coding = hardware_of(machine, Ideal()).coding
    exact = analog.ideal(machine)["coding"]
    found = mappings["dense"].placements
    blocks = {}
    for name, layer in layers.items():
        encoded = exact.encode(layer.weight_KN().detach().numpy())
        corner = int(found[name].row_offset[0, 0, 0]), int(found[name].column_offset[0, 0, 0])
        blocks[name] = corner, encoded
    tile = np.full((20, 40), coding.g_min_uS)
    for corner, encoded in blocks.values():
        for s, p, r, c in np.ndindex(encoded.g_uS_SPRC.shape):
            tile[line(corner, encoded.g_uS_SPRC, r, c, s, p)] = encoded.g_uS_SPRC[s, p, r, c]
    effective = nodal(tile, WIRES)
    for name, layer in layers.items():
        (row, column), encoded = blocks[name]
        rows, columns = layer.recipe.grid.shape
        pairs = effective[row : row + rows].reshape(rows, 20, 2)[:, column : column + columns]
        want = (pairs[..., 0] - pairs[..., 1]) * encoded.gain_C - encoded.offset_C
        assert layer.cells_as_weight() == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("mapper", ["dense", "one-per-tile"])
def test_kernels_torch_and_weights_see_the_same_lines(placed, mapper):
    x = placed[2]
    kernel, by_torch = (
        outputs(on_tiles(placed, mapper, path=path), x) for path in ("kernel", "torch")
    )
    assert by_torch == pytest.approx(kernel, abs=1e-5)
    weights = outputs(on_tiles(placed, mapper, converters=False), x)
    assert weights == pytest.approx(kernel, abs=1e-4)


def test_a_changed_neighbour_is_seen(placed):
    _, model, x, _ = placed
    converted = on_tiles(placed, "dense")
    first = next(iter(converted.layers.values()))
    before = outputs(converted, x), first.cells_as_weight()
    last = model[-1]
    kept = last.weight.detach().clone()
    try:
        with torch.no_grad():
            last.weight[:, 1:].zero_()
        assert not np.array_equal(first.cells_as_weight(), before[1])
        hidden = first(x)
        with torch.no_grad():
            last.weight.copy_(kept)
        assert not torch.equal(first(x), hidden)
        assert outputs(converted, x) == pytest.approx(before[0])
    finally:
        with torch.no_grad():
            last.weight.copy_(kept)


def test_groups_of_a_convolution_are_seated():
    machine, x = analog.machine(), torch.randn(2, 8, 6, 6)
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3, groups=4)).eval()
    mapping = analog.of_module(
        model,
        machine,
        x,
    )
    exact = analog.ideal(machine)
    near, off = (
        analog.analogize(model, mapping, machine, wires=Wires(ohm, ohm), **exact)
        for ohm in (1e-6, 20.0)
    )
    want = outputs(model, x)
    assert outputs(near, x) == pytest.approx(want, abs=1e-4)
    assert (outputs(off, x) - want).norm() > 1e-3 * want.norm()
    for layer in off.layers.values():
        assert all(copy.places for part in layer.parts() for copy in part.copies(0))


def test_a_pair_below_zero_leads_on_its_other_polarity():
    g = random_cells(2, 2, 4, 3)
    g[:, 0] *= np.random.default_rng(2).choice([-1.0, 1.0], g[:, 0].shape)
    lead, other = g.copy(), g[:, 0] < 0.0
    lead[:, 1][other] -= g[:, 0][other]
    lead[:, 0][other] = 0.0
    place = TilePlace(6, 4, 1, 1)
    found, wanted = (
        place.effective(cells.astype(np.float32), WIRES, 0.0, NOW) for cells in (g, lead)
    )
    assert found == pytest.approx(wanted, rel=1e-6)
    signed = g[:, :1].astype(np.float32)
    with pytest.raises(SpecError, match="wire resistance needs finite conductances of at least 0"):
        place.effective(signed, WIRES, 0.0, NOW)
    weight = np.random.default_rng(3).standard_normal((8, 6)).astype(np.float32)
    coding = Coding(g_max_uS=20.0)
    bar = program(weight, Cuts.of((8, 6), (8, 6)), coding, Hermes(), seed=1, wires=WIRES)
    assert min(cells.g_uS.min() for cells in bar.cells) < 0.0
    assert np.isfinite(bar.read(3600.0).weights()).all()


def test_idle_rows_are_grounded_or_open():
    with pytest.raises(SpecError, match="idle_rows is grounded or open, got 'off'"):
        Wires(1.0, 1.0, idle_rows="off")
