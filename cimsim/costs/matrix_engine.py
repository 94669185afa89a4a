"""Cycles of one job on the cluster's matrix engine (RedMulE): Z[m,k] += X[m,n] . W[n,k].

The array has `rows` x `columns` multiply-add units with `pipeline` registers each. It produces
output tiles of `rows` x `columns * (pipeline + 1)` and takes one row of W every `pipeline + 1`
cycles, so a tile costs `(pipeline + 1) * n` cycles however few of its columns are used.

Sources, named at each number:
  RTL   cycle counts of redmule_top (pulp-platform/redmule 51cd064) in Verilator, 8 x 4 units,
        3 registers, FP16, single-cycle memory, trigger to done event.
  port  derived, not measured: a cycle model of the engine's buffers and its round-robin memory
        port (not part of cimsim), within 1 cycle of the RTL at 8 rows; used where RTL is missing.
Arrays of other than 8 rows follow the same law with fewer measurements (10 rows of RTL at 12
rows, within 0.2 %); there the port model finds up to 4 % more or less when n is below 16 or
leaves a short last word of X, which is not modelled.
Not modelled: software around a job (see `cimsim.costs.cluster`), bank conflicts (a refusal
probability stands in for them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cimsim.errors import SpecError, WorkloadError

_ROWS, _COLUMNS, _PIPELINE = 8, 4, 3  # RTL: the array that was measured

FORMAT_BYTES: dict[str, int] = {"fp16": 2, "fp8": 1}

# RTL: 34 of these are the address tiler, which starts with the last configuration write.
_START_CYCLES = 45
# RTL: X row, Y row and two stores for each row of the array, before and after the tiles.
_EDGE_CYCLES_PER_ROW = 4
# RTL: the port completes 32 accesses in 33 cycles when three streams compete (8 and 12 rows).
_PORT_CYCLES, _PORT_ACCESSES = 33, 32
# RTL: the first and the last tile find their buffers free.
_FREE_TILES = 2
# RTL: accesses that the start-up hides and the drain exposes when the port refuses requests.
_EDGE_ACCESSES = 24
# Fitted to the port model: sharpness of the corner between compute bound and port bound.
_CORNER_EXPONENT = 14

_SIXTHS = 6  # RTL: losses come in sixths of a cycle a tile

# Cycles lost to port arbitration when 8 rows of X feed a 32-cycle tile (n = 5..8, the array of
# the RTL rows), by rows of X present, as (sixths of a cycle a tile, sixths that never happen).
# RTL: 1 and 8 rows. port: 2..7 rows.
_LOST_SIXTHS_ALONE = {
    1: (4, 2),
    2: (6, 12),
    3: (6, 18),
    4: (5, 6),
    5: (10, 20),
    6: (6, 12),
    7: (4, 2),
}
# The same for a partly filled last row of tiles below full ones. port.
_LOST_SIXTHS_LAST = {1: 6, 2: 6, 3: 6, 4: 4, 5: 2, 6: 6, 7: 4}


@dataclass(frozen=True)
class _Job:
    """A job cut into tiles; `w_rows` is n rounded up to the array's columns."""

    m: int
    n: int
    k: int
    rows: int
    columns: int
    pipeline: int
    words_per_x_row: int

    @property
    def tile_width(self) -> int:
        return self.columns * (self.pipeline + 1)

    @property
    def w_rows(self) -> int:
        return _ceil_div(self.n, self.columns) * self.columns

    @property
    def column_tiles(self) -> int:
        return _ceil_div(self.k, self.tile_width)

    @property
    def row_tiles(self) -> int:
        return _ceil_div(self.m, self.rows)

    @property
    def tiles(self) -> int:
        return self.row_tiles * self.column_tiles

    @property
    def tile_cycles(self) -> int:
        return (self.pipeline + 1) * self.w_rows

    @property
    def last_rows(self) -> int:
        """Rows of X in the last row of tiles, 1..rows."""
        return (self.m - 1) % self.rows + 1


def matrix_engine_cycles(
    m: int,
    n: int,
    k: int,
    *,
    rows: int = _ROWS,
    columns: int = _COLUMNS,
    pipeline: int = _PIPELINE,
    format: str = "fp16",
    stall_probability: float = 0.0,
    accumulate: bool = True,
) -> int:
    """Cycles from the trigger to the done event of Z[m,k] += X[m,n] . W[n,k], n innermost.

    tiles * (pipeline + 1) * n rounded up to `columns`, plus what the buffers and the port cannot
    hide, plus start-up and drain:

        tiles = ceil(m / rows) * ceil(k / width),  width = columns * (pipeline + 1)

    Z is read and added to (a job without a sum to add to needs Z cleared first). Only a job of
    one tile may skip that, with `accumulate` false. The RTL cannot run n <= columns over several
    tiles: such a job is charged with n = 2 * columns, its zero rows included.
    `stall_probability` is the chance that the port is refused in a cycle; it is measured for
    jobs one tile wide and assumed to hold for the others.

    Source: RTL and port, see the module. "fp8" is derived, not measured: a port word carries
    twice the elements of X; the array takes as many W rows as before and a row of W, Y or Z is
    one access as before (an array built for FP8 has twice the columns on the same port).

    Raises WorkloadError for a size below 1 or several tiles without accumulation, SpecError for
    an array, a format or a probability that cannot be.
    """
    job = _job(m, n, k, rows, columns, pipeline, format)
    if not accumulate and job.tiles > 1:
        raise WorkloadError(
            f"the matrix engine runs a job without accumulation in one tile of "
            f"{rows}x{job.tile_width} only; {m}x{n}x{k} has {job.tiles} tiles. "
            f"Clear the output and accumulate."
        )
    if not 0.0 <= stall_probability < 1.0:
        raise SpecError(
            f"the matrix engine's stall_probability must be at least 0 and below 1, "
            f"got {stall_probability!r}. Lower it in the architecture file."
        )
    busy = job.tiles * job.tile_cycles + _lost_cycles(job)
    fixed = _fixed_cycles(job, accumulate)
    if stall_probability == 0.0:
        return busy + fixed
    return math.ceil(_stalled_cycles(job, busy, stall_probability)) + fixed


def matrix_engine_accesses(
    m: int,
    n: int,
    k: int,
    *,
    rows: int = _ROWS,
    columns: int = _COLUMNS,
    pipeline: int = _PIPELINE,
    format: str = "fp16",
) -> int:
    """Memory-port accesses of a job: X and W reads, Y reads and Z writes (one word each).

    X is read again for every column tile and W for every row tile; all `rows` rows of a tile's
    Y and Z move, also past the end of Z; a job of one tile fetches Y, and X if it is one word wide,
    twice. Source: RTL counts.
    Raises as `matrix_engine_cycles` does.
    """
    return _accesses(_job(m, n, k, rows, columns, pipeline, format))


def _job(m: int, n: int, k: int, rows: int, columns: int, pipeline: int, format: str) -> _Job:
    for name, value in (("m", m), ("n", n), ("k", k)):
        if value < 1:
            raise WorkloadError(f"a matrix engine job needs {name} of at least 1, got {value}.")
    for name, value, least in (
        ("rows", rows, 1),
        ("columns", columns, 1),
        ("pipeline", pipeline, 0),
    ):
        if value < least:
            raise SpecError(
                f"the matrix engine needs {name} of at least {least}, got {value}. "
                f"Raise {name} in the architecture file."
            )
    if format not in FORMAT_BYTES:
        known = ", ".join(FORMAT_BYTES)
        raise SpecError(f"the matrix engine has no format {format!r}; known: {known}.")
    width = columns * (pipeline + 1)
    several = _ceil_div(m, rows) * _ceil_div(k, width) > 1
    inner = 2 * columns if several and n <= columns else n
    word = width * FORMAT_BYTES["fp16"] // FORMAT_BYTES[format]
    return _Job(m, inner, k, rows, columns, pipeline, _ceil_div(inner, word))


def _ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


def _accesses(job: _Job) -> int:
    x_words = job.words_per_x_row
    results = 2 * job.rows * job.tiles
    if job.tiles == 1:  # the prefetch has no next tile and wraps around
        x_words = max(2, x_words)
        results += job.rows
    return job.m * x_words * job.column_tiles + job.w_rows * job.tiles + results


def _lost_cycles(job: _Job) -> int:
    """Cycles that the array waits for its result buffer or for the port, over the whole job."""
    # The port serves one access a cycle; start-up and drain hide the first X, Y and last stores.
    port_full = _accesses(job) - _EDGE_CYCLES_PER_ROW * job.rows - job.tiles * job.tile_cycles
    if job.tiles <= _FREE_TILES:
        return max(0, port_full)
    if _is_balanced(job):
        return _lost_when_balanced(job)
    # The one Z/Y buffer takes a tile's columns, stores its rows and loads the rows of Y.
    buffer = job.tile_width + 2 * job.rows
    rows = min(job.m, job.rows)
    accesses = rows * job.words_per_x_row + job.w_rows + 2 * job.rows
    port = accesses * _PORT_CYCLES / _PORT_ACCESSES if accesses > job.tile_cycles else 0.0
    lost = max(0.0, buffer - job.tile_cycles, port - job.tile_cycles)
    return max(math.floor(lost * (job.tiles - _FREE_TILES)), port_full)


def _is_balanced(job: _Job) -> bool:
    """Whether compute, result buffer and port all need 32 cycles a tile (stage B at rank 8)."""
    array = (job.rows, job.columns, job.pipeline)
    return array == (_ROWS, _COLUMNS, _PIPELINE) and job.w_rows == 2 * job.columns


def _lost_when_balanced(job: _Job) -> int:
    full = job.m // job.rows * job.column_tiles
    partial = job.tiles - full
    if partial == 0:
        return job.tiles - _FREE_TILES
    if full == 0:
        rate, never = _LOST_SIXTHS_ALONE[job.last_rows]
        return max(0, rate * job.tiles - never) // _SIXTHS
    return (_SIXTHS * (full - _FREE_TILES) + _LOST_SIXTHS_LAST[job.last_rows] * partial) // _SIXTHS


def _fixed_cycles(job: _Job, accumulate: bool) -> int:
    """Start-up and drain: the tiler, the first X and Y, the array's depth and the last store."""
    cycles = _START_CYCLES + job.tile_width + _EDGE_CYCLES_PER_ROW * job.rows
    last_columns = (job.k - 1) % job.tile_width + 1
    cycles -= job.tile_width - last_columns  # RTL: only the columns in use are drained
    if job.rows > 8:  # RTL (12 rows), extrapolated: the FIFOs hide part of the longer edges
        # RTL (12 rows): with four rows more, 3 cycles or 1 less
        cycles -= (job.rows - 8) // 4 * (3 if job.tiles == 1 else 1)
    if job.tiles == 1 and job.n <= job.columns:
        cycles -= 3 if job.m > job.rows // 2 else 5  # RTL (8 and 4 rows of X): W is read once
    return cycles - _short_preload(job, accumulate)


def _short_preload(job: _Job, accumulate: bool) -> int:
    """Cycles saved at the start of a job by rows of X and Y that need not be loaded."""
    missing = max(0, job.rows - job.m)
    if not accumulate:
        # RTL: 11, 17 and 22 for 8, 4 and 1 of 8 rows. port: the rest.
        return 5 + 3 * job.rows // 4 + _ceil_div(3 * missing, 2)
    if missing == 0:
        return 0
    # RTL: 1, 2, 3, 3, 3, 4, 6 for 7..1 of 8 rows; Y is the longer load from there on.
    saved = min(missing, max(0, job.rows // 2 - 1)) + {1: 3, 2: 1}.get(job.m, 0)
    if 2 <= job.m <= 4 and job.n <= job.tile_width:  # port
        saved += 1
    return saved


def _stalled_cycles(job: _Job, busy: int, probability: float) -> float:
    """`busy` when the port refuses with `probability`: compute bound, port bound and between.

    Either bound follows the RTL within 3 %; between them waiting for the port shows before the
    port is full, so the bounds are joined by a power mean (exact at probability 0).
    """
    grant = 1.0 - probability
    free = max(0, _accesses(job) - _EDGE_ACCESSES)
    ratio = free / busy
    rounded = (ratio / grant) ** _CORNER_EXPONENT - ratio**_CORNER_EXPONENT
    bound: float = busy * (1.0 + rounded) ** (1.0 / _CORNER_EXPONENT)
    return bound + _EDGE_ACCESSES * probability / grant
