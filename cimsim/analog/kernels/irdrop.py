"""Wire resistance of a crossbar (IR drop): effective conductances, exact to rounding.

Nodes: every cell (r, c) of conductance g joins a node of word line r to a node of bit line c. The
network is linear, so column currents are I = V G_eff. Conductances are in uS, resistances in
megaohms. Rows and columns beyond those driven and sensed are there, at 0 V and virtual ground.

With resistance in both lines the array is cut into blocks, each known by the admittance between
its ports, the ends of its lines; joined blocks lose the ports between them (a Schur complement).
Every block owns the segments left of its cells and below them. N^3 operations for N x N cells.

Source lines parallel to the bit lines are those of `cimsim.analog.kernels.parallel`.

Not modelled: resistance of access transistors (it belongs to the cell), capacitance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cimsim.analog.kernels.parallel import carried
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.runtime.jit import njit

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
SMALL = 48
"""Choice: cells along the longer side of blocks that compiled loops make; see benchmarks/perf."""
EVERYTHING = slice(None)
SIDES = "LRTB"
"""Left and right ends of word lines, top and bottom ends of bit lines."""


def effective_conductances(
    g_uS_RC: F32 | F64, wires: Wires, driven: slice = EVERYTHING, sensed: slice = EVERYTHING
) -> F64:
    """Matrix G_eff (uS) from the `driven` rows to the `sensed` columns: currents are V @ G_eff.

    Of parallel source lines it holds what every cell carries with all `driven` rows on, per volt.
    Made for reducing a programmed tile once, not for each vector: see
    `cimsim.analog.kernels.relaxation.column_currents` for a few. Raises SpecError for a negative or
    non-finite conductance.
    """
    g = checked_cells(g_uS_RC)
    word, bit, driver, sense = wires.megaohms
    if wires.topology == "parallel":
        on = np.zeros_like(g)
        on[driven] = g[driven]
        return carried(on, wires.megaohms)[driven, sensed]
    if word == 0.0:
        return _without_word_drop(g, driver, bit, sense)[driven, sensed]
    if bit == 0.0:
        turned = _without_word_drop(_turned(g), sense, word, driver)
        return _turned(turned)[driven, sensed]
    return _merged(g, wires.megaohms, driven, sensed)


def checked_cells(g_uS_RC: F32 | F64) -> F64:
    """The cells of an array as float64; raises SpecError for what are no conductances."""
    g = np.array(g_uS_RC, np.float64)
    if g.ndim != 2 or g.size == 0:
        raise SpecError(f"a crossbar is a rows x columns array of conductances, got {g.shape}.")
    if not np.isfinite(g).all() or g.min() < 0.0:
        raise SpecError(
            "wire resistance needs finite conductances of at least 0 uS, the lowest is "
            f"{np.nanmin(g):g} uS; use differential or offset coding with a physical device."
        )
    return g


def _turned(g_RC: F64) -> F64:
    """The array with driven and sensed ends exchanged; by reciprocity G_eff turns with it."""
    return np.ascontiguousarray(g_RC[::-1, ::-1].T)


def _without_word_drop(g: F64, driver: float, bit: float, sense: float) -> F64:
    """G_eff where a word line is one node: columns are ladders that share drivers alone."""
    direct, coupled = _ladders(g, bit, bit + sense, driver > 0.0)
    if driver == 0.0:
        return np.asarray(direct)
    # w = V - driver (what the cells of the row take), so (1 + driver Y) w = V
    admittance = np.diag(g.sum(axis=1)) - coupled
    return np.linalg.solve(np.eye(len(g)) + driver * admittance, np.asarray(direct))


@njit(cache=True, nogil=True, error_model="numpy")
def _ladders(g: Any, bit: Any, last: Any, coupling: Any) -> Any:
    """Of word lines at given voltages: currents sensed, and what bit lines return to other rows.

    `above` is the admittance seen upwards from a node, its cell included, `below` the resistance
    seen downwards; both grow without subtraction, so that 0 and tiny resistances stay exact.
    """
    rows, columns = g.shape
    direct = np.empty((rows, columns))
    coupled = np.zeros((rows, rows)) if coupling else np.zeros((0, 0))
    above, below, share = np.empty(rows), np.empty(rows), np.empty(rows)
    for c in range(columns):
        above[0] = g[0, c]
        for r in range(1, rows):
            above[r] = g[r, c] + above[r - 1] / (1.0 + above[r - 1] * bit)
        below[rows - 1] = last
        share[rows - 1] = 1.0 / (1.0 + above[rows - 1] * last)
        direct[rows - 1, c] = g[rows - 1, c] * share[rows - 1]
        through = share[rows - 1]
        for r in range(rows - 2, -1, -1):
            below[r] = bit + below[r + 1] / (1.0 + g[r + 1, c] * below[r + 1])
            share[r] = 1.0 / (1.0 + above[r] * bit)
            through *= share[r]
            direct[r, c] = g[r, c] * through
        if coupling:
            for r in range(rows):
                voltage = g[r, c] * below[r] / (1.0 + above[r] * below[r])
                coupled[r, r] += g[r, c] * voltage
                for i in range(r - 1, -1, -1):
                    voltage *= share[i]
                    coupled[i, r] += g[i, c] * voltage
                    coupled[r, i] += g[i, c] * voltage
    return direct, coupled


@dataclass(frozen=True, eq=False)
class _Block:
    """Currents into ports (rows of `matrix`) by their voltages (columns), side by side.

    At the driven end of the array only columns are kept, at the sensed end only rows; open ends
    have neither.
    """

    matrix: F64
    rows: dict[str, int]
    columns: dict[str, int]

    def part(self, row_side: str, column_side: str) -> F64:
        """The currents into one side by the voltages of another."""
        row, column = _slices(self.rows)[row_side], _slices(self.columns)[column_side]
        return np.asarray(self.matrix[row, column])


def _slices(ports: dict[str, int]) -> dict[str, slice]:
    found, at = {}, 0
    for side, count in ports.items():
        found[side], at = slice(at, at + count), at + count
    return found


def _joined(first: _Block, second: _Block, one: str, other: str) -> _Block:
    """Two blocks, without the ports that join side `one` of the first and `other` of the second."""
    rows, row_places = _union(first.rows, second.rows, one, other)
    columns, column_places = _union(first.columns, second.columns, one, other)
    kept, gone = (sum(rows.values()), sum(columns.values())), first.rows[one]
    whole = np.zeros((kept[0] + gone, kept[1] + gone))
    for block, into, across in zip((first, second), row_places, column_places, strict=True):
        for row, place in _slices(block.rows).items():
            for column, beside in _slices(block.columns).items():
                whole[into[row], across[column]] += block.matrix[place, beside]
    return _Block(_eliminated(whole, *kept), rows, columns)


def _eliminated(whole: F64, rows: int, columns: int) -> F64:
    """The first rows and columns, where currents into all others are 0."""
    kept = whole[:rows, :columns]
    kept -= whole[:rows, columns:] @ np.linalg.solve(whole[rows:, columns:], whole[rows:, :columns])
    return kept


def _union(
    first: dict[str, int], second: dict[str, int], one: str, other: str
) -> tuple[dict[str, int], tuple[dict[str, slice], dict[str, slice]]]:
    """Ports of both by side, where each block's stand among them, the joined ones last."""
    ports: dict[str, int] = {}
    mine: dict[str, slice] = {}
    theirs: dict[str, slice] = {}
    at = 0
    for side in SIDES:
        for own, joined, places in ((first, one, mine), (second, other, theirs)):
            if side in own and side != joined:
                places[side] = slice(at, at + own[side])
                at += own[side]
                ports[side] = ports.get(side, 0) + own[side]
    mine[one] = theirs[other] = slice(at, at + first[one])
    return ports, (mine, theirs)


def _merged(g: F64, megaohms: tuple[float, ...], driven: slice, sensed: slice) -> F64:
    rows, columns = g.shape
    uses = np.arange(rows)[driven], np.arange(columns)[sensed]
    whole = _Tree(g, megaohms, *uses).block(0, rows, 0, columns)
    # Current out of the bottom end is what is sensed: minus that into the port.
    return np.ascontiguousarray(-whole.part("B", "L").T)


@dataclass(frozen=True, eq=False)
class _Tree:
    """The array, halved along the longer side until a block is small enough to be compiled."""

    g: F64
    megaohms: tuple[float, ...]
    driven: npt.NDArray[np.intp]
    sensed: npt.NDArray[np.intp]

    def block(self, top: int, bottom: int, left: int, right: int) -> _Block:
        """Rows `top` to `bottom` and columns `left` to `right`, the ends excluded."""
        high, wide = bottom - top, right - left
        if max(high, wide) <= SMALL:
            return self._small(top, bottom, left, right)
        if high >= wide:
            half = top + high // 2
            upper = self.block(top, half, left, right)
            return _joined(upper, self.block(half, bottom, left, right), "B", "T")
        half = left + wide // 2
        nearer = self.block(top, bottom, left, half)
        return _joined(nearer, self.block(top, bottom, half, right), "R", "L")

    def _small(self, top: int, bottom: int, left: int, right: int) -> _Block:
        """A block with open ends eliminated; driven ends as columns, sensed ends as rows."""
        rows, columns = self.g.shape
        word, bit, driver, sense = self.megaohms
        first = word + driver * (left == 0)
        last = bit + sense * (bottom == rows)
        matrix = _admittance(self.g[top:bottom, left:right], word, bit, first, last)
        high, wide = bottom - top, right - left
        ends = _slices({"L": high, "R": high, "T": wide, "B": wide})
        places = {side: np.arange(len(matrix))[end] for side, end in ends.items()}
        gone = [places.pop(side) for side, open_ in (("R", right == columns), ("T", top == 0))
                if open_]  # fmt: skip
        kept_rows, kept_columns = dict(places), dict(places)
        if left == 0:
            used = self.driven[(self.driven >= top) & (self.driven < bottom)] - top
            kept_columns["L"] = kept_rows.pop("L")[used]
        if bottom == rows:
            used = self.sensed[(self.sensed >= left) & (self.sensed < right)] - left
            kept_rows["B"] = kept_columns.pop("B")[used]
        order = [np.concatenate([*kept.values(), *gone]) for kept in (kept_rows, kept_columns)]
        whole = matrix[order[0][:, None], order[1]]
        ports = [{side: len(at) for side, at in kept.items()} for kept in (kept_rows, kept_columns)]
        if gone:
            whole = _eliminated(whole, *(sum(found.values()) for found in ports))
        return _Block(whole, *ports)


@njit(cache=True, nogil=True, error_model="numpy")
def _admittance(g: Any, word: Any, bit: Any, first: Any, last: Any) -> Any:
    """Of a block by its ports: left ends, right, top and bottom nodes; symmetric.

    `first` is the resistance of the segments left of it, `last` of those below. Neighbours are
    joined by pairs; in a loop, as a compiled function that calls itself cannot be kept.
    """
    down, across = g.shape
    high, wide = np.ones(down, np.int64), np.ones(across, np.int64)
    blocks = []
    for r in range(down):
        for c in range(across):
            left, below = first if c == 0 else word, last if r == down - 1 else bit
            blocks.append(_cell(g[r, c], left, below))
    while down * across > 1:
        joined = []
        if across > 1 and (wide[0] <= high[0] or down == 1):
            half = (across + 1) // 2
            for r in range(down):
                for c in range(0, across, 2):
                    block = blocks[r * across + c]
                    if c + 1 < across:
                        other = blocks[r * across + c + 1]
                        block = _beside(block, wide[c], other, wide[c + 1], high[r])
                    joined.append(block)
            wide, across = _pairs(wide, across), half
        else:
            half = (down + 1) // 2
            for r in range(0, down, 2):
                for c in range(across):
                    block = blocks[r * across + c]
                    if r + 1 < down:
                        other = blocks[(r + 1) * across + c]
                        block = _stacked(block, high[r], other, high[r + 1], wide[c])
                    joined.append(block)
            high, down = _pairs(high, down), half
        blocks = joined
    return blocks[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _pairs(sizes: Any, count: Any) -> Any:
    found = np.zeros((count + 1) // 2, np.int64)
    for i in range(count):
        found[i // 2] += sizes[i]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _cell(g: Any, left: Any, below: Any) -> Any:
    y = np.zeros((4, 4))
    _join(y, 0, 1, 1.0 / left)
    _join(y, 1, 2, g)
    _join(y, 2, 3, 1.0 / below)
    return y


@njit(cache=True, nogil=True, error_model="numpy")
def _join(y: Any, a: Any, b: Any, conductance: Any) -> None:
    y[a, a] += conductance
    y[b, b] += conductance
    y[a, b] -= conductance
    y[b, a] -= conductance


@njit(cache=True, nogil=True, error_model="numpy")
def _beside(a: Any, wide_a: Any, b: Any, wide_b: Any, h: Any) -> Any:
    """Blocks of h rows side by side: the right end of `a` is the left end of `b`."""
    w = wide_a + wide_b
    kept = 2 * (h + w)
    into_a, into_b = np.empty(len(a), np.int64), np.empty(len(b), np.int64)
    for r in range(h):
        into_a[r], into_a[h + r] = r, kept + r
        into_b[r], into_b[h + r] = kept + r, h + r
    for c in range(wide_a):
        into_a[2 * h + c], into_a[2 * h + wide_a + c] = 2 * h + c, 2 * h + w + c
    for c in range(wide_b):
        into_b[2 * h + c] = 2 * h + wide_a + c
        into_b[2 * h + wide_b + c] = 2 * h + w + wide_a + c
    return _without_last(a, into_a, b, into_b, kept, h)


@njit(cache=True, nogil=True, error_model="numpy")
def _stacked(a: Any, high_a: Any, b: Any, high_b: Any, w: Any) -> Any:
    """Blocks of w columns, `a` above: its bottom end is the top end of `b`."""
    h = high_a + high_b
    kept = 2 * (h + w)
    into_a, into_b = np.empty(len(a), np.int64), np.empty(len(b), np.int64)
    for r in range(high_a):
        into_a[r], into_a[high_a + r] = r, h + r
    for r in range(high_b):
        into_b[r], into_b[high_b + r] = high_a + r, h + high_a + r
    for c in range(w):
        into_a[2 * high_a + c], into_a[2 * high_a + w + c] = 2 * h + c, kept + c
        into_b[2 * high_b + c], into_b[2 * high_b + w + c] = kept + c, 2 * h + w + c
    return _without_last(a, into_a, b, into_b, kept, w)


@njit(cache=True, nogil=True, error_model="numpy")
def _without_last(a: Any, into_a: Any, b: Any, into_b: Any, kept: Any, gone: Any) -> Any:
    """Both blocks at their places, the last `gone` nodes eliminated (lower half, mirrored)."""
    y = np.zeros((kept + gone, kept + gone))
    for i in range(len(a)):
        for j in range(len(a)):
            y[into_a[i], into_a[j]] += a[i, j]
    for i in range(len(b)):
        for j in range(len(b)):
            y[into_b[i], into_b[j]] += b[i, j]
    for k in range(kept + gone - 1, kept - 1, -1):
        row = y[k]
        for i in range(k):
            if row[i] != 0.0:
                factor = row[i] / row[k]
                into = y[i]
                for j in range(i + 1):
                    into[j] -= factor * row[j]
    found = np.empty((kept, kept))
    for i in range(kept):
        for j in range(i + 1):
            found[i, j] = y[i, j]
            found[j, i] = y[i, j]
    return found
