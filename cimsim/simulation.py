"""simulate(): one call from workload and architecture to a Report, with everything in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cimsim import engines
from cimsim.adaptation import Adaptation, adaptation_named
from cimsim.costs.accounting import NOTE, BlockEnergy, block_energies
from cimsim.costs.area import area_mm2, leakage_W
from cimsim.engines import Engine, Run
from cimsim.engines.program import Actor, Hold, Use
from cimsim.errors import CimsimError
from cimsim.ir import Workload, load_workload
from cimsim.mappers import Mapper, build_mapping, mapper_named
from cimsim.mapping import Mapping
from cimsim.report import ModelWrite, PhaseResult, Report, UnitTime
from cimsim.report.occupancy import buffer_peak_bytes
from cimsim.report.writes import adapter_switch, first_programming
from cimsim.schedule import Plan, build_plan
from cimsim.schedule.pipelines import Pipeline, format_pipeline, pipeline_named
from cimsim.spec import Architecture, load_architecture
from cimsim.units import ps_to_seconds
from cimsim.values.arguments import Seed, checked
from cimsim.values.display import brief, facts
from cimsim.values.history import provenance
from cimsim.version import VERSION

Progress = Callable[[str], None]
_Entry = tuple[str, str, str, tuple[float, ...]]
"""Unit, component and kind of work that an energy (J by phase) belongs to."""
_UNITS = ("rram", "sram", "pmca", "link", "buffer", "dram", "leakage")


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A finished simulation: the report, and what it was folded from."""

    report: Report
    workload: Workload
    architecture: Architecture
    mapping: Mapping
    plan: Plan
    run: Run

    def _facts(self) -> dict[str, object]:
        return facts(self.report)


@checked(CimsimError)
def simulate(
    workload: Workload | str | Path,
    architecture: Architecture | str | Path,
    *,
    pipeline: Pipeline | str | None = None,
    adaptation: Adaptation | str | None = None,
    mapper: Mapper | str | None = None,
    engine: Engine = "compiled",
    group_tiles: bool = True,
    seed: Seed = 0,
    inputs: dict[str, str | int] | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Simulate `workload` on `architecture`, event by event.

    `adaptation` defaults to the architecture's, `pipeline` to blocks of 16 tokens, `mapper` to
    one block a tile; each may be the text that the command line takes, such as
    `layer:block_tokens=8`. `inputs` are added to the report's (names, digests of files).
    Workload and machine may be paths of their files. `progress` is called with a word for each
    stage. A workload of paper accounting takes its energy from `cimsim.costs.accounting`, the rest
    is simulated alike. Raises MappingError, CapacityError or SimulationError, and SpecError where a
    machine cannot count as the paper does.
    """
    tell = progress or (lambda stage: None)
    workload = workload if isinstance(workload, Workload) else load_workload(workload)
    if not isinstance(architecture, Architecture):
        architecture = load_architecture(architecture)
    pipeline, mapper = pipeline_named(pipeline), mapper_named(mapper)
    adaptation = adaptation_named(adaptation or architecture.adaptation)
    tell("mapping")
    adapted = adaptation.apply(workload)
    counted = None
    if workload.accounting == "paper":
        counted = block_energies(adapted, architecture, adaptation.lora_unit)
    architecture, mapper = pipeline.prepare(adapted, architecture, mapper)
    mapping = build_mapping(adapted, architecture, adaptation, mapper)
    tell("scheduling")
    plan = build_plan(adapted, architecture, mapping, pipeline, group_tiles=group_tiles)
    tell("simulating")
    run = engines.run(plan.program, engine)
    tell("reporting")
    named: dict[str, str | int] = {
        "pipeline": format_pipeline(pipeline),
        "adaptation": adaptation.name,
        "mapper": mapper.name,
        "mapping_sha256": mapping.digest(),
        "seed": seed,
        "version": VERSION,
        **provenance(architecture, workload),
    }
    named |= inputs or {}
    report = _report(workload, adapted, architecture, mapping, plan, run, counted, named)
    return Simulation(report, workload, architecture, mapping, plan, run)


def _report(
    workload: Workload,
    adapted: Workload,
    architecture: Architecture,
    mapping: Mapping,
    plan: Plan,
    run: Run,
    counted: tuple[BlockEnergy, ...] | None,
    inputs: dict[str, str | int],
) -> Report:
    ends = phase_ends_s(plan, run)
    makespan = ps_to_seconds(run.makespan_ps)
    latencies = [b - a for a, b in zip([0.0, *ends], ends, strict=False)]
    if counted is None:
        units: tuple[str, ...] = _UNITS
        leakage = leakage_W(architecture, plan.unit_counts)
        entries = _entries(plan, adapted, leakage, latencies)
    else:
        units = ()
        entries = [(b.unit, f"{b.unit}.{b.kind}", b.kind, b.energy_J) for b in counted]
    by_unit, by_component, by_kind, by_phase = _folded(entries, units, len(latencies))
    times = unit_times(plan, run)
    used = area_mm2(architecture, plan.unit_counts)
    built = area_mm2(architecture)
    peak = buffer_peak_bytes(plan, run) / 1024.0
    writes = ModelWrite(
        **dict(first_programming(workload, architecture, mapping)),
        adapter_switch=adapter_switch(workload, architecture, mapping),
    )
    return Report(
        workload=workload.name,
        architecture=architecture.name,
        pipeline=str(inputs["pipeline"]),
        adaptation=mapping.adaptation,
        mapper=mapping.mapper,
        accounting=workload.accounting,
        latency_s=makespan,
        energy_J=math.fsum(by_unit.values()),
        area_mm2=math.fsum(built.values()),
        area_used_mm2=math.fsum(used.values()),
        phases={
            phase.name: _phase(phase.tokens * phase.steps, latencies[i], by_phase[i])
            for i, phase in enumerate(workload.phases)
        },
        energy_by_unit_J=by_unit,
        energy_by_component_J=by_component,
        energy_by_kind_J=by_kind,
        area_by_unit_mm2=built,
        latency_by_kind_s=_busy_by_kind(plan, run, adapted),
        utilisation={u: t.busy_s / makespan if makespan else 0.0 for u, t in times.items()},
        unit_times=times,
        tiles_used=mapping.tiles_used,
        sram_units_used=mapping.sram_units_used,
        cell_utilisation=mapping.cell_utilisation,
        buffer_peak_KiB=peak,
        block_tokens=dict(sorted(plan.block_tokens.items())),
        reprogramming=writes,
        assumed=architecture.assumed(),
        notes=_notes(architecture, plan, peak) if counted is None else (NOTE,),
        changes=(*architecture.changes, *workload.changes),
        inputs=inputs,
    )


def _phase(tokens: int, latency_s: float, energy_J: float) -> PhaseResult:
    rate = tokens / latency_s if latency_s > 0 else 0.0
    return PhaseResult(latency_s=latency_s, energy_J=energy_J, tokens=tokens, tokens_per_s=rate)


def phase_ends_s(plan: Plan, run: Run) -> list[float]:
    """When the last actor finished each phase (s); the last is the makespan."""
    ends = [0] * len(plan.phases)
    for index, info in enumerate(plan.actors):
        finish = run.finish_ps(index)
        for phase in range(len(ends)):
            here = np.flatnonzero(info.phase == phase)
            if here.size:
                ends[phase] = max(ends[phase], int(finish[here[-1]]))
    return [ps_to_seconds(end) for end in ends]


def unit_times(plan: Plan, run: Run) -> dict[str, UnitTime]:
    """Busy and idle time by unit kind, mean over the units in use."""
    busy_ps: dict[str, int] = dict.fromkeys(sorted(plan.unit_counts), 0)
    for actor, info in zip(plan.program.actors, plan.actors, strict=True):
        for total, (unit, units) in zip(_busy_ps(actor), info.occupies, strict=True):
            busy_ps[unit] = busy_ps.get(unit, 0) + total * units
    result: dict[str, UnitTime] = {}
    for unit, total in busy_ps.items():
        units = plan.unit_counts.get(unit, 1)
        busy = ps_to_seconds(total) / units
        idle = ps_to_seconds(run.makespan_ps) - busy
        result[unit] = UnitTime(units=units, busy_s=busy, idle_s=idle)
    return result


def _busy_ps(actor: Actor) -> list[int]:
    """Time (ps) in each Hold or Use of `actor` over all its iterations, in order."""
    durations = [verb.duration for verb in actor.steps if isinstance(verb, Hold | Use)]
    return [int(d.sum()) if isinstance(d, np.ndarray) else d * actor.iterations for d in durations]


def _kinds(workload: Workload) -> dict[str, str]:
    """Stage (op) name -> kind of work: base, lora, attention, or the op's kind.

    `lora` is all that an adapter brings: its branch and the weights saved with it.
    """
    kinds: dict[str, str] = {}
    for _, op in workload.ops():
        if op.kind == "linear":
            kinds[op.name] = "lora" if op.in_adapter else "base"
        elif op.kind == "matmul":
            kinds[op.name] = "attention" if op.stationary_token_axis != "none" else "vector"
        else:
            kinds[op.name] = op.kind if op.kind in ("softmax", "norm", "embedding") else "vector"
    return kinds


def _entries(
    plan: Plan, workload: Workload, leakage: dict[str, float], latencies: list[float]
) -> list[_Entry]:
    """All that the machine spends."""
    kinds = _kinds(workload)
    entries: list[_Entry] = [
        (c.unit, f"{c.unit}.{c.component}", kinds.get(c.stage, "vector"), c.energy_J)
        for c in plan.charges
    ]
    entries += [
        ("leakage", f"leakage.{unit}", "leakage", tuple(power * t for t in latencies))
        for unit, power in leakage.items()
        if power
    ]
    return entries


def _folded(
    entries: list[_Entry], units: tuple[str, ...], phase_count: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float], list[float]]:
    """Energy (J) by unit, component and kind of work, and by phase; each sums to the total."""
    folds: tuple[dict[str, list[float]], ...] = ({u: [] for u in units}, {}, {})
    phases: list[list[float]] = [[] for _ in range(phase_count)]
    for *keys, energy in entries:
        for fold, key in zip(folds, keys, strict=True):
            fold.setdefault(key, []).extend(energy)
        for phase, value in enumerate(energy):
            phases[phase].append(value)
    by_unit, by_component, by_kind = (
        {key: math.fsum(values) for key, values in fold.items()} for fold in folds
    )
    by_component = dict(sorted(by_component.items()))
    return by_unit, by_component, dict(sorted(by_kind.items())), [math.fsum(p) for p in phases]


def _busy_by_kind(plan: Plan, run: Run, workload: Workload) -> dict[str, float]:
    """Busy time (s) of each kind of work; tiles of one replica work side by side, counted once."""
    kinds = _kinds(workload)
    parts: dict[tuple[str, str], int] = {}
    for actor, info in zip(plan.program.actors, plan.actors, strict=True):
        busy = sum(_busy_ps(actor))
        part = (info.stage, info.part.partition(".")[0])
        parts[part] = max(parts.get(part, 0), busy)
    totals: dict[str, int] = {}
    for (stage, _), busy in parts.items():
        kind = kinds.get(stage, "vector")
        totals[kind] = totals.get(kind, 0) + busy
    return {kind: ps_to_seconds(total) for kind, total in sorted(totals.items())}


def _notes(architecture: Architecture, plan: Plan, peak_KiB: float) -> tuple[str, ...]:
    notes = []
    if plan.spill_bytes:
        worst = max(plan.spill_bytes, key=lambda stage: plan.spill_bytes[stage])
        notes.append(
            f"LoRA of {len(plan.spill_bytes)} layers does not fit the TCDM of "
            f"{architecture.pmca.tcdm_KiB:g} KiB in blocks of this size: up to "
            f"{plan.spill_bytes[worst] / 1024:.1f} KiB a block ({worst}) go to the buffer and "
            "back; use balanced, smaller blocks, or raise pmca.tcdm_KiB"
        )
    if peak_KiB > architecture.buffer.capacity_KiB:
        notes.append(
            f"activations need {peak_KiB:.0f} KiB of buffer at the peak, the machine has "
            f"{architecture.buffer.capacity_KiB:g} KiB: spilling to DRAM is not modelled, so "
            "latency and energy are too low; use smaller blocks or raise buffer.capacity_KiB"
        )
    return tuple(notes)
