"""From a finished stream to what a strategy costs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cimsim.adaptation import BASE_TASK, AdaptedTask, programmed
from cimsim.engines.program import IntArray
from cimsim.report import Report, Reprogramming
from cimsim.report.writes import reprogramming
from cimsim.serving.breakeven import Curve
from cimsim.serving.jobs import RequestWork
from cimsim.serving.levelling import further_mm2, rotation
from cimsim.serving.requests import Levelling, RequestStream
from cimsim.serving.result import CurvePoint, Latency, Lifetime, StrategyResult
from cimsim.serving.served import Served
from cimsim.serving.switches import Loading, Switches
from cimsim.serving.wear import hottest
from cimsim.units import PS_PER_S, ps_to_seconds
from cimsim.values.display import brief

F64 = npt.NDArray[np.float64]
SECONDS_PER_YEAR = 365.25 * 86_400.0  # counted: a Julian year
POINTS = 256
"""Choice: points of a curve that are kept."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """When requests came, began and ended (ps)."""

    arrival_ps: IntArray
    begin_ps: IntArray
    end_ps: IntArray

    @classmethod
    def of(cls, stream: RequestStream, end_ps: IntArray) -> Times:
        """One at a time, in order: each begins once it has come and the one before has ended."""
        before = np.concatenate([[0], end_ps[:-1]])
        arrival = before if stream.arrival_ps is None else stream.arrival_ps
        return cls(arrival, np.maximum(arrival, before), end_ps)


def setup_J(switches: Switches, first: AdaptedTask) -> float:
    """Energy (J) to program what neither the base model has nor the switch to `first` writes."""
    pretrained = AdaptedTask(BASE_TASK, first.workload)
    switched = switches.between(pretrained, first).weights
    placements = switches.mapping.placements
    parts = [
        part
        for part in programmed(switches.mapping)
        if part.weight not in switched and placements[part.weight].role != "base"
    ]
    return reprogramming(switches.architecture, parts).energy_J if parts else 0.0


def outcome(
    served: Served,
    base: Sequence[Report],
    switches: Switches,
    stream: RequestStream,
    jobs: Sequence[RequestWork],
    mode: IntArray,
    times: Times,
    setup: float,
    task_bits: int,
    endurances: Sequence[float],
    levelling: Levelling | None = None,
) -> tuple[StrategyResult, Curve]:
    """What `served` costs over the stream, and its energy request by request."""
    reports = [simulation.report for simulation in served.simulations]
    alone = np.array([uses.latency_ps for uses in served.uses])[mode]
    inference = np.array([report.energy_J for report in reports])[mode]
    lost_ps = times.end_ps - times.begin_ps - alone
    idle_ps = times.begin_ps - np.concatenate([[0], times.end_ps[:-1]])
    loading, idle_W = Loading(switches.architecture), served.idle_W
    loaded = np.array([_loaded_J(job, loading) for job in jobs])
    wrote = np.array([job.switch.whole.energy_J if job.switch else 0.0 for job in jobs])
    leaked, waited = (idle_W * span / PS_PER_S for span in (lost_ps, idle_ps))
    parts = [math.fsum(part) for part in (inference, wrote + loaded, leaked, waited)]
    changes = np.cumsum([0, *(job.switch is not None for job in jobs)])
    each = inference + wrote + loaded + leaked + waited
    energy = setup + np.concatenate([[0.0], np.cumsum(each)])
    curve = Curve(served.strategy, energy, changes)
    wear, pulses = hottest(switches, jobs)
    further = max(job.place for job in jobs)
    written = {job.switch for job in jobs if job.switch is not None}
    turns = rotation(levelling, switches.architecture, switches.mapping, written)
    more_mm2 = further_mm2(turns, switches.architecture, further)
    makespan_s = ps_to_seconds(int(times.end_ps[-1]))

    def overhead(field: str) -> float:
        return a_request(reports, mode, field) / a_request(base, mode, field)

    result = StrategyResult(
        strategy=served.strategy,
        pipeline=reports[0].pipeline,
        requests=stream.count,
        switches=int(changes[-1]),
        makespan_s=makespan_s,
        latency=_latency(times.end_ps - times.arrival_ps),
        inference_s=float(alone.mean()) / PS_PER_S,
        switching_s=ps_to_seconds(int(lost_ps.sum())),
        energy_J=math.fsum(parts),
        inference_energy_J=parts[0],
        switch_energy_J=parts[1],
        load_energy_J=math.fsum(loaded),
        switching_leakage_J=parts[2],
        idle_leakage_J=parts[3],
        setup_energy_J=setup,
        written=_written(jobs),
        dram_bytes_loaded=sum(-(-job.dram_bits // 8) for job in jobs),
        hottest_wear=wear,
        hottest_pulses=pulses,
        lifetimes=tuple(_lifetime(e, pulses, makespan_s) for e in endurances),
        task_bits=task_bits,
        area_used_mm2=(area := max(report.area_used_mm2 for report in reports) + more_mm2),
        extra_area_mm2=area - max(report.area_used_mm2 for report in base),
        latency_overhead_ratio=overhead("latency_s"),
        energy_overhead_ratio=overhead("energy_J"),
        moves=sum(job.moved for job in jobs),
        places=1 + further,
        curve=_points(curve),
    )
    return result, curve


def a_request(reports: Sequence[Report], mode: IntArray, field: str) -> float:
    """A result of a request in the mean: request i is as `reports[mode[i]]` says."""
    return float(np.array([getattr(report, field) for report in reports])[mode].mean())


def _loaded_J(job: RequestWork, loading: Loading) -> float:
    return loading.energy_J(job.switch.bits, job.dram_bits) if job.switch else 0.0


def _latency(latency_ps: IntArray) -> Latency:
    p50, p95, p99 = np.quantile(latency_ps, [0.5, 0.95, 0.99], method="inverted_cdf") / PS_PER_S
    return Latency(
        mean_s=float(latency_ps.mean()) / PS_PER_S, p50_s=float(p50), p95_s=float(p95),
        p99_s=float(p99), max_s=ps_to_seconds(int(latency_ps.max())),
    )  # fmt: skip


NO_AMOUNTS = {"energy_J", "time_s", "wear", "hottest_pulses", "loaded_bytes", "load_energy_J"}
"""Numbers of a write that do not add up over switches, or that stand elsewhere in a result."""


def _written(jobs: Sequence[RequestWork]) -> dict[str, float]:
    """Amounts of all switches by their name in a write."""
    total: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        if job.switch is not None:
            for name, amount in _amounts(job.switch.whole).items():
                total[name] += amount
    return dict(total)


def _amounts(whole: Reprogramming) -> dict[str, float]:
    named = {n: getattr(whole, n) for n in type(whole).model_fields if n not in NO_AMOUNTS}
    counts = {name: value for name, value in named.items() if isinstance(value, int | float)}
    return counts | whole.also_written


def _lifetime(endurance: float, pulses: float, span_s: float) -> Lifetime:
    years = endurance / pulses * span_s / SECONDS_PER_YEAR if pulses else None
    return Lifetime(endurance_cycles=endurance, years=years)


def _points(curve: Curve) -> tuple[CurvePoint, ...]:
    last = curve.energy_J.size - 1
    picked = np.unique(np.linspace(0, last, min(POINTS, last + 1)).round().astype(int))
    return tuple(
        CurvePoint(requests=i, switches=int(curve.switches[i]), energy_J=float(curve.energy_J[i]))
        for i in picked.tolist()
    )
