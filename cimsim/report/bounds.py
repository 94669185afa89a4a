"""What bounds a run, as values: the critical path by what works on it, two lower bounds of the
latency, and time and energy of every layer. Times in s, energies in J.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pydantic import Field

from cimsim.files import write_text
from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen


class Bound(Frozen):
    """A time that no order of the same work beats; `latency_ratio` is the latency over it.

    The ratio is at least 1, and None where the bound is 0.
    """

    name: str
    time_s: Number
    latency_ratio: Number | None


class Lever(Frozen):
    """Numbers of the machine that would move what bounds it, and the gain (s) of the new values.

    `acts_on` is the `work` of `units` or waiting for them where they are `shared`. `predicted_s` is
    an estimate (docs/bounds.md). `measured_s` is what simulating the changed machine gave, below 0
    where it lost, and None where it was not asked for or `refused` says why it cannot be.
    """

    units: tuple[str, ...]
    acts_on: str
    old: dict[str, Whole | Number]
    new: dict[str, Whole | Number]
    predicted_s: Number
    measured_s: Number | None = None
    refused: str | None = None


class PhaseBounds(Frozen):
    """The critical path within one phase (or the whole run) and two bounds of its latency.

    Each `by_` sums to `latency_s`. A bound is None for a phase whose work begins before the phase
    before it has ended: there it would not be one.
    """

    latency_s: Number
    by_unit_s: dict[str, Number]
    by_kind_s: dict[str, Number]
    by_layer_s: dict[str, Number]
    by_wait_s: dict[str, Number] = Field(
        description="what the next part of the path waited for while this one worked: data (its "
        "own result), order (the unit, busy with the block before), full (a slot in a full "
        "buffer), shared (a shared unit, busy with the work of another stage)"
    )
    waits_by_unit_s: dict[str, dict[str, Number]] = Field(
        description="by_unit_s of each unit by what was waited for meanwhile, as in by_wait_s"
    )
    waits_by_kind_s: dict[str, dict[str, Number]] = Field(
        description="by_kind_s of each kind of work by what was waited for meanwhile"
    )
    waits_by_layer_s: dict[str, dict[str, Number]] = Field(
        description="by_layer_s of each layer by what was waited for meanwhile"
    )
    latency_by_unit_s: dict[str, Number] = Field(
        description="the part of by_unit_s that occupies no unit: latency, which no rate shortens"
    )
    busiest: Bound | None
    chain: Bound | None
    busiest_by_unit_s: dict[str, Number] = Field(
        description="by unit kind the time of the unit or stage that works longest; empty where "
        "there are no bounds"
    )
    levers: tuple[Lever, ...] = ()

    def shared_by_unit_s(self) -> dict[str, float]:
        """The part of `by_unit_s` in which the path waited for that shared unit, longest first."""
        waits = self.waits_by_unit_s.items()
        found = {unit: times["shared"] for unit, times in waits if "shared" in times}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


class LayerTime(Frozen):
    """Work of one layer on one kind of unit in one phase.

    `busy_s` adds up all units that work side by side; `critical_s` is its part of the critical
    path. What belongs to no layer (leakage, or all energy of paper accounting) has layer "".
    """

    layer: str
    unit: str
    kind: str
    phase: str
    busy_s: Number
    critical_s: Number
    energy_J: Number


class Bottlenecks(Frozen):
    """What bounds the run, as a whole and by phase, and every layer's time and energy.

    Energies of `layers` sum to the report's; so does the time of each unit kind, over its units.
    """

    total: PhaseBounds
    phases: dict[str, PhaseBounds]
    layers: tuple[LayerTime, ...]

    def save_layers(self, path: str | Path) -> None:
        """Write `layers` as a table (CSV), completely or not at all; raises OutputError."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(LayerTime.model_fields)
        table.writerows(row.model_dump().values() for row in self.layers)
        write_text(path, text.getvalue())
