"""What a run writes into units on which weights take turns, and how long their cells live."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable

import numpy as np
from pydantic import Field

from cimsim.costs.loading import fetch_energy_J
from cimsim.ir import Linear, Workload
from cimsim.mapping import FloatArray, Mapping
from cimsim.report.parts import Reprogramming
from cimsim.report.writes import reprogramming
from cimsim.schedule.reloads import bits_of
from cimsim.schedule.turns import rewrites
from cimsim.spec import Architecture
from cimsim.values.bounds import Number, Whole

SUMMED = (
    "cells_written", "cells_changed", "pulses", "energy_J", "time_s", "sram_bits_written",
    "tcdm_bytes_written",
)  # fmt: skip


class Reloads(Reprogramming):
    """All writes of weights of one run. `wear` is that of the cells that are written most, in the
    mean over the pulses that come by chance, `time_s` that of all writes one after the other.
    """

    writes: Whole = Field(description="writes of a weight, or of the part of it that had gone")
    lifetime_runs: Number | None = Field(
        description="runs until the cells that are written most have had the pulses that they "
        "survive; None where cells do not wear"
    )
    lifetime_s: Number | None = Field(description="the same, one run after the other")


def reloads_of(
    adapted: Workload, architecture: Architecture, mapping: Mapping, latency_s: float
) -> Reloads | None:
    """The writes of a run that takes `latency_s`; None where no weight takes turns."""
    if not mapping.in_turns:
        return None
    known: dict[Hashable, list[Reprogramming]] = {}
    wear: dict[str, FloatArray] = {}
    sums: defaultdict[str, float] = defaultdict(float)
    also: Counter[str] = Counter()
    writes, bits, hottest = 0, 0, 0.0
    steps = [phase.steps for phase in adapted.phases]
    for rewrite in rewrites(mapping.placements, _phases(adapted), steps):
        counted = rewrite.counted(steps)
        if rewrite.alike not in known:
            known[rewrite.alike] = [reprogramming(architecture, [one]) for one, _ in counted]
        for (written, counts), cost in zip(counted, known[rewrite.alike], strict=True):
            count = sum(counts)
            writes, bits = writes + count, bits + count * bits_of(architecture, written)
            for name in SUMMED:
                sums[name] += count * getattr(cost, name)
            hottest = max(hottest, cost.hottest_pulses)
            also.update({name: count * amount for name, amount in cost.also_written.items()})
            units = wear.setdefault(written.unit, np.zeros(architecture.arrays(written.unit).count))
            np.add.at(units, written.units, count * cost.wear)
    fetched = fetch_energy_J(architecture.buffer, architecture.dram, bits)
    sums["energy_J"] += fetched
    most = max((float(units.max()) for units in wear.values()), default=0.0)
    return Reloads(
        **{name: int(v) if name.endswith("_written") else v for name, v in sums.items()},
        wear=most,
        hottest_pulses=hottest,
        also_written=dict(also),
        loaded_from="dram",
        loaded_bytes=-(-bits // 8),
        load_energy_J=fetched,
        writes=writes,
        lifetime_runs=1.0 / most if most else None,
        lifetime_s=latency_s / most if most else None,
    )


def _phases(adapted: Workload) -> dict[str, list[int]]:
    """Weight -> the phases in which its op runs."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, phase in enumerate(adapted.phases):
        for op in phase.ops:
            if isinstance(op, Linear):
                found[op.weight].append(number)
    return found
