"""CPU time of IR drop: joined blocks, row by row, relaxation, and badcrossbar where it is there.

    python benchmarks/perf/irdrop.py [--sizes 64,128,256] [--vectors 1,100] [--smoke]

One thread, cells uniform from 0 to 25 uS, wires of 1 ohm. `rows` adds one row after the other (an
equivalent of all above it, N dense solves of size N), as cimsim did before blocks were joined.
badcrossbar (PyPI) solves the nodes of the array with scipy's sparse LU for each call. All ways
give the same currents, or the program says so and ends with 1. `cross` is the number of vectors
from which the matrix costs less than relaxing them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from scipy.linalg import solve_banded  # noqa: E402

from cimsim.analog.kernels.irdrop import effective_conductances  # noqa: E402
from cimsim.analog.kernels.relaxation import column_currents  # noqa: E402
from cimsim.analog.wires import Wires  # noqa: E402

F64 = npt.NDArray[np.float64]
OHM = 1.0
WIRES = Wires(OHM, OHM)
ROWS_MOST = 512
"""Choice: beyond it one solve row by row takes minutes."""
PEER_MOST = 256
"""Choice: beyond it badcrossbar takes minutes and several GB."""
TOLERANCE = 1e-6


def row_by_row(g: F64) -> F64:
    """Effective conductances by adding rows from the top: N dense solves."""
    wire = 1e6 / OHM
    rows, columns = g.shape
    admittance, current = np.zeros((columns, columns)), np.zeros((columns, rows))
    for r in range(rows):
        bands = np.full((3, columns), -wire)
        bands[1] = g[r] + 2.0 * wire
        bands[1, -1] -= wire
        drive = np.zeros((columns, 1))
        drive[0] = wire
        found = solve_banded((1, 1), bands, np.concatenate([np.diag(g[r]), drive], axis=1))
        admittance += np.diag(g[r]) - g[r][:, None] * found[:, :columns]
        current[:, r] = g[r] * found[:, columns]
        both = np.concatenate([admittance, current[:, : r + 1]], axis=1)
        both = np.linalg.solve(np.eye(columns) + admittance / wire, both)
        admittance, current[:, : r + 1] = both[:, :columns].copy(), both[:, columns:]
    return current.T


def peer(g: F64, volts: F64) -> F64:
    """Column currents (uA) of badcrossbar."""
    import badcrossbar

    with np.errstate(divide="ignore"):
        solution = badcrossbar.compute(volts.T, 1e6 / g, OHM)
    return np.asarray(solution.currents.output).reshape(len(volts), -1) * 1e6


def relaxation(g: F64, volts: F64) -> F64:
    """Column currents (uA), every vector relaxed."""
    return column_currents(g, volts, WIRES, method="relaxation")


def cpu_s(work: Callable[[], F64]) -> tuple[float, F64]:
    """CPU seconds of one call, and what it gave."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main() -> int:
    """Print one line a size and number of vectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="64,128,256,512,1024")
    parser.add_argument("--vectors", default="1,100")
    parser.add_argument("--smoke", action="store_true", help="small, to show that it runs")
    given = parser.parse_args()
    sizes = "8,64" if given.smoke else given.sizes
    there = importlib.util.find_spec("badcrossbar") is not None
    effective_conductances(np.ones((64, 64)), WIRES)  # compiled before anything is timed
    column_currents(np.ones((8, 8)), np.ones((1, 8)), WIRES)
    print("cells        vectors   blocks s     rows s    relaxation s   badcrossbar s   cross")
    agree = True
    for size in map(int, sizes.split(",")):
        rng = np.random.default_rng(0)
        g = rng.random((size, size)) * 25.0
        blocks, matrix = cpu_s(lambda g=g: effective_conductances(g, WIRES))
        rows, slow = cpu_s(lambda g=g: row_by_row(g)) if size <= ROWS_MOST else (None, matrix)
        agree &= close(slow, matrix)
        for vectors in map(int, given.vectors.split(",")):
            volts = rng.random((vectors, size))
            want = volts @ matrix
            ways = {"relaxation": lambda g=g, v=volts: relaxation(g, v)}
            if there and size <= PEER_MOST:
                ways["peer"] = lambda g=g, v=volts: peer(g, v)
            times = {name: cpu_s(work) for name, work in ways.items()}
            agree &= all(close(found, want) for _, found in times.values())
            relaxed, other = times["relaxation"][0], times.get("peer", (None,))[0]
            cross = blocks / max(relaxed / vectors, 1e-9)
            columns = f"{blocks:>10.3f} {shown(rows)} {relaxed:>15.3f} {shown(other, 15)}"
            print(f"{size:>4} x {size:<4} {vectors:>8} {columns} {cross:>7.0f}", flush=True)
    if not agree:
        print(f"the ways differ by more than {TOLERANCE:g}", file=sys.stderr)
    return 0 if agree else 1


def close(found: F64, want: F64) -> bool:
    """Whether two results agree to the tolerance of the largest."""
    return bool(np.abs(found - want).max() <= TOLERANCE * np.abs(want).max())


def shown(seconds: float | None, width: int = 10) -> str:
    """Seconds, or a dash where nothing was measured."""
    return f"{'-':>{width}}" if seconds is None else f"{seconds:>{width}.3f}"


if __name__ == "__main__":
    sys.exit(main())
