"""Wire resistance against a sparse nodal analysis of the same network."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sl

from cimsim.analog.kernels import irdrop
from cimsim.analog.kernels.irdrop import column_currents, effective_conductances
from cimsim.errors import SimulationError, SpecError


def nodal_solve(g, volt, word_ohm, bit_ohm):
    rows, columns = g.shape
    word, bit = 1e6 / word_ohm, 1e6 / bit_ohm
    w = np.arange(g.size).reshape(g.shape)
    b = w + g.size
    matrix = sp.lil_matrix((2 * g.size, 2 * g.size))
    right = np.zeros(2 * g.size)

    def join(i, j, conductance):
        matrix[i, i] += conductance
        matrix[j, j] += conductance
        matrix[i, j] -= conductance
        matrix[j, i] -= conductance

    for r in range(rows):
        matrix[w[r, 0], w[r, 0]] += word
        right[w[r, 0]] += word * volt[r]
        for c in range(columns):
            join(w[r, c], b[r, c], g[r, c])
            if c:
                join(w[r, c - 1], w[r, c], word)
            if r:
                join(b[r - 1, c], b[r, c], bit)
    for c in range(columns):
        matrix[b[-1, c], b[-1, c]] += bit
    return sl.spsolve(matrix.tocsc(), right)[b[-1]] * bit


@pytest.fixture(scope="module")
def case():
    r = np.random.default_rng(0)
    return 1e6 / r.choice([1e4, 1e5, 1e6], (24, 17)), r.random(24) * 0.2


@pytest.mark.parametrize(("word", "bit"), [(1.0, 1.0), (20.0, 3.0), (0.01, 0.5)])
def test_both_solvers_equal_the_nodal_solve(case, word, bit):
    g, volt = case
    want = nodal_solve(g, volt, word, bit)
    scale = np.abs(want).max()
    assert column_currents(g, volt, word, bit, 1e-12) == pytest.approx(want, abs=1e-6 * scale)
    assert volt @ effective_conductances(g, word, bit) == pytest.approx(want, abs=1e-6 * scale)


def test_drop_matters_here(case):
    g, volt = case
    assert (volt @ effective_conductances(g, 20.0, 20.0)).sum() < 0.85 * (volt @ g).sum()


def test_one_cell_is_three_resistors_in_series():
    effective = effective_conductances(np.array([[50.0]]), 100.0, 300.0)
    assert effective[0, 0] == pytest.approx(1e6 / (1e6 / 50.0 + 400.0), rel=1e-12)


def test_wires_vanish_with_their_resistance(case):
    g, _ = case
    assert effective_conductances(g, 1e-7, 1e-7) == pytest.approx(g, rel=1e-5)


def test_more_resistance_gives_less_current(case):
    g, volt = case
    totals = [column_currents(g, volt, r, r).sum() for r in (0.1, 1.0, 10.0, 100.0)]
    assert totals == sorted(totals, reverse=True)


def test_reciprocity(case):
    g, _ = case
    turned = effective_conductances(g[::-1, ::-1].T, 3.0, 2.0)[::-1, ::-1].T
    assert effective_conductances(g, 2.0, 3.0) == pytest.approx(turned, rel=1e-9)


def test_errors(case, monkeypatch):
    g, volt = case
    with pytest.raises(
        SpecError, match=r"^the wire resistance of a bit line segment must be above"
    ):
        effective_conductances(g, 1.0, 0.0)
    with pytest.raises(SpecError, match="the lowest is -1 uS"):
        effective_conductances(np.array([[-1.0]]), 1.0, 1.0)
    with pytest.raises(SpecError, match=r"^24 word lines need as many voltages"):
        column_currents(g, volt[:3], 1.0, 1.0)
    with pytest.raises(SpecError, match="rows x columns"):
        column_currents(g[0], volt, 1.0, 1.0)
    monkeypatch.setattr(irdrop, "MAX_SWEEPS", 2)
    with pytest.raises(SimulationError, match=r"^line relaxation of a 24x17 crossbar did not"):
        column_currents(g, volt, 50.0, 50.0, 1e-12)
