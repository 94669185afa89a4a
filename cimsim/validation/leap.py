"""LEAP: Llama-3-8B on RRAM macros and routers that multiply, 1,024 tokens and 1,024 more.

Nothing is fitted: packets, multiply-adds of a router, scratchpads and powers are the printed ones;
how long a crossbar takes and how attention lies over routers are not published and assumed, so that
the rows of the machine are shown and not judged. The power that its two printed figures mean is
that of the 65,536 macros of its 1B machine, all on; seven times as many hold these weights. Rates
count the tokens that are new: the A100 printed beside it makes as many. Layers are alike and take
turns: one and two of them tell all.
"""

from __future__ import annotations

from dataclasses import replace

from cimsim import shipped
from cimsim.baseline.reference_models import MODELS, of_sizes
from cimsim.report.leakage import leakage_W
from cimsim.simulation import simulate
from cimsim.validation.judged import Judged

TABLE = "LEAP, arXiv 2609.00857, Table VI, as noted by a third party"
ASSUMED = f"{TABLE}: LEAP-A; crossbar time and layout of attention are assumed"
ALL_ON = f"{TABLE}: LEAP-A; ours has all macros on that hold weights, 458,048"
AS_ITS_1B = (
    f"{TABLE}: LEAP-A; its power is taken as its rate over its tokens a joule, the macros of its "
    "1B machine as those that are on"
)
MODEL, PROMPT, NEW = "Llama-3-8B", 1024, 1024
"""Source: Table VI."""
RATE, PER_J = 202.25, 19.21
MACROS_1B = 64 * 4 * 32 * 8
"""Source: tiles, channels, units and macros of its 1B machine."""
A100_RATE, A100_PER_J = 78.36, 0.2612
GPU = 0.15
"""Tolerance of a GPU whose serving stack is not named; vLLM is taken."""


def rows() -> list[Judged]:
    """Tokens a second and a joule of LEAP-A, and of the A100 beside it."""
    time_s, power_W = macros()
    fewer_W = leakage_W(shipped.machine("leap"), {"rram": MACROS_1B})["rram"]
    workload = of_sizes(MODELS[MODEL], PROMPT, NEW)
    a100 = shipped.gpu("a100_sxm4_80gb").estimate(workload, stack="vllm")
    name = f"{MODEL}, 1,024 tokens and 1,024 new: "
    return [
        _row(name + "LEAP-A", "tokens/s", RATE, NEW / time_s, None, ASSUMED),
        _row(name + "LEAP-A", "tokens/J", PER_J, NEW / (time_s * power_W), None, ALL_ON),
        _row(name + "LEAP-A, 65,536 macros on", "W", RATE / PER_J, fewer_W, None, AS_ITS_1B),
        _row(name + "LEAP-A, 65,536 macros on", "tokens/J", PER_J, NEW / (time_s * fewer_W), None,
             AS_ITS_1B),
        _row(name + "A100", "tokens/s", A100_RATE, NEW / a100.latency_s, GPU, TABLE),
        _row(name + "A100", "tokens/J", A100_PER_J, NEW / a100.energy_J, GPU, TABLE),
    ]  # fmt: skip


def macros() -> tuple[float, float]:
    """Time (s) of the model on the machine, and power (W) of the macros that hold its weights."""
    machine, sizes = shipped.machine("leap"), MODELS[MODEL]
    first, second = (
        simulate(
            of_sizes(replace(sizes, layers=n), PROMPT, NEW), machine, pipeline="token:1"
        ).report
        for n in (1, 2)  # counted: layers
    )
    more = sizes.layers - 1
    time_s = first.latency_s + more * (second.latency_s - first.latency_s)
    tiles = first.tiles_used + more * (second.tiles_used - first.tiles_used)
    return time_s, leakage_W(machine, {"rram": tiles})["rram"]


def _row(
    quantity: str, unit: str, published: float, simulated: float, tolerance: float | None,
    source: str,
) -> Judged:  # fmt: skip
    return Judged("leap", quantity, unit, published, simulated, tolerance, False, source)
