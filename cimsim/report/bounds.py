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

    name: str = Field(description="what has most to do, or where the chain is longest")
    time_s: Number = Field(description="time that no order of the same work beats")
    latency_ratio: Number | None = Field(
        description="latency over it, at least 1; None where the bound is 0"
    )


class Lever(Frozen):
    """What would move what bounds a run, and the gain (s) of the new values.

    Numbers of the machine; `copies` of all weights; blocks of so many tokens.

    How gains are predicted: docs/bounds.md.
    """

    units: tuple[str, ...] = Field(
        description="kinds of unit whose share of the critical path it shortens"
    )
    acts_on: str = Field(
        description="work of the units; shared: waiting for them; order: waiting until they have "
        "done the block before; blocks: time in them that the next stage waits for"
    )
    old: dict[str, Whole | Number] = Field(
        description="field of the machine, copies, block_tokens or sizes of a shape -> its value"
    )
    new: dict[str, Whole | Number] = Field(description="the same -> the value that would help")
    predicted_s: Number = Field(description="gain of latency, estimated")
    measured_s: Number | None = Field(
        default=None,
        description="gain that simulating it gave, below 0 where it lost; None where it was not "
        "asked for",
    )
    refused: str | None = Field(
        default=None, description="why the changed machine cannot be; None where it can"
    )


class PhaseBounds(Frozen):
    """The critical path within one phase (or the whole run) and two bounds of its latency.

    Each `by_` sums to `latency_s`. A bound is None for a phase whose work begins before the phase
    before it has ended: there it would not be one.
    """

    latency_s: Number = Field(description="of the phase, or of the whole run")
    by_unit_s: dict[str, Number] = Field(
        description="unit -> its part of the critical path; sums to latency_s"
    )
    by_kind_s: dict[str, Number] = Field(
        description="kind of work -> its part of the critical path; sums to latency_s"
    )
    by_layer_s: dict[str, Number] = Field(
        description="layer -> its part of the critical path; sums to latency_s"
    )
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
        description="the part of by_unit_s that no rate shortens: latency, which occupies no unit, "
        "and what DMA transfers take beside their beats"
    )
    engine_s: Number = Field(
        default=0.0,
        description="the part of by_unit_s of pmca in which matrix engines multiply, not cores",
    )
    weights_order_s: Number = Field(
        default=0.0,
        description="the part of by_unit_s in which units that hold weights, their converters and "
        "ports work and the next block waits for them (order)",
    )
    busiest: Bound | None = Field(
        description="bound by the unit or stage with most to do; None as said above"
    )
    chain: Bound | None = Field(
        description="bound by the longest chain of work, with shared units without limit; None "
        "likewise"
    )
    busiest_by_unit_s: dict[str, Number] = Field(
        description="by unit kind the time of the unit or stage that works longest; empty where "
        "there are no bounds"
    )
    levers: tuple[Lever, ...] = Field(
        default=(), description="what would shorten it, largest gain first"
    )

    def shared_by_unit_s(self) -> dict[str, float]:
        """The part of `by_unit_s` in which the path waited for that shared unit, longest first."""
        waits = self.waits_by_unit_s.items()
        found = {unit: times["shared"] for unit, times in waits if "shared" in times}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


class LayerTime(Frozen):
    """Work of one layer on one kind of unit in one phase.

    What belongs to no layer (leakage, or all energy of paper accounting) has layer "".
    """

    layer: str = Field(description="layer of the model; empty for what belongs to none")
    unit: str = Field(description="kind of unit")
    kind: str = Field(description="kind of work")
    phase: str = Field(description="prefill or decode")
    busy_s: Number = Field(description="work, all units side by side added up")
    critical_s: Number = Field(description="its part of the critical path")
    energy_J: Number = Field(description="its part of the report's energy_J")


class Bottlenecks(Frozen):
    """What bounds the run, as a whole and by phase, and every layer's time and energy.

    Energies of `layers` sum to the report's; so does the time of each unit kind, over its units.
    """

    total: PhaseBounds = Field(description="the whole run")
    phases: dict[str, PhaseBounds] = Field(description="prefill, decode -> the same within it")
    layers: tuple[LayerTime, ...] = Field(
        description="work of every layer on every kind of unit; energies sum to the report's"
    )

    def save_layers(self, path: str | Path) -> None:
        """Write `layers` as a table (CSV), completely or not at all; raises OutputError."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(LayerTime.model_fields)
        table.writerows(row.model_dump().values() for row in self.layers)
        write_text(path, text.getvalue())
