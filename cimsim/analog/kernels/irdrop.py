"""Wire resistance of a crossbar (IR drop): node voltages, and the exact effective conductances.

Nodes: every cell (r, c) of conductance g joins a node of word line r to a node of bit line c.
Word lines are driven at column 0 and bit lines are held at virtual ground below the last row,
each through one more wire segment. Segments have `word_ohm` between neighbours along a word line
and `bit_ohm` along a bit line. The network is linear, so column currents are I = V G_eff.

Not modelled: access transistors, capacitance, the output resistance of drivers beyond a segment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cimsim.errors import SimulationError, SpecError
from cimsim.runtime.jit import njit

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
MAX_SWEEPS = 100_000


def _segment_uS(resistance_ohm: float, line: str) -> float:
    if not (np.isfinite(resistance_ohm) and resistance_ohm > 0.0):
        raise SpecError(
            f"the wire resistance of a {line} segment must be above 0 ohm, got {resistance_ohm}; "
            "leave wires out to model none."
        )
    return 1e6 / resistance_ohm


def effective_conductances(g_uS_RC: F32 | F64, word_ohm: float, bit_ohm: float) -> F64:
    """Matrix G_eff (uS, float64) with column currents V @ G_eff, exact to rounding.

    Rows are added from the top: above row r the array is a Norton equivalent with admittance
    Y (C x C) and short-circuit currents J (C x R); adding a row eliminates its word line (a
    tridiagonal system) and then the segment of every bit line. R dense solves of size C: made
    for reducing a programmed tile once, not for each vector; seconds at 256 x 256 and ten times
    that at 512 x 512, best with one thread of the mathematics library. Raises SpecError for a
    negative or non-finite conductance or resistance.
    """
    g = _checked(g_uS_RC)
    word_uS, bit_uS = _segment_uS(word_ohm, "word line"), _segment_uS(bit_ohm, "bit line")
    rows, columns = g.shape
    identity = np.eye(columns)
    admittance = np.zeros((columns, columns))
    current = np.zeros((columns, rows))
    for r in range(rows):
        cells = g[r]
        transfer, drive = _word_line(cells, word_uS)
        admittance += np.diag(cells) - cells[:, None] * transfer
        current[:, r] = cells * drive
        both = np.concatenate([admittance, current[:, : r + 1]], axis=1)
        both = np.linalg.solve(identity + admittance / bit_uS, both)
        admittance, current[:, : r + 1] = both[:, :columns].copy(), both[:, columns:]
    return np.ascontiguousarray(current.T)


def _word_line(cells_C: F64, word_uS: float) -> tuple[F64, F64]:
    """Word-line voltages per volt on each bit line (C x C) and per volt of the driver (C)."""
    columns = cells_C.size
    diagonal = cells_C + 2.0 * word_uS
    diagonal[-1] -= word_uS
    right = np.zeros((columns, columns + 1))
    np.fill_diagonal(right, cells_C)
    right[0, columns] = word_uS
    _tridiagonal(diagonal, word_uS, right)
    return right[:, :columns], right[:, columns]


@njit(cache=True, nogil=True, error_model="numpy")
def _tridiagonal(diagonal: Any, off: Any, right: Any) -> None:
    """Solve in place with `diagonal` and -`off` beside it (Thomas), for all right sides."""
    size = diagonal.size
    ratio = np.empty(size)
    ratio[0] = off / diagonal[0]
    right[0] /= diagonal[0]
    for i in range(1, size):
        pivot = diagonal[i] - off * ratio[i - 1]
        ratio[i] = off / pivot
        for j in range(right.shape[1]):
            right[i, j] = (right[i, j] + off * right[i - 1, j]) / pivot
    for i in range(size - 2, -1, -1):
        for j in range(right.shape[1]):
            right[i, j] += ratio[i] * right[i + 1, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(g: Any, word: Any, bit: Any, fw: Any, iw: Any, fb: Any, ib: Any) -> None:
    rows, columns = g.shape
    for r in range(rows):
        for c in range(columns):
            total = g[r, c] + word + (word if c < columns - 1 else 0.0)
            iw[r, c] = 1.0 / (total - (word * fw[r, c - 1] if c > 0 else 0.0))
            fw[r, c] = word * iw[r, c]
            total = g[r, c] + bit + (bit if r > 0 else 0.0)
            ib[r, c] = 1.0 / (total - (bit * fb[r - 1, c] if r > 0 else 0.0))
            fb[r, c] = bit * ib[r, c]


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep(g: Any, volt: Any, word: Any, bit: Any, w: Any, b: Any, fw: Any, iw: Any, fb: Any, ib: Any) -> None:  # fmt: skip  # noqa: E501
    rows, columns = g.shape
    for r in range(rows):
        w[r, 0] = (g[r, 0] * b[r, 0] + word * volt[r]) * iw[r, 0]
        for c in range(1, columns):
            w[r, c] = (g[r, c] * b[r, c] + word * w[r, c - 1]) * iw[r, c]
        for c in range(columns - 2, -1, -1):
            w[r, c] += fw[r, c] * w[r, c + 1]
    for c in range(columns):
        b[0, c] = g[0, c] * w[0, c] * ib[0, c]
    for r in range(1, rows):
        for c in range(columns):
            b[r, c] = (g[r, c] * w[r, c] + bit * b[r - 1, c]) * ib[r, c]
    for r in range(rows - 2, -1, -1):
        for c in range(columns):
            b[r, c] += fb[r, c] * b[r + 1, c]


@njit(cache=True, nogil=True, error_model="numpy")
def _relax(g: Any, volt: Any, word: Any, bit: Any, tolerance: Any, limit: Any) -> Any:
    rows, columns = g.shape
    w = np.zeros((rows, columns))
    b = np.zeros((rows, columns))
    fw, iw = np.empty((rows, columns)), np.empty((rows, columns))
    fb, ib = np.empty((rows, columns)), np.empty((rows, columns))
    _factor(g, word, bit, fw, iw, fb, ib)
    current = np.zeros(columns)
    for sweep in range(limit):
        _sweep(g, volt, word, bit, w, b, fw, iw, fb, ib)
        change, largest = 0.0, 0.0
        for c in range(columns):
            new = b[rows - 1, c] * bit
            change = max(change, abs(new - current[c]))
            largest = max(largest, abs(new))
            current[c] = new
        if change <= tolerance * largest:
            return current, sweep + 1
    return current, -1


def column_currents(
    g_uS_RC: F32 | F64,
    voltage_V_R: F32 | F64,
    word_ohm: float,
    bit_ohm: float,
    tolerance_ratio: float = 1e-9,
) -> F64:
    """Column currents (uA) for word-line voltages (V), by line relaxation.

    All word lines are solved exactly given the bit lines, then all bit lines given the word
    lines, until no current changes by more than `tolerance_ratio` of the largest. Raises
    SimulationError if that takes more than 100,000 sweeps, SpecError for invalid input.
    """
    g = _checked(g_uS_RC)
    volt = np.asarray(voltage_V_R, np.float64)
    if volt.shape != (g.shape[0],):
        raise SpecError(f"{g.shape[0]} word lines need as many voltages, got {volt.shape}.")
    word_uS, bit_uS = _segment_uS(word_ohm, "word line"), _segment_uS(bit_ohm, "bit line")
    current, sweeps = _relax(g, volt, word_uS, bit_uS, tolerance_ratio, MAX_SWEEPS)
    if sweeps < 0:
        raise SimulationError(
            f"line relaxation of a {g.shape[0]}x{g.shape[1]} crossbar did not settle to "
            f"{tolerance_ratio:g} in {MAX_SWEEPS} sweeps; allow a larger tolerance or use "
            "effective_conductances."
        )
    return np.asarray(current)


def _checked(g_uS_RC: F32 | F64) -> F64:
    g = np.array(g_uS_RC, np.float64)
    if g.ndim != 2 or g.size == 0:
        raise SpecError(f"a crossbar is a rows x columns array of conductances, got {g.shape}.")
    if not np.isfinite(g).all() or g.min() < 0.0:
        raise SpecError(
            "wire resistance needs finite conductances of at least 0 uS, the lowest is "
            f"{np.nanmin(g):g} uS; use differential or offset coding with a physical device."
        )
    return g
