"""Wire resistance of an array whose source lines run parallel to its bit lines (1T1R).

Inputs are gates: a cell of a row that is on joins its source line to its bit line, all source lines
are driven at one voltage at the top, bit lines held at virtual ground below the last row. Columns
see nothing of each other. The current of a column is no linear function of its gates, because
every row that is on takes voltage from the others; what is linear is found for all of them on.

Of the lines from a row down, with the voltage u between them at that row and the current T that
is sensed, the source line carries A u + B T there, and the bit line is at q T - B u. A segment of
resistances w and b above it makes, with K = 1 + A (w + b) and N = 1 - B, kept apart so that nothing
cancels,

    q + (w b A + w B^2 + b N^2) / K,   (A b + B) / K for B,   (A w + N) / K for N,   A / K for A

and a cell adds its conductance to A. Above the first row V = T (driver + w + q + N^2 / A).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def carried(g_uS_RC: F64, megaohms: tuple[float, float, float, float]) -> F64:
    """What every cell carries (uA) of a column under 1 V with all rows on; column sums are sensed.

    `megaohms` are those of a source and a bit segment, a driver and a sense end.
    """
    word, bit, driver, sense = megaohms
    rows, columns = g_uS_RC.shape
    a, b, n = g_uS_RC[-1].copy(), np.zeros(columns), np.ones(columns)
    q = np.full(columns, bit + sense)
    for r in range(rows - 2, -1, -1):
        k = 1.0 + a * (word + bit)
        q += (word * bit * a + word * b * b + bit * n * n) / k
        b, n, a = (a * bit + b) / k, (a * word + n) / k, g_uS_RC[r] + a / k
    through = 1.0 / (a * (driver + word + q) + n * n)
    total = a * through
    source, between = total.copy(), n * through
    found = np.empty_like(g_uS_RC)
    for r in range(rows):
        found[r] = g_uS_RC[r] * between
        source -= found[r]
        between = between - (word + bit) * source + bit * total
    return found
