"""Wire resistance against a dense nodal analysis of the same network, and laws of any network."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.analog.kernels import irdrop, relaxation
from cimsim.analog.kernels.irdrop import effective_conductances
from cimsim.analog.kernels.relaxation import column_currents
from cimsim.analog.wires import Wires
from cimsim.errors import SimulationError, SpecError

OHMS = st.sampled_from([0.0, 0.0, 1e-3, 1.0, 30.0, 2e4])
NETWORKS = st.builds(Wires, OHMS, OHMS, OHMS, OHMS)


def solved(edges, driven, sensed):
    """Currents into `sensed` nodes per volt on each of `driven`, sensed ones at 0 V.

    Edges are (node, node, conductance); None joins two nodes. Dense nodal analysis.
    """
    alias = {}

    def root(node):
        while node in alias:
            node = alias[node]
        return node

    for a, b, conductance in edges:
        if conductance is None and root(a) != root(b):
            alias[root(a)] = root(b)
    ends = [root(node) for node in (*driven, *sensed)]
    numbers = {node: i for i, node in enumerate(ends)}
    for a, b, _ in edges:
        for node in (root(a), root(b)):
            numbers.setdefault(node, len(numbers))
    y = np.zeros((len(numbers), len(numbers)))
    for a, b, conductance in edges:
        i, j = numbers[root(a)], numbers[root(b)]
        if conductance and i != j:
            y[[i, j], [i, j]] += conductance
            y[[i, j], [j, i]] -= conductance
    into, inner = slice(len(driven), len(ends)), slice(len(ends), None)
    lost = 0.0
    if len(numbers) > len(ends):
        lost = y[into, inner] @ np.linalg.solve(y[inner, inner], y[inner, : len(driven)])
    return -(y[into, : len(driven)] - lost).T


def wire(a, b, ohm):
    return a, b, 1e6 / ohm if ohm else None


def crossed(g, wires):
    """Edges of an array whose word lines cross its bit lines."""
    rows, columns = g.shape
    for r in range(rows):
        yield wire(("in", r), ("w", r, 0), wires.driver_ohm + wires.word_ohm)
        for c in range(columns):
            yield ("w", r, c), ("b", r, c), g[r, c]
            if c:
                yield wire(("w", r, c - 1), ("w", r, c), wires.word_ohm)
            if r:
                yield wire(("b", r - 1, c), ("b", r, c), wires.bit_ohm)
    for c in range(columns):
        yield wire(("b", rows - 1, c), ("out", c), wires.sense_ohm + wires.bit_ohm)


def nodal(g, wires):
    rows, columns = g.shape
    ends = [("in", r) for r in range(rows)], [("out", c) for c in range(columns)]
    return solved(list(crossed(g, wires)), *ends)


def cells(rows, columns, seed=0):
    return 1e6 / np.random.default_rng(seed).choice([1e4, 1e5, 1e6], (rows, columns))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), NETWORKS, st.integers(0, 99))
def test_every_network_equals_the_nodal_solve(rows, columns, wires, seed):
    """Also with blocks of which some are compiled and some joined, whatever end is there."""
    g, size = cells(rows, columns, seed), irdrop.SMALL
    want = nodal(g, wires)
    for irdrop.SMALL in (size, 2):
        try:
            found = effective_conductances(g, wires)
        finally:
            irdrop.SMALL = size
        assert found == pytest.approx(want, rel=1e-7, abs=1e-9 * g.max())


@settings(max_examples=40, deadline=None)
@given(NETWORKS, st.integers(0, 99), st.booleans())
def test_a_part_of_an_array_is_that_part_of_the_whole(wires, seed, many):
    g = cells(70, 60, seed) if many else cells(9, 7, seed)
    rows, columns = slice(3, 6), slice(2, 5)
    whole = effective_conductances(g, wires)
    found = effective_conductances(g, wires, rows, columns)
    assert found == pytest.approx(whole[rows, columns], rel=1e-9, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(NETWORKS.filter(lambda w: w.word_ohm and w.bit_ohm), st.integers(0, 99))
def test_relaxation_equals_the_direct_solve(wires, seed):
    rng = np.random.default_rng(seed)
    g, volts = cells(12, 7, seed), rng.random((3, 12))
    direct = column_currents(g, volts, wires, method="direct")
    assert direct == pytest.approx(volts @ nodal(g, wires), rel=1e-7)
    relaxed = column_currents(g, volts, wires, method="relaxation", tolerance_ratio=1e-8)
    assert relaxed == pytest.approx(direct, abs=1e-7 * np.abs(direct).max())


def test_the_number_of_vectors_chooses_the_way(monkeypatch):
    g, wires = cells(40, 40), Wires(1.0, 1.0)
    taken = []
    direct = effective_conductances
    monkeypatch.setattr(
        relaxation, "effective_conductances", lambda *given: taken.append(1) or direct(*given)
    )
    few, many = np.ones((1, 40)), np.ones((400, 40))
    one = column_currents(g, few, wires)
    assert taken == []
    assert column_currents(g, many, wires)[7] == pytest.approx(one[0], rel=1e-7)
    assert taken == [1]
    column_currents(g, few, Wires(0.0, 1.0))
    assert taken == [1, 1]


def test_one_cell_is_five_resistors_in_series():
    effective = effective_conductances(np.array([[50.0]]), Wires(100.0, 300.0, 7.0, 11.0))
    assert effective[0, 0] == pytest.approx(1e6 / (1e6 / 50.0 + 418.0), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80))
def test_without_resistance_the_product_is_exact(rows, columns):
    g = cells(rows, columns)
    assert (effective_conductances(g, Wires(0.0, 0.0)) == g).all()
    # to first order the loss is g r (cells of the line behind): at most this much here
    tiny, most = Wires(1e-6, 1e-6, 1e-6, 1e-6), 1e-12 * g.max() * (rows + columns + 2) ** 2
    assert effective_conductances(g, tiny) == pytest.approx(g, rel=most + 1e-12)


def test_0_ohm_is_the_limit_of_ever_less():
    g = cells(20, 30)
    for name in ("word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"):
        base = Wires(20.0, 30.0, 40.0, 50.0)
        exact = effective_conductances(g, replace(base, **{name: 0.0}))
        nearly = effective_conductances(g, replace(base, **{name: 1e-7}))
        assert nearly == pytest.approx(exact, rel=1e-6)
        assert effective_conductances(g, replace(base, **{name: 1.0})) != pytest.approx(
            exact, rel=1e-6
        )


@settings(max_examples=40, deadline=None)
@given(
    NETWORKS,
    st.sampled_from(["word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"]),
    st.sampled_from([1.3, 10.0]),
)
def test_more_resistance_gives_less_current(wires, name, times):
    """Rayleigh: with every row at one voltage the whole current falls."""
    g = cells(8, 6)
    larger = replace(wires, **{name: (getattr(wires, name) + 1e-3) * times})
    less, more = (effective_conductances(g, w).sum() for w in (larger, wires))
    assert less < more * (1.0 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(NETWORKS, st.integers(1, 70), st.integers(1, 70))
def test_reciprocity(wires, rows, columns):
    g = cells(rows, columns)
    ends = Wires(wires.bit_ohm, wires.word_ohm, wires.sense_ohm, wires.driver_ohm)
    turned = effective_conductances(g[::-1, ::-1].T, ends)[::-1, ::-1].T
    assert effective_conductances(g, wires) == pytest.approx(turned, rel=1e-7, abs=1e-9)


def test_cells_far_from_both_ends_lose_most():
    """Uniform cells: what is lost grows with the distance from drivers and converters."""
    lost = 1.0 - effective_conductances(np.full((64, 64), 10.0), Wires(1.0, 1.0)) / 10.0
    assert (np.diff(lost[32]) > 0.0).all()
    assert (np.diff(lost[:, 32]) < 0.0).all()
    twice = 1.0 - effective_conductances(np.full((128, 128), 10.0), Wires(1.0, 1.0)) / 10.0
    # choice: weak drop, so that losses go with the square of the size
    assert twice[0, -1] > 3.0 * lost[0, -1]


def test_drop_matters_here():
    g, volts = cells(24, 17), np.random.default_rng(0).random(24)
    assert (volts @ effective_conductances(g, Wires(20.0, 20.0))).sum() < 0.85 * (volts @ g).sum()


def test_errors(monkeypatch):
    g, wires = cells(24, 17), Wires(50.0, 50.0)
    with pytest.raises(SpecError, match="the lowest is -1 uS"):
        effective_conductances(np.array([[-1.0]]), wires)
    with pytest.raises(SpecError, match="rows x columns"):
        effective_conductances(g[0], wires)
    with pytest.raises(SpecError, match=r"^voltages are vectors x 24 word lines and finite, got"):
        column_currents(g, np.ones((1, 3)), wires)
    with pytest.raises(SpecError, match=r"^method is auto, relaxation or direct, got 'fast'"):
        column_currents(g, np.ones((1, 24)), wires, method="fast")
    with pytest.raises(SpecError, match="both wires above 0 ohm"):
        column_currents(g, np.ones((1, 24)), Wires(0.0, 1.0), method="relaxation")
    for name in ("word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"):
        with pytest.raises(SpecError, match=rf"^wires: {name} must lie in 0 \.\. 1e\+06, got -1"):
            replace(wires, **{name: -1.0})
    monkeypatch.setattr(relaxation, "MAX_SWEEPS", 2)
    with pytest.raises(SimulationError, match=r"^line relaxation of a 24x17 crossbar did not"):
        column_currents(g, np.ones((1, 24)), wires, method="relaxation")
