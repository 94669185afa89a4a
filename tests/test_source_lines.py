"""Source lines parallel to the bit lines, against a nodal solve, and what gates make of them."""

from dataclasses import replace

import analog
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_irdrop import OHMS, cells, solved, wire

from cimsim.analog.hardware import hardware_of
from cimsim.analog.kernels.irdrop import effective_conductances
from cimsim.analog.kernels.relaxation import column_currents
from cimsim.analog.places import Moment, TilePlace
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.noise import Ideal

NETWORKS = st.builds(
    Wires, OHMS, OHMS, OHMS, OHMS, idle_rows=st.just("open"), topology=st.just("parallel")
)
PARALLEL = Wires(20.0, 30.0, 5.0, 7.0, "open", "parallel")


def beside(g, wires):
    """Edges of an array whose source lines (s) run beside its bit lines (b)."""
    rows, columns = g.shape
    for c in range(columns):
        yield wire("in", ("s", 0, c), wires.driver_ohm + wires.word_ohm)
        for r in range(rows):
            yield ("s", r, c), ("b", r, c), g[r, c]
            if r:
                yield wire(("s", r - 1, c), ("s", r, c), wires.word_ohm)
                yield wire(("b", r - 1, c), ("b", r, c), wires.bit_ohm)
        yield wire(("b", rows - 1, c), ("out", c), wires.sense_ohm + wires.bit_ohm)


def nodal(g, wires):
    return solved(list(beside(g, wires)), ["in"], [("out", c) for c in range(g.shape[1])])[0]


def between(g, wires):
    """Voltages between the lines at every cell of one column under 1 V, node by node."""
    rows, y = len(g), np.zeros((2 * len(g), 2 * len(g)))
    into = np.zeros(2 * rows)

    def joined(i, j, conductance):
        y[[i, j], [i, j]] += conductance
        y[[i, j], [j, i]] -= conductance

    for r in range(rows):
        joined(r, rows + r, g[r])
        if r:
            joined(r - 1, r, 1e6 / wires.word_ohm)
            joined(rows + r - 1, rows + r, 1e6 / wires.bit_ohm)
    y[0, 0] += 1e6 / (wires.word_ohm + wires.driver_ohm)
    into[0] = 1e6 / (wires.word_ohm + wires.driver_ohm)
    y[-1, -1] += 1e6 / (wires.bit_ohm + wires.sense_ohm)
    found = np.linalg.solve(y, into)
    return found[:rows] - found[rows:]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), NETWORKS, st.integers(0, 99))
def test_columns_carry_what_a_nodal_solve_says(rows, columns, wires, seed):
    g = cells(rows, columns, seed)
    found = effective_conductances(g, wires)
    assert found.sum(axis=0) == pytest.approx(nodal(g, wires), rel=1e-7)
    assert (found >= 0.0).all()
    # columns see nothing of each other
    assert effective_conductances(g[:, :1], wires)[:, 0] == pytest.approx(found[:, 0], rel=1e-12)
    part = slice(rows // 3, rows // 3 + max(1, rows // 2))
    alone = np.zeros_like(g)
    alone[part] = g[part]
    assert effective_conductances(g, wires, part).sum(axis=0) == pytest.approx(
        nodal(alone, wires), rel=1e-7
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 300.0, 2e4]))
def test_every_cell_carries_its_own(rows, seed, ohm):
    g, wires = cells(rows, 1, seed), replace(PARALLEL, word_ohm=ohm, bit_ohm=2.0 * ohm)
    found = effective_conductances(g, wires)[:, 0]
    # 1e-6: the nodal matrix is nearly singular at a milliohm
    assert found == pytest.approx(g[:, 0] * between(g[:, 0], wires), rel=1e-6, abs=1e-9 * g.max())


def test_one_row_alone_is_in_series_with_its_lines():
    g = cells(7, 3)
    for r in range(7):
        path = 5.0 + 7.0 + 20.0 * (r + 1) + 30.0 * (7 - r)
        found = effective_conductances(g, PARALLEL, slice(r, r + 1))
        assert found[0] == pytest.approx(1e6 / (1e6 / g[r] + path), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(NETWORKS, st.integers(0, 99))
def test_fewer_rows_lose_less_than_all_of_them(wires, seed):
    """What is linear is exact with every row on, and below the truth for any other gates."""
    rng = np.random.default_rng(seed)
    g, gates = cells(8, 5, seed), (rng.random((4, 8)) < 0.5).astype(float)
    linear = effective_conductances(g, wires)
    exact = column_currents(g, gates, wires)
    for row, on in zip(exact, gates, strict=True):
        assert row == pytest.approx(nodal(g * on[:, None], wires), rel=1e-7, abs=1e-12)
    assert (exact >= gates @ linear * (1.0 - 1e-9)).all()
    every = column_currents(g, np.ones((1, 8)), wires)[0]
    assert every == pytest.approx(linear.sum(axis=0), rel=1e-12)
    assert (linear <= g * (1.0 + 1e-12)).all()
    more = replace(wires, bit_ohm=wires.bit_ohm * 3.0 + 1.0)
    assert effective_conductances(g, more).sum() < linear.sum()


def test_without_resistance_the_product_is_exact():
    g = cells(20, 11)
    none = Wires(0.0, 0.0, idle_rows="open", topology="parallel")
    assert effective_conductances(g, none) == pytest.approx(g, rel=1e-14)
    assert effective_conductances(np.zeros((3, 2)), PARALLEL).tolist() == [[0.0, 0.0]] * 3


def test_rows_beside_those_of_a_block_are_off():
    g = np.random.default_rng(1).random((1, 2, 3, 2)).astype(np.float32) * 50.0
    found = TilePlace(9, 4, 2, 1).effective(g, PARALLEL, 2.0, Moment(0.0, "frozen", 0))
    tile = np.zeros((9, 4))
    tile[2:5] = g.transpose(2, 3, 0, 1).reshape(3, 4)
    assert found.transpose(2, 3, 0, 1).reshape(3, 4) == pytest.approx(
        effective_conductances(tile, PARALLEL)[2:5], rel=1e-6
    )


def test_a_machine_has_them_and_both_paths_compute_them():
    ohms = {"word_ohm": 40.0, "bit_ohm": 60.0, "topology": "parallel", "idle_rows": "open"}
    sources = dict.fromkeys(("word_ohm", "bit_ohm"), "assumed: for tests")
    machine = analog.machine(accuracy={"sources": sources, **ohms})
    wires = hardware_of(machine, Ideal()).wires
    assert wires == Wires(40.0, 60.0, idle_rows="open", topology="parallel")
    model, x = analog.network(24, 12), analog.vectors(5, 24)
    mapping = analog.of_module(model, machine, x)
    exact = analog.ideal(machine)
    with torch.no_grad():
        found = [
            analog.analogize(model, mapping, machine, wires=wires, path=path, **exact)(x)
            for path in ("kernel", "torch")
        ]
        assert torch.allclose(*found, atol=1e-5)
        assert not torch.allclose(found[0], model(x), atol=1e-3)


def test_errors():
    with pytest.raises(SpecError, match="idle ones cannot be grounded: set idle_rows to open"):
        Wires(1.0, 1.0, topology="parallel")
    with pytest.raises(SpecError, match="topology is crossed or parallel, got 'x'"):
        Wires(1.0, 1.0, topology="x")
    with pytest.raises(SpecError, match=r"gates, 0 \(off\) or 1 \(on\)"):
        column_currents(cells(3, 2), np.full((1, 3), 0.5), PARALLEL)
    for change, message in (
        ({"word_ohm": 1.0, "bit_ohm": 1.0}, "set idle_rows to open"),
        ({"idle_rows": "open"}, "topology is that of wires"),
    ):
        sources = dict.fromkeys(change.keys() - {"idle_rows"}, "assumed: for tests")
        with pytest.raises(ValueError, match=message):
            analog.machine(accuracy={"sources": sources, "topology": "parallel", **change})
