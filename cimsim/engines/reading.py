"""From the log of the compiled engine to start and end of what is kept, as machine code."""

from __future__ import annotations

import numpy as np

from cimsim.engines.loop import Words
from cimsim.runtime.jit import njit

u = np.uint64


@njit(cache=True)
def read_tasks(m: Words, rows: Words, log: Words, start: Words, end: Words) -> None:
    """Start and end of the intervals of all timed verbs; `rows` as in `encoding.MachineCode`."""
    n = 0
    for k in range(rows.shape[0]):
        at, stride, iterations, each, amount = rows[k]
        for i in range(iterations):
            over = log[u(at + i * stride)]
            end[n] = over
            start[n] = over - (m[u(amount + i)] if each else amount)
            n += 1


@njit(cache=True)
def read_iterations(rows: Words, log: Words, iteration_end: Words) -> None:
    """End of the iterations of all actors; `rows` as in `encoding.MachineCode`."""
    n = 0
    for k in range(rows.shape[0]):
        at, stride, iterations = rows[k]
        for i in range(iterations):
            iteration_end[n] = log[u(at + i * stride)]
            n += 1
