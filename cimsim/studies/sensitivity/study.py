"""The one call: a finished simulation, its bands and what makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cimsim.errors import CimsimError, SpecError
from cimsim.report import Baseline, Report
from cimsim.report.bands import Band, Effect, Screen, Screened, Sensitivity
from cimsim.runtime.libraries import library
from cimsim.simulation import Simulation
from cimsim.studies.sensitivity.costs import Costs, costs_of
from cimsim.studies.sensitivity.ends import BothEnds, Probe
from cimsim.studies.sensitivity.numbers import Ranged, doubled, ranged
from cimsim.studies.sensitivity.surface import F64, Points, Surface
from cimsim.values.arguments import checked

METRICS = ("energy_J", "latency_s", "energy_ratio", "latency_ratio")
SAMPLES = 1024
"""Choice: points of the Sobol sequence, a power of two; a percentile moves by less than 2 %."""
RUNS = 4
"""Choice: numbers that are simulated in full at both ends; those that move latency most."""
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True)
class _Result:
    """A metric, and the GPU that it is over."""

    metric: str
    gpu: Baseline | None

    @property
    def _band(self) -> tuple[float, float, float]:
        """Low, value and high of the GPU."""
        assert self.gpu is not None
        if self.metric == "energy_ratio":
            return self.gpu.energy_band_J[0], self.gpu.energy_J, self.gpu.energy_band_J[1]
        return self.gpu.latency_band_s[0], self.gpu.latency_s, self.gpu.latency_band_s[1]

    def at(self, points: Points) -> F64:
        """The result at some points."""
        mine = points.energy_J if self.metric.startswith("energy") else points.latency_s
        if self.gpu is None:
            return mine
        low, _, high = self._band
        return np.asarray((low + (high - low) * points.gpu) / mine)

    def of(self, costs: Costs, gpu: float | None = None) -> float:
        """The result of one run, beside the GPU as estimated or taking `gpu`."""
        mine = costs.energy_J if self.metric.startswith("energy") else costs.latency_s
        if self.gpu is None:
            return mine
        return (self._band[1] if gpu is None else gpu) / mine

    def spread(self, costs: Costs, share: float) -> tuple[Effect, ...]:
        """The GPU itself as a number with a range; none where runs of it do not differ."""
        if self.gpu is None:
            return ()
        low, value, high = self._band
        if low == high:
            return ()
        unit = "energy_J" if self.metric == "energy_ratio" else "latency_s"
        return (
            Effect(
                path=f"gpu.{unit}",
                value=value,
                low=low,
                high=high,
                source="how far published runs of the same work lie apart",
                at_low=self.of(costs, low),
                at_high=self.of(costs, high),
                share=share,
                by="fold",
            ),
        )


@checked(CimsimError)
def sensitivity(
    simulation: Simulation,
    report: Report | None = None,
    *,
    metrics: Sequence[str] = METRICS,
    runs: int = RUNS,
    hold_times: bool = False,
    shares: bool = True,
    screen: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Bands of `simulation`, and the numbers that make them, under the strategy that ran.

    Every number with a range (`Architecture.ranges`) is tried at both ends, alone; then all are
    drawn at once (`samples` points of a Sobol sequence). Numbers without a range are held and
    named; with `screen` each of those is halved and doubled, alone. `report` is the simulation's
    with GPUs beside it, for the ratios. `runs` numbers that move latency most are simulated in
    full, the others on a part of the workload; with `hold_times` numbers that move time are held;
    without `shares` those are left at 0.
    Raises SpecError for a metric that is unknown or
    has no GPU, for paper accounting, and for a range at whose end the machine does not run;
    CimsimError without scipy.
    """
    report = report or simulation.report
    results = _results(report, metrics)
    if simulation.job.counted is not None:
        raise SpecError(
            "paper accounting has no band: its constants are fitted. Take a traced one."
        )
    library("scipy.stats", "bands need scipy", "sensitivity")
    machine = simulation.job.architecture
    numbers = ranged(machine)
    base = _base(simulation)
    probe = Probe(simulation.job, simulation.pipeline, base, simulation.plan)
    folding = [number for number in numbers if number.folds]
    timing = [] if hold_times else [number for number in numbers if not number.folds]
    tell = progress or (lambda stage: None)
    tell("folding energies")
    ends = [*probe.folded(folding), *probe.timed(timing, runs, tell)]
    ends.sort(key=lambda found: found.number.path)
    doubles = [n for n in doubled(machine) if n.folds or not hold_times] if screen else []
    screened = probe.halved_and_doubled(doubles, tell) if doubles else []
    surface = Surface(base, tuple(ends))
    points = surface.at(_sobol(surface.axes, samples, seed))
    return Sensitivity(
        workload=report.workload,
        architecture=report.architecture,
        pipeline=report.pipeline,
        bands=tuple(_band(r, surface, points, seed if shares else None) for r in results),
        varied=len(ends),
        assumed=len(machine.assumed()),
        without_range=machine.without_range(),
        screens=tuple(_screen(r, base, screened) for r in results) if screened else (),
        samples=samples,
        seed=seed,
        times_held=hold_times,
    )


def _results(report: Report, metrics: Sequence[str]) -> list[_Result]:
    found = []
    for metric in metrics:
        if metric not in METRICS:
            raise SpecError(f"there is no metric {metric!r} to vary: take {', '.join(METRICS)}")
        if not metric.endswith("ratio"):
            found.append(_Result(metric, None))
            continue
        found += [_Result(metric, gpu) for gpu in report.baselines.values()]
    if not found:
        raise SpecError(f"{', '.join(metrics)} needs a GPU: give --baseline, or with_baseline")
    return found


def _base(simulation: Simulation) -> Costs:
    times = tuple(phase.latency_s for phase in simulation.report.phases.values())
    return costs_of(simulation.plan, simulation.job, simulation.architecture, times)


def _sobol(axes: int, samples: int, seed: int) -> F64:
    """Points of a scrambled Sobol sequence, axes x samples."""
    from scipy.stats import qmc

    drawn = qmc.Sobol(axes, rng=np.random.default_rng(seed)).random(samples)
    return np.asarray(drawn.T)


def _band(result: _Result, surface: Surface, points: Points, seed: int | None) -> Band:
    values = result.at(points)
    low, high = np.quantile(values, [LOW, HIGH])
    shares = np.zeros(surface.axes) if seed is None else _shares(result, surface, seed)
    effects = [
        _effect(result, ends, float(share))
        for ends, share in zip(surface.ends, shares, strict=False)
    ]
    effects += result.spread(surface.base, float(shares[-1]))
    moving = sorted((e for e in effects if e.reach), key=lambda e: (-e.reach, e.path))
    return Band(
        metric=result.metric,
        beside=None if result.gpu is None else result.gpu.key,
        value=result.of(surface.base),
        low=float(low),
        high=float(high),
        effects=tuple(moving),
    )


def _screen(
    result: _Result, base: Costs, screened: Sequence[tuple[Ranged, Costs | None, Costs | None]]
) -> Screen:
    value = result.of(base)
    numbers = []
    for number, low, high in screened:
        half, double = (None if costs is None else result.of(costs) for costs in (low, high))
        numbers.append(
            Screened(path=number.path, value=number.value, at_half=half, at_double=double)
        )
    numbers.sort(key=lambda n: (-n.reach(value), n.path))
    beside = None if result.gpu is None else result.gpu.key
    return Screen(metric=result.metric, beside=beside, value=value, numbers=tuple(numbers))


def _effect(result: _Result, ends: BothEnds, share: float) -> Effect:
    number = ends.number
    return Effect(
        **{name: getattr(number, name) for name in ("path", "value", "low", "high", "source")},
        at_low=result.of(ends.low),
        at_high=result.of(ends.high),
        share=share,
        by=ends.by,
    )


INDEX_SAMPLES = 256
"""Choice: points of each matrix of Saltelli's estimate of total indices."""


def _shares(result: _Result, surface: Surface, seed: int) -> F64:
    """Total Sobol index of every axis; 0 where the result does not vary."""
    from scipy.stats import sobol_indices, uniform

    def at(u: F64) -> F64:
        return result.at(surface.at(u))

    if np.ptp(at(np.random.default_rng(seed).random((surface.axes, INDEX_SAMPLES)))) == 0.0:
        return np.zeros(surface.axes)
    found = sobol_indices(
        func=at, n=INDEX_SAMPLES, dists=[uniform()] * surface.axes,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return np.asarray(np.clip(found.total_order, 0.0, 1.0))
