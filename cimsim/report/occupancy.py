"""How full the global buffer gets: a fold over when tokens were put and taken."""

from __future__ import annotations

import numpy as np

from cimsim.engines.program import Count, Get, IntArray, Put
from cimsim.engines.record import Run
from cimsim.schedule.plan import Plan


def buffer_peak_bytes(plan: Plan, run: Run) -> float:
    """Largest number of bytes alive at once.

    A token is alive from the end of the iteration that put it to the end of the last iteration
    that took it; readers of the same tokens share one copy.
    """
    puts = _moments(plan, run, Put)
    gets = _moments(plan, run, Get)
    born: dict[tuple[str, int], IntArray] = {}
    dies: dict[tuple[str, int], IntArray] = {}
    size: dict[tuple[str, int], float] = {}
    for edge in plan.activations:
        start, end = puts[edge.buffer], gets[edge.buffer]
        key = (edge.producer, start.size)
        born[key] = start
        dies[key] = np.maximum(dies[key], end) if key in dies else end
        size[key] = edge.bytes_per_token
    if not born:
        return 0.0
    times = np.concatenate([*born.values(), *dies.values()])
    amounts = np.concatenate(
        [np.full(born[k].size, size[k]) for k in born]
        + [np.full(dies[k].size, -size[k]) for k in dies]
    )
    order = np.argsort(times, kind="stable")
    return float(np.cumsum(amounts[order]).max(initial=0.0))


def _moments(plan: Plan, run: Run, verb_type: type[Get] | type[Put]) -> dict[int, IntArray]:
    """Buffer -> end of the iteration that moved each token, token by token (ps)."""
    wanted = {edge.buffer for edge in plan.activations}
    moments: dict[int, IntArray] = {}
    for index, actor in enumerate(plan.program.actors):
        for verb in actor.steps:
            if isinstance(verb, verb_type) and verb.buffer in wanted:
                counts = _counts(verb.count, actor.iterations)
                moments[verb.buffer] = np.repeat(run.finish_ps(index), counts)
    return moments


def _counts(count: Count, iterations: int) -> IntArray:
    if isinstance(count, np.ndarray):
        return count
    return np.full(iterations, count, np.int64)
