"""Column currents of a crossbar with wire resistance: the cheaper of two exact ways.

Line relaxation costs time by vector and sweep, `effective_conductances` once for all vectors; both
agree to the tolerance. Units as in `cimsim.analog.kernels.irdrop`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from cimsim.analog.kernels.irdrop import F32, F64, checked_cells, effective_conductances
from cimsim.analog.wires import Wires
from cimsim.errors import SimulationError, SpecError
from cimsim.runtime.jit import njit

Method = Literal["auto", "relaxation", "direct"]
MAX_SWEEPS = 100_000
"""Choice: a network that takes more is solved at once in less time."""
SWEEPS_PER_LINE = 0.3
"""Choice: sweeps of all vectors together, for each row and column, that take as long as the
effective conductances; measured, benchmarks/perf/irdrop.py."""


def column_currents(
    g_uS_RC: F32 | F64,
    voltage_V_BR: F32 | F64,
    wires: Wires,
    *,
    tolerance_ratio: float = 1e-9,
    method: Method = "auto",
) -> F64:
    """Column currents [B, C] (uA) for word-line voltages [B, R] (V).

    `auto` relaxes while no vector takes more than its share of the sweeps that cost as much as the
    effective conductances; else it takes those, as where a wire has 0 ohm. In a relaxation all word
    lines are solved given the bit lines, then all bit lines given the word lines, until no current
    of the vector is further off than `tolerance_ratio` of the largest, by the rate at which changes
    shrink. Of parallel source lines, under 1 V, the inputs are gates, 0 or 1, and every vector is
    solved exactly, whose currents are no linear function of them. Raises SpecError for invalid
    input, and where relaxation is asked for a wire of 0 ohm; SimulationError if a relaxation that
    was asked for takes more than 100,000 sweeps.
    """
    g = checked_cells(g_uS_RC)
    volts = np.asarray(voltage_V_BR, np.float64)
    if volts.ndim != 2 or volts.shape[1] != g.shape[0] or not np.isfinite(volts).all():
        raise SpecError(
            f"voltages are vectors x {g.shape[0]} word lines and finite, got {volts.shape}."
        )
    if method not in ("auto", "relaxation", "direct"):
        raise SpecError(f"method is auto, relaxation or direct, got {method!r}.")
    if wires.topology == "parallel":
        return _gated(g, volts, wires)
    wired = wires.word_ohm > 0.0 and wires.bit_ohm > 0.0
    if method == "relaxation" and not wired:
        raise SpecError("relaxation needs both wires above 0 ohm; use method auto or direct.")
    if method == "direct" or not wired:
        return volts @ effective_conductances(g, wires)
    budget = MAX_SWEEPS
    if method == "auto":
        budget = int(SWEEPS_PER_LINE * sum(g.shape) / max(1, len(volts)))
    found = np.empty((len(volts), g.shape[1]))
    for number, vector in enumerate(volts):
        found[number], sweeps = _relax(g, vector, *wires.megaohms, tolerance_ratio, budget)
        if sweeps < 0 and method == "auto":
            return volts @ effective_conductances(g, wires)
        if sweeps < 0:
            raise SimulationError(
                f"line relaxation of a {g.shape[0]}x{g.shape[1]} crossbar did not settle to "
                f"{tolerance_ratio:g} in {budget} sweeps; allow a larger tolerance or use method "
                "direct."
            )
    return found


def _gated(g: F64, gates_BR: F64, wires: Wires) -> F64:
    """Currents under 1 V on all source lines, with the rows on whose gates are 1."""
    if not np.isin(gates_BR, (0.0, 1.0)).all():
        raise SpecError(
            "inputs of parallel source lines are gates, 0 (off) or 1 (on): give one-bit pulses."
        )
    return np.stack(
        [effective_conductances(g * gates[:, None], wires).sum(axis=0) for gates in gates_BR]
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(g: Any, word: Any, bit: Any, first: Any, last: Any, fw: Any, iw: Any, fb: Any, ib: Any) -> None:  # fmt: skip  # noqa: E501
    rows, columns = g.shape
    for r in range(rows):
        for c in range(columns):
            total = g[r, c] + (word if c > 0 else first) + (word if c < columns - 1 else 0.0)
            iw[r, c] = 1.0 / (total - (word * fw[r, c - 1] if c > 0 else 0.0))
            fw[r, c] = word * iw[r, c]
            total = g[r, c] + (bit if r < rows - 1 else last) + (bit if r > 0 else 0.0)
            ib[r, c] = 1.0 / (total - (bit * fb[r - 1, c] if r > 0 else 0.0))
            fb[r, c] = bit * ib[r, c]


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep(g: Any, drive: Any, word: Any, bit: Any, w: Any, b: Any, fw: Any, iw: Any, fb: Any, ib: Any) -> None:  # fmt: skip  # noqa: E501
    rows, columns = g.shape
    for r in range(rows):
        w[r, 0] = (g[r, 0] * b[r, 0] + drive[r]) * iw[r, 0]
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
def _relax(g: Any, volt: Any, word: Any, bit: Any, driver: Any, sense: Any, tolerance: Any, limit: Any) -> Any:  # fmt: skip  # noqa: E501
    rows, columns = g.shape
    first, last = 1.0 / (word + driver), 1.0 / (bit + sense)
    w = np.zeros((rows, columns))
    b = np.zeros((rows, columns))
    fw, iw = np.empty((rows, columns)), np.empty((rows, columns))
    fb, ib = np.empty((rows, columns)), np.empty((rows, columns))
    _factor(g, 1.0 / word, 1.0 / bit, first, last, fw, iw, fb, ib)
    drive = volt * first
    current = np.zeros(columns)
    before = np.inf
    for sweep in range(limit):
        _sweep(g, drive, 1.0 / word, 1.0 / bit, w, b, fw, iw, fb, ib)
        change, largest = 0.0, 0.0
        for c in range(columns):
            new = b[rows - 1, c] * last
            change = max(change, abs(new - current[c]))
            largest = max(largest, abs(new))
            current[c] = new
        # What is left of a geometric series of changes of rate r: change r / (1 - r).
        left = change * change / (before - change) if change < before else np.inf
        if change == 0.0 or (sweep > 0 and left <= tolerance * largest):
            return current, sweep + 1
        before = change
    return current, -1
