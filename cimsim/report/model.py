"""Report: every result of one simulation as a frozen value that JSON holds without loss.

Times in s, energies in J, areas in mm2. Energies sum to the total, busy plus idle time of every
unit kind is the makespan. No wall-clock time, host or path goes into a report.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from cimsim.errors import SpecError
from cimsim.files import write_text
from cimsim.report.accuracy import Accuracy
from cimsim.report.bands import Sensitivity
from cimsim.report.bounds import Bottlenecks
from cimsim.report.chosen import Search
from cimsim.report.parts import ModelWrite, PhaseResult, UnitTime, read_value
from cimsim.report.reloads import Reloads
from cimsim.report.rows import row_of
from cimsim.values.arguments import checked
from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen
from cimsim.values.history import Change


class DecodePoint(Frozen):
    """Decode on a GPU at one batch: share of one sequence, ratios and verdicts as in Baseline."""

    batch: Whole = Field(description="sequences that the GPU runs at a time")
    latency_s: Number = Field(description="all decode steps, share of one sequence")
    energy_J: Number = Field(description="all decode steps, share of one sequence")
    step_latency_s: Number = Field(
        description="one step: what a user waits for a token, which grows with the batch"
    )
    latency_ratio: Number | None = Field(
        description="GPU over machine; None where the machine needs no time"
    )
    energy_ratio: Number | None = Field(
        description="GPU over machine; None where the machine needs no energy"
    )
    verdict: dict[str, str] = Field(
        description="latency and energy: wins, loses, no clear win, not compared"
    )


class Baseline(Frozen):
    """A GPU on the same workload; ratios are GPU over machine, above 1 where the machine wins.

    A ratio is None where the machine needs no time or no energy at all.
    """

    name: str = Field(description="the GPU, as its file calls it")
    lora: Literal["unmerged", "merged", "none"] = Field(
        description="beside the weights, merged into them, or a workload without LoRA"
    )
    like_for_like: bool = Field(description="whether the machine ran LoRA likewise")
    mode: str = Field(
        description="how it is counted: calibrated (a prediction of real kernels), roofline, "
        "peak-int8"
    )
    precision: str = Field(description="data types of its weights, activations and sums")
    batch: Whole = Field(description="sequences that the GPU runs at a time")
    software: str = Field(description="software whose measured kernels the model is calibrated on")
    latency_s: Number = Field(description="whole run, share of one sequence")
    energy_J: Number = Field(description="whole run, share of one sequence")
    latency_band_s: tuple[Number, Number] = Field(
        description="low and high, as far as published runs of the same work lie apart"
    )
    energy_band_J: tuple[Number, Number] = Field(
        description="low and high, as far as published runs of the same work lie apart"
    )
    latency_ratio: Number | None = Field(
        description="latency_s over the machine's: above 1 the machine is faster"
    )
    energy_ratio: Number | None = Field(
        description="energy_J over the machine's: above 1 the machine needs less"
    )
    phases: dict[str, PhaseResult] = Field(
        description="each phase, over all its steps and all sequences of the batch"
    )
    verdict: dict[str, str] = Field(
        description="latency and energy: wins, loses, no clear win, not compared"
    )
    host_s_per_step: Number = Field(
        default=0.0, description="host time that every step is given besides its kernels"
    )
    stack: str | None = Field(default=None, description="serving stack that the host time is of")
    decode: dict[str, DecodePoint] = Field(
        default_factory=dict, description="decode at batch 1, best throughput and best energy"
    )

    @property
    def key(self) -> str:
        """What a report calls it: the GPU, and what became of LoRA."""
        return self.name if self.lora == "none" else f"{self.name}, LoRA {self.lora}"


class Report(Frozen):
    """What `cimsim run` found out, and what report.json holds.

    Times in s, energies in J, areas in mm2; the unit is the last part of a field's name.
    """

    format: Literal[1] = Field(default=1, description="version of the file format")
    workload: str = Field(description="name of what was run")
    architecture: str = Field(description="name of the machine")
    pipeline: str = Field(
        description="strategy that ran: the one asked for, or the one that `auto` chose, with its "
        "options"
    )
    adaptation: str = Field(description="where the adapter ran (`cimsim list adaptations`)")
    mapper: str = Field(description="how weights were laid onto units (`cimsim list mappers`)")
    accounting: str = Field(
        description="true: every op of a traced model; paper: what the machine's paper counts"
    )
    latency_s: Number = Field(description="from time 0 to the last end of any work: the makespan")
    energy_J: Number = Field(description="of everything on the machine, leakage and DRAM included")
    area_mm2: Number = Field(description="of everything that is built")
    area_used_mm2: Number = Field(description="of the units that work was given to, and the buffer")
    phases: dict[str, PhaseResult] = Field(
        description="prefill, decode -> its latency, energy and rate"
    )
    energy_by_unit_J: dict[str, Number] = Field(
        description="kind of unit (rram, sram, pmca, link, buffer, dram, leakage) -> energy; sums "
        "to energy_J"
    )
    energy_by_component_J: dict[str, Number] = Field(
        description="component of a unit, such as rram.adc or leakage.sram -> energy; sums to "
        "energy_J"
    )
    energy_by_kind_J: dict[str, Number] = Field(
        description="kind of work (base, lora, attention, softmax, norm, vector, ...; leakage) -> "
        "energy; sums to energy_J"
    )
    area_by_unit_mm2: dict[str, Number] = Field(description="everything that is built")
    area_used_by_unit_mm2: dict[str, Number] = Field(description="units in use, and the buffer")
    dies: Whole = Field(default=1, description="dies that the machine is cut into")
    die_to_die_bytes: dict[str, Number] = Field(
        default_factory=dict,
        description="bytes between dies by phase, once for every link; nothing on one die",
    )
    latency_by_kind_s: dict[str, Number] = Field(
        description="time in which at least one unit is at work on each kind; kinds overlap"
    )
    utilisation: dict[str, Number] = Field(
        description="kind of unit -> share of the makespan that it is at work, mean over its units"
    )
    unit_times: dict[str, UnitTime] = Field(
        description="kind of unit -> how many work, and how long"
    )
    tiles_used: Whole = Field(description="analog tiles that hold a weight")
    sram_units_used: Whole = Field(description="SRAM units that hold a weight, K or V")
    cell_utilisation: Number = Field(
        description="share of the weight positions of used tiles that hold a weight, 0 to 1"
    )
    buffer_peak_KiB: Number = Field(
        description="activations in the global buffer at the fullest moment"
    )
    block_tokens: dict[str, Whole] = Field(description="stage -> tokens that a block of it has")
    reprogramming: ModelWrite = Field(
        description="first programming of the model, and a switch of adapter after it"
    )
    reloads: Reloads | None = Field(
        default=None,
        description="writes of weights that take turns on units while the machine runs; None where "
        "all stay",
    )
    baselines: dict[str, Baseline] = Field(
        default_factory=dict,
        description="GPU and what became of LoRA -> its results beside the machine's",
    )
    accuracy: Accuracy | None = Field(
        default=None, description="what a task scores on the machine, where that was asked for"
    )
    bounds: Bottlenecks | None = Field(
        default=None, description="what bounds the run, where that was asked for"
    )
    bands: Sensitivity | None = Field(
        default=None,
        description="how sure the results are over the ranges of assumed numbers, where that was "
        "asked for",
    )
    search: Search | None = Field(
        default=None, description="what `auto` tried; None where a strategy was named"
    )
    assumed: dict[str, str] = Field(
        description="field of the machine -> why it was assumed; every number that no source gives"
    )
    notes: tuple[str, ...] = Field(
        default=(),
        description="what the reader should know: limits that were passed, doubts, changes "
        "without effect",
    )
    changes: tuple[Change, ...] = Field(
        default=(), description="values that are others than the files of machine and workload say"
    )
    inputs: dict[str, str | Whole] = Field(
        description="versions, seed, options and sha256 digests of machine, workload and mapping"
    )

    @model_validator(mode="after")
    def _sums_hold(self) -> Self:
        for name in ("energy_by_unit_J", "energy_by_component_J", "energy_by_kind_J"):
            total = math.fsum(getattr(self, name).values())
            if not math.isclose(total, self.energy_J, rel_tol=1e-12):
                raise ValueError(f"{name} sums to {total!r} J, energy_J is {self.energy_J!r} J")
        return self

    def _facts(self) -> dict[str, object]:
        names = ("workload", "architecture", "pipeline", "adaptation", "mapper")
        numbers = ("latency_s", "energy_J", "area_mm2")
        found = {name: getattr(self, name) for name in (*names, *numbers)}
        for name, phase in self.phases.items():
            found[f"{name}_tokens_per_s"] = phase.tokens_per_s
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy.noisy_mean
        return found | {"baselines": tuple(self.baselines)}

    def to_json(self) -> str:
        """The report as text; equal reports give equal text."""
        optional = ("accuracy", "bands", "bounds", "reloads", "search")
        without = {name for name in optional if getattr(self, name) is None}
        data = self.model_dump(mode="json", exclude=without)
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    def row(self) -> dict[str, str | int | float | bool | None]:
        """The report as one flat row of scalars with units in the keys (see `cimsim.report.rows`).

        `pandas.DataFrame([report.row() for report in reports])` is a table of runs. What has one
        value a layer (`block_tokens`) or several draws and times is left to the report.
        """
        return row_of(self)

    def save(self, path: str | Path) -> None:
        """Write the report, completely or not at all; raises OutputError."""
        write_text(path, self.to_json())


@checked(SpecError)
def load_report(path: str | Path) -> Report:
    """Read a report; raises SpecError naming the file and the field."""
    return read_value(path, Report, "report")
