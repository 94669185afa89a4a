"""From a finished run to its Report: energies, times and areas, each summed one way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from cimsim.adaptation import adaptation_of, adaptation_text
from cimsim.costs.cluster_energy import supply_voltage_V
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.report.accounting import NOTE, BlockEnergy
from cimsim.report.columns import column_memory_mm2
from cimsim.report.findings import Findings
from cimsim.report.inert import inert_changes
from cimsim.report.kinds import OTHER, kinds_of
from cimsim.report.leakage import leaked_J
from cimsim.report.model import Report
from cimsim.report.parts import ModelWrite, PhaseResult
from cimsim.report.plausibility import doubts_on_machine, doubts_on_run
from cimsim.report.reloads import Reloads, reloads_of
from cimsim.report.work import Key
from cimsim.schedule import Plan
from cimsim.schedule.plan import priced
from cimsim.spec import Architecture
from cimsim.unit_kinds import KINDS
from cimsim.units import quantity


class Spent(NamedTuple):
    """An energy (J by phase) and what it belongs to; layer "" where it has none."""

    layer: str
    unit: str
    component: str
    kind: str
    energy_J: tuple[float, ...]

    @property
    def key(self) -> Key:
        """Layer, unit and kind of work."""
        return self.layer, self.unit, self.kind


UNITS = (*KINDS, "link", "buffer", "dram", "leakage")
"""What energies by unit are of, whatever the machine has."""


def fold(
    workload: Workload,
    adapted: Workload,
    architecture: Architecture,
    mapping: Mapping,
    plan: Plan,
    findings: Findings,
    writes: ModelWrite,
    pipeline: str,
    inputs: dict[str, str | int],
    counted: tuple[BlockEnergy, ...] | None = None,
    *,
    told: bool = True,
) -> Report:
    """The report of a finished run, of which `findings` are what costs are not in.

    `adapted` is the workload with the adaptation of the mapping, `writes` what programming takes
    (see `model_write`), `pipeline` the text of the strategy, `inputs` what the run was given.
    Energies are the plan's charges and the leakage, or `counted` alone where they were counted as
    the paper does. Without `told` nothing is said in words: no notes, no assumed numbers.
    """
    makespan, latencies, times = findings.makespan_s, findings.latencies_s, findings.unit_times
    units = UNITS if counted is None else ()
    energies = amounts(plan, findings, architecture, counted)
    by_unit, by_component, by_kind, by_phase = folded(energies, units, len(latencies))
    more_built, more_used = column_memory_mm2(adapted, architecture, plan)
    built = architecture.area_mm2() | more_built
    used = architecture.area_mm2(plan.unit_counts) | more_used
    peak = findings.buffer_peak_bytes / 1024.0
    energy, area_used = math.fsum(by_unit.values()), math.fsum(used.values())
    if not told:
        notes: tuple[str, ...] = ()
    elif counted is None:
        notes = _notes(adapted, architecture, plan, peak)
        notes += doubts_on_machine(architecture)
        notes += doubts_on_run(
            architecture,
            macs=adapted.macs,
            energy_J=energy,
            latency_s=makespan,
            used_mm2=area_used,
            used=plan.unit_counts,
        )
    else:
        notes = (NOTE,)
    reloads = reloads_of(adapted, architecture, mapping, makespan)
    if told:
        if reloads is not None:
            notes += _of_reloads(reloads, findings, energy)
        notes += inert_changes(architecture)
    return Report(
        workload=workload.name,
        architecture=architecture.name,
        pipeline=pipeline,
        adaptation=adaptation_text(adaptation_of(mapping)),
        mapper=mapping.mapper,
        accounting=workload.accounting,
        latency_s=makespan,
        energy_J=energy,
        area_mm2=math.fsum(built.values()),
        area_used_mm2=area_used,
        phases={
            phase.name: _phase(workload.sequences * phase.new_tokens, latencies[i], by_phase[i])
            for i, phase in enumerate(workload.phases)
        },
        energy_by_unit_J=by_unit,
        energy_by_component_J=by_component,
        energy_by_kind_J=by_kind,
        area_by_unit_mm2=built,
        area_used_by_unit_mm2=used,
        dies=architecture.dies,
        die_to_die_bytes=_crossed(architecture, plan),
        latency_by_kind_s=findings.latency_by_kind_s,
        utilisation={u: t.busy_s / makespan if makespan else 0.0 for u, t in times.items()},
        unit_times=times,
        tiles_used=mapping.used("rram"),
        sram_units_used=mapping.used("sram"),
        cell_utilisation=mapping.cell_utilisation,
        buffer_peak_KiB=peak,
        block_tokens=dict(sorted(plan.block_tokens.items())),
        reprogramming=writes,
        reloads=reloads,
        assumed=architecture.assumed() if told else {},
        notes=notes,
        changes=(*architecture.changes, *workload.changes),
        inputs=inputs,
    )


def _of_reloads(reloads: Reloads, findings: Findings, energy_J: float) -> tuple[str, ...]:
    """How much of a run is writing weights, and how long cells bear it."""
    at_work_s = findings.latency_by_kind_s.get("reload", 0.0)
    time = at_work_s / findings.makespan_s if findings.makespan_s else 0.0
    share = reloads.energy_J / energy_J if energy_J else 0.0
    lives = ""
    if reloads.lifetime_runs is not None and reloads.lifetime_s is not None:
        lives = (
            f"; at their endurance the cells written most last {reloads.lifetime_runs:,.0f} runs, "
            f"{quantity(reloads.lifetime_s, 's')} of them without a break"
        )
    return (
        f"weights are rewritten while the machine runs (mapper reload): {reloads.writes:,} writes, "
        f"under way in {time:.1%} of the latency, with {share:.1%} of the energy{lives}; --bounds "
        "says how much of that the run waits for",
    )


def _crossed(architecture: Architecture, plan: Plan) -> dict[str, float]:
    if architecture.dies == 1:
        return {}
    return {phase: bits / 8.0 for phase, bits in zip(plan.phases, plan.crossed_bits, strict=True)}


def _phase(tokens: int, latency_s: float, energy_J: float) -> PhaseResult:
    rate = tokens / latency_s if latency_s > 0 else 0.0
    return PhaseResult(latency_s=latency_s, energy_J=energy_J, tokens=tokens, tokens_per_s=rate)


def spent(
    plan: Plan,
    workload: Workload,
    architecture: Architecture,
    latencies: list[float],
    counted: tuple[BlockEnergy, ...] | None,
) -> list[Spent]:
    """All that the machine spends in phases of `latencies` (s), or `counted` as the paper counts.

    `workload` is the adapted one.
    """
    if counted is not None:
        return _as_counted(counted)
    kinds, layers = kinds_of(workload), {info.stage: info.layer for info in plan.roles}
    found = [
        Spent(
            layers[charge.stage],
            charge.unit,
            f"{charge.unit}.{charge.component}",
            kinds.get(charge.op, OTHER),
            charge.energy_J,
        )
        for charge in plan.charges(architecture)
    ]
    return [*found, *_leaked(architecture, plan, latencies)]


def _as_counted(counted: tuple[BlockEnergy, ...]) -> list[Spent]:
    return [Spent("", b.unit, f"{b.unit}.{b.kind}", b.kind, b.energy_J) for b in counted]


def _leaked(architecture: Architecture, plan: Plan, latencies: list[float]) -> list[Spent]:
    return [
        Spent("", "leakage", f"leakage.{unit}", "leakage", energy)
        for unit, energy in leaked_J(architecture, plan, latencies).items()
    ]


def amounts(
    plan: Plan, findings: Findings, architecture: Architecture,
    counted: tuple[BlockEnergy, ...] | None,
) -> Iterator[tuple[Spent, int]]:  # fmt: skip
    """What `spent` has, whatever the layer, and how often it has it."""
    if counted is not None:
        yield from ((entry, 1) for entry in _as_counted(counted))
        return
    prices = priced((tally for tally, _, _ in findings.spent_on), architecture)
    for tally, kinds, count in findings.spent_on:
        for op, unit, component, energy in prices[id(tally)]:
            yield Spent("", unit, f"{unit}.{component}", kinds[op], energy), count
    yield from ((entry, 1) for entry in _leaked(architecture, plan, findings.latencies_s))


def folded(
    energies: Iterable[tuple[Spent, int]], units: tuple[str, ...], phase_count: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float], list[float]]:
    """Energy (J) by unit, component and kind of work, and by phase; each sums to the total."""
    folds: tuple[dict[str, list[float]], ...] = ({u: [] for u in units}, {}, {})
    phases: list[list[float]] = [[] for _ in range(phase_count)]
    for (_, *keys, energy), count in energies:
        powers = _powers(count)
        every = energy if count == 1 else [value * power for power in powers for value in energy]
        for fold, key in zip(folds, keys, strict=True):
            fold.setdefault(key, []).extend(every)
        for phase, value in enumerate(energy):
            phases[phase] += [value * power for power in powers]
    by_unit, by_component, by_kind = (
        {key: math.fsum(values) for key, values in fold.items()} for fold in folds
    )
    by_component = dict(sorted(by_component.items()))
    return by_unit, by_component, dict(sorted(by_kind.items())), [math.fsum(p) for p in phases]


@cache
def _powers(count: int) -> tuple[float, ...]:
    """The powers of two that a count is the sum of: a number times each of them is exact.

    `math.fsum` rounds the sum of their products as it rounds that of as many single numbers.
    """
    return tuple(float(1 << bit) for bit in range(count.bit_length()) if count >> bit & 1)


def _notes(
    workload: Workload, architecture: Architecture, plan: Plan, peak_KiB: float
) -> tuple[str, ...]:
    notes = []
    if len(workload.phases) > 1 and any(phase.sampling is None for phase in workload.phases):
        notes.append(
            "choosing the next token from the logits is not counted: the workload's steps do not "
            "end with it; trace the model again (cimsim trace --prefill --decode)"
        )
    pmca = architecture.pmca
    if (volts := supply_voltage_V(pmca)) > pmca.supply.highest_voltage_V:
        notes.append(
            f"clusters need {volts:.3g} V for {pmca.clock_MHz:g} MHz, more than the "
            f"{pmca.supply.highest_voltage_V:g} V of pmca.supply.highest_voltage_V: such a cluster "
            "would be built otherwise; lower pmca.clock_MHz or describe one whose "
            "pmca.supply.reference_clock_MHz is higher"
        )
    if plan.spill_bytes:
        worst = max(plan.spill_bytes, key=lambda stage: plan.spill_bytes[stage])
        notes.append(
            f"LoRA of {len(plan.spill_bytes)} layers does not fit the TCDM of "
            f"{architecture.pmca.tcdm_KiB:g} KiB in blocks of this size and passes through it in "
            f"tiles: up to {plan.spill_bytes[worst] / 1024:.1f} KiB more a block ({worst}), A and "
            "B anew or X.W to the buffer and back; use balanced or raise pmca.tcdm_KiB"
        )
    if plan.on_cores:
        notes.append(
            f"products of {len(plan.on_cores)} stages run on the clusters' cores, which took less "
            "time than the matrix engine; cycles of cores are a lower bound, --pipeline "
            "engine-only or pmca.products_on=engine leaves all products to the engine"
        )
    if peak_KiB > architecture.buffer.capacity_KiB:
        notes.append(
            f"activations need {peak_KiB:.0f} KiB of buffer at the peak, the machine has "
            f"{architecture.buffer.capacity_KiB:g} KiB: spilling to DRAM is not modelled, so "
            "latency and energy are too low; use smaller blocks or raise buffer.capacity_KiB"
        )
    notes += [
        f"{model.path} extrapolates: {', '.join(model.outside)}, where its law is fitted"
        for model in architecture.modelled()
        if model.outside
    ]
    return tuple(notes)
