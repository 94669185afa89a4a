"""Roofline of a run: operations a second of every phase against operations a byte that it moves.

Slopes are the bandwidths of DRAM and buffer (of a GPU beside it: of its memory). Level roofs are
what units in use do where all of them work all the time: their operations over the mean time in
which they are busy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from cimsim.baseline import Gpu
from cimsim.blocks import Buffer, Dram
from cimsim.costs.memory import ways
from cimsim.errors import CimsimError
from cimsim.ir import Linear, MatMul
from cimsim.simulation import Simulation
from cimsim.values.display import brief
from cimsim.views.canvas import label, picture
from cimsim.views.palette import BLACK, DASHES, GREY, LINES, PALE, SYMBOLS, fill_of
from cimsim.views.rows import works
from cimsim.views.simulation import INCHES, POINTS, Width, title_lines
from cimsim.views.slices import moved_bits

HIGH_INCH: dict[Width, float] = {"column": 4.2, "page": 3.4}
"""Choice: height of the picture with its legend."""
MEMORIES = ("dram", "buffer")
TERA = 1e12
"""counted: operations of a TOPS."""


@brief
@dataclass(frozen=True, slots=True)
class Roofline:
    """What a run does and could: rates in operations a second, two a multiply-accumulate.

    `rates` by phase; `bytes_moved` by memory and phase, `bandwidths` (bytes a second) by memory;
    `roofs` by kind of unit.
    """

    rates: dict[str, float]
    operations: dict[str, int]
    bytes_moved: dict[str, dict[str, float]]
    bandwidths: dict[str, float]
    roofs: dict[str, float]


def roofline_of(simulation: Simulation) -> Roofline:
    """The roofline of a run; raises SimulationError for more intervals than are kept."""
    report, machine, work = simulation.report, simulation.architecture, simulation.job.workload
    # counted: a multiply and an add
    operations: dict[str, int] = {
        phase.name: 2 * work.sequences * phase.macs() for phase in work.phases
    }
    rates = {
        name: count / report.phases[name].latency_s
        for name, count in operations.items()
        if report.phases[name].latency_s
    }
    memories: dict[str, Buffer | Dram] = {"dram": machine.dram, "buffer": machine.buffer}
    return Roofline(
        rates, operations, _moved(simulation),
        {name: 1e9 * one.bandwidth_GBps * ways(one) for name, one in memories.items()},
        _roofs(simulation),
    )  # fmt: skip


def _moved(simulation: Simulation) -> dict[str, dict[str, float]]:
    plan = simulation.plan
    found = {name: np.zeros(len(plan.phases)) for name in MEMORIES}
    for work in works(plan):
        if work.unit in found and (bits := moved_bits(work, simulation.architecture)) is not None:
            sums = np.bincount(work.info.phase, bits, len(plan.phases))
            found[work.unit] += sums / 8  # counted: bits of a byte
    return {
        memory: dict(zip(plan.phases, map(float, moved), strict=True))
        for memory, moved in found.items()
    }


def _roofs(simulation: Simulation) -> dict[str, float]:
    """What units of each kind that multiplies do while they are at work, all in use at once."""
    done: dict[str, int] = defaultdict(int)
    mapping, sequences = simulation.mapping, simulation.workload.sequences
    for phase in simulation.job.workload.phases:
        for op in phase.ops:
            if isinstance(op, Linear):
                placed = mapping.placements.get(op.weight)
                done[placed.unit if placed else "pmca"] += 2 * sequences * op.macs_over(phase.steps)
            elif isinstance(op, MatMul):
                store = mapping.kv.get(op.name)
                done[store.unit if store else "pmca"] += 2 * sequences * op.macs_over(phase.steps)
    times = simulation.report.unit_times
    return {
        unit: count / times[unit].busy_s
        for unit, count in done.items()
        if unit in times and times[unit].busy_s
    }


def save_roofline(
    simulation: Simulation, path: Path, width: Width = "page", gpus: Sequence[Gpu] = ()
) -> None:
    """Draw it as wide as a page or a column of a paper, with the roofs of `gpus`.

    Those are a GPU's peak rate in fp16 and the bandwidth of its memory. Raises CimsimError without
    products.
    """
    found = roofline_of(simulation)
    points = [
        (memory, phase, found.operations[phase] / moved, found.rates[phase])
        for memory in MEMORIES
        for phase, moved in found.bytes_moved[memory].items()
        if moved and found.rates.get(phase)
    ]
    if not points:
        raise CimsimError("nothing multiplies and moves bytes in this run: it has no roofline.")
    peaks = {gpu.name: gpu.peak_flop_per_s("fp16") for gpu in gpus}
    top = max([*found.roofs.values(), *peaks.values(), *(p[3] for p in points)])
    low = min(*(p[3] for p in points), top) / TERA
    knees = [top / slope for slope in found.bandwidths.values()]
    left = min(*(p[2] for p in points), *knees) / 10
    right = max(*(p[2] for p in points), *knees) * 10
    with picture(path, INCHES[width], HIGH_INCH[width]) as (figure, axes):
        figure.suptitle(title_lines(simulation.report, width), fontsize=POINTS)
        for dash, memory in zip(DASHES, MEMORIES, strict=False):
            slope = found.bandwidths[memory]
            ends = np.array([left, top / slope])
            axes.plot(ends, ends * slope / TERA, color=GREY, linestyle=dash, linewidth=1,
                      label=f"{memory}: {_four(slope / 1e9)} GB/s")  # fmt: skip
        for dash, (unit, roof) in zip(cycle(DASHES), found.roofs.items(), strict=False):
            axes.hlines(
                roof / TERA, left, right, color=fill_of(unit).colour, linestyle=dash, linewidth=1.2,
                label=f"{label(unit, 20)} in use, always at work: {_tops(roof)}",
            )  # fmt: skip
        for dash, gpu in zip(cycle(DASHES[1:]), gpus, strict=False):
            knee = peaks[gpu.name] / gpu.hbm_byte_per_s
            ends = np.array([left, min(knee, right), right])
            heights = np.minimum(ends * gpu.hbm_byte_per_s, peaks[gpu.name])
            told = f"{_four(gpu.hbm_bandwidth_GBps)} GB/s, {_tops(peaks[gpu.name])} in fp16"
            axes.plot(ends, heights / TERA, color=BLACK, linestyle=dash, linewidth=1.2,
                      label=f"{label(gpu.name, 30)}: {told}")  # fmt: skip
        phases = list(found.rates)
        for memory, phase, across, rate in points:
            axes.plot(across, rate / TERA, SYMBOLS[MEMORIES.index(memory)], markersize=5,
                      color=LINES[phases.index(phase) % len(LINES)],
                      label=f"{phase}, a byte of {memory}: {_tops(rate)}")  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low / 10, None))
        axes.set_xlabel("operations a byte that is moved", fontsize=POINTS)
        axes.set_ylabel("10^12 operations a second (TOPS)", fontsize=POINTS)
        axes.tick_params(labelsize=POINTS, which="both")
        for scale in (axes.xaxis, axes.yaxis):
            scale.set_major_formatter(lambda value, _: f"{value:,.10g}")
            scale.set_minor_formatter(lambda value, _: "")
        axes.grid(color=PALE, linewidth=0.4)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2 if width == "page" else 1,
                      fontsize=POINTS, frameon=False)  # fmt: skip


def _tops(rate: float) -> str:
    return f"{_four(rate / TERA)} TOPS"


def _four(value: float) -> str:
    """A number with four digits, and no exponent."""
    return f"{float(f'{value:.4g}'):,.10g}"
