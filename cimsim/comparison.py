"""Comparison: a report beside a GPU, or beside other reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cimsim.baseline import Gpu, GpuEstimate, load_gpu
from cimsim.baseline.estimate import BATCH_MAX
from cimsim.baseline.merging import Lora
from cimsim.errors import CapacityError, MappingError, SpecError
from cimsim.ir import Workload
from cimsim.report import Baseline, DecodePoint, PhaseResult, Report, load_report
from cimsim.units import ratio
from cimsim.values.arguments import checked
from cimsim.values.display import brief

CLEAR_WIN = 1.25
"""Assumed: ratios below this, either way, are no clear win; published A100 data spread so far."""
LEAST_GAIN = 0.999
"""Choice: a larger batch has to bring a thousandth, or no larger one is tried."""

PAPER_MODE = "peak-int8"
MODES = ("calibrated", "roofline", PAPER_MODE)


def verdict(ratio: float | None) -> str:
    """What a ratio of GPU over machine says."""
    if ratio is None:
        return "not compared"
    if ratio >= CLEAR_WIN:
        return "wins"
    return "loses" if ratio <= 1.0 / CLEAR_WIN else "no clear win"


@checked(SpecError)
def with_baseline(
    report: Report,
    workload: Workload,
    gpu: Gpu | str | Path,
    mode: str | None = None,
    batch: int = 1,
    host_s_per_step: float = 0.0,
    stack: str | None = None,
) -> Report:
    """`report` with `gpu`, or the one in that file, beside it; ratios are for one sequence.

    A workload with LoRA gets two baselines, the GPU that merged the adapter into its weights and
    the one that runs it beside them; `like_for_like` marks the one that does as the machine did.
    At `batch` > 1 the machine's latency and energy are compared with the GPU's share of one
    sequence. `mode` is calibrated unless said otherwise; a report of paper accounting is compared
    in peak-int8, by energy alone, and with nothing else. Decode is also compared at batch 1 and at
    the batches that are best for the GPU. Where a branch cannot be merged, the merged GPU is left
    out and a note says why. Raises SpecError for a mode that is unknown or mixes accountings,
    CapacityError if the model does not fit.
    """
    gpu = gpu if isinstance(gpu, Gpu) else load_gpu(gpu)
    asked = _Asked(gpu, _mode(report, mode), host_s_per_step, stack)
    estimates, notes = [asked.estimate(workload, "unmerged", batch)], report.notes
    if estimates[0].lora != "none":
        try:
            estimates.append(asked.estimate(workload, "merged", batch))
        except MappingError as problem:
            notes = (*notes, f"{gpu.name} stands beside with LoRA unmerged alone: {problem}")
    found = [_baseline(report, workload, asked, estimate) for estimate in estimates]
    beside = report.baselines | {baseline.key: baseline for baseline in found}
    return report.model_copy(update={"baselines": beside, "notes": notes})


@dataclass(frozen=True)
class _Asked:
    """A GPU and how it is to be counted."""

    gpu: Gpu
    mode: str
    host_s_per_step: float
    stack: str | None

    def estimate(self, workload: Workload, lora: str, batch: int) -> GpuEstimate:
        """What the GPU needs for `batch` sequences at a time."""
        return self.gpu.estimate(
            workload,
            self.mode,
            batch,
            host_s_per_step=self.host_s_per_step,
            lora=lora,
            stack=self.stack,
        )


def _baseline(report: Report, workload: Workload, asked: _Asked, estimate: GpuEstimate) -> Baseline:
    batch = estimate.batch
    latency = estimate.latency_s / batch
    energy = estimate.energy_J / batch
    ratios = ratio(latency, report.latency_s), ratio(energy, report.energy_J)
    timed = report.accounting != "paper"
    return Baseline(
        name=estimate.gpu,
        lora=estimate.lora,
        like_for_like=estimate.lora == "none" or (estimate.lora == "unmerged") == _ran_lora(report),
        mode=estimate.mode,
        precision=estimate.precision,
        batch=batch,
        software=estimate.software,
        latency_s=latency,
        energy_J=energy,
        latency_band_s=_scaled(estimate.latency_band_s, batch),
        energy_band_J=_scaled(estimate.energy_band_J, batch),
        latency_ratio=ratios[0],
        energy_ratio=ratios[1],
        phases={
            name: PhaseResult(
                latency_s=phase.latency_s,
                energy_J=phase.energy_J,
                tokens=phase.tokens,
                tokens_per_s=phase.tokens_per_s,
            )
            for name, phase in estimate.phases.items()
        },
        verdict={
            "latency": verdict(ratios[0]) if timed else "not compared",
            "energy": verdict(ratios[1]),
        },
        host_s_per_step=estimate.host_s_per_step,
        stack=estimate.stack,
        decode=_decode_points(report, workload, asked, estimate.lora),
    )


def _ran_lora(report: Report) -> bool:
    """Whether the machine ran LoRA branches."""
    return "lora" in report.energy_by_kind_J


def _mode(report: Report, mode: str | None) -> str:
    paper = report.accounting == "paper"
    mode = mode or (PAPER_MODE if paper else "calibrated")
    if mode not in MODES:
        raise SpecError(f"baseline mode must be calibrated, roofline or peak-int8, got {mode!r}")
    if paper and mode != PAPER_MODE:
        raise SpecError(
            f"baseline mode {mode} beside a report of paper accounting mixes two accountings: the "
            f"paper's table takes the GPU at its peak. Use {PAPER_MODE}, or a traced workload."
        )
    return mode


def _scaled(band: tuple[float, float], batch: int) -> tuple[float, float]:
    return band[0] / batch, band[1] / batch


def _decode_points(
    report: Report, workload: Workload, asked: _Asked, lora: Lora
) -> dict[str, DecodePoint]:
    """Decode at batch 1 and at the batches with the least time and energy a sequence."""
    if "decode" not in report.phases or asked.mode == PAPER_MODE:
        return {}
    run = "unmerged" if lora == "unmerged" else "merged"
    found = batch_sweep(workload, asked.gpu, asked.mode, asked.host_s_per_step, run, asked.stack)
    if not found:
        return {}
    best = {
        "batch 1": min(found, key=lambda e: e.batch),
        "best throughput": min(found, key=lambda e: e.phases["decode"].latency_s / e.batch),
        "best energy": min(found, key=lambda e: e.phases["decode"].energy_J / e.batch),
    }
    return {name: _decode_point(report, estimate) for name, estimate in best.items()}


@checked(SpecError)
def batch_sweep(
    workload: Workload,
    gpu: Gpu,
    mode: str = "calibrated",
    host_s_per_step: float = 0.0,
    lora: str = "unmerged",
    stack: str | None = None,
) -> list[GpuEstimate]:
    """Estimates at batches 1, 2, 4, ... as long as weights and KV cache fit the GPU's memory, at
    most up to `BATCH_MAX`.

    Ends early where a doubling saves less than 0.1 % of the time and energy of a sequence.
    """
    asked = _Asked(gpu, mode, host_s_per_step, stack)
    found: list[GpuEstimate] = []
    while not found or (_gains(found) and 2 ** len(found) <= BATCH_MAX):
        batch = 2 ** len(found)
        try:
            found.append(asked.estimate(workload, lora, batch))
        except CapacityError:
            break
    return found


def _gains(found: list[GpuEstimate]) -> bool:
    if len(found) < 2:
        return True
    last, before = found[-1], found[-2]
    return any(
        getattr(last, key) / last.batch < LEAST_GAIN * getattr(before, key) / before.batch
        for key in ("latency_s", "energy_J")
    )


def _decode_point(report: Report, estimate: GpuEstimate) -> DecodePoint:
    mine, phase = report.phases["decode"], estimate.phases["decode"]
    latency, energy = phase.latency_s / estimate.batch, phase.energy_J / estimate.batch
    ratios = {"latency": ratio(latency, mine.latency_s), "energy": ratio(energy, mine.energy_J)}
    return DecodePoint(
        batch=estimate.batch,
        latency_s=latency,
        energy_J=energy,
        step_latency_s=phase.latency_s / phase.steps,
        latency_ratio=ratios["latency"],
        energy_ratio=ratios["energy"],
        verdict={key: verdict(value) for key, value in ratios.items()},
    )


@checked(SpecError)
def comparison_rows(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """One row a report; `latency_ratio` and `energy_ratio` are the first report's over its own."""
    if not reports:
        raise SpecError("comparison_rows: no report was given; give one or more.")
    first = reports[0]
    if mixed := {report.accounting for report in reports} - {first.accounting}:
        raise SpecError(
            f"reports of {first.accounting} and of {mixed.pop()} accounting cannot be compared: "
            "their energies count different things. Compare those of one accounting."
        )
    return [
        {
            "architecture": report.architecture,
            "workload": report.workload,
            "accounting": report.accounting,
            "pipeline": report.pipeline,
            "adaptation": report.adaptation,
            "latency_s": report.latency_s,
            "energy_J": report.energy_J,
            "area_mm2": report.area_mm2,
            "area_used_mm2": report.area_used_mm2,
            "tiles_used": report.tiles_used,
            "latency_ratio": ratio(first.latency_s, report.latency_s),
            "energy_ratio": ratio(first.energy_J, report.energy_J),
            "switch_energy_J": report.reprogramming.adapter_switch.energy_J,
        }
        for report in reports
    ]


def baseline_rows(report: Report) -> list[dict[str, Any]]:
    """The GPUs beside `report`, one row each: what they ran, and their ratios over the machine.

    Of each GPU the one that ran LoRA as the machine did comes first.
    """
    found = sorted(report.baselines.values(), key=lambda b: (b.name, not b.like_for_like))
    names = ("name", "batch", "lora", "like_for_like", "host_s_per_step", "stack", "mode",
             "latency_ratio", "energy_ratio")  # fmt: skip
    return [{name: getattr(baseline, name) for name in names} for baseline in found]


def differences(reports: Sequence[Report]) -> dict[str, list[Any]]:
    """What differs between runs: name -> its value in each report, in their order.

    Names are those of `Report.row` for what a run was made from: machine, workload, strategy,
    digests, versions, files, and every changed value, which is None where a report has the value
    of its file.
    """
    rows = [_made_from(report) for report in reports]
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row.get(name) for row in rows] for name in names}
    return {name: found for name, found in values.items() if any(v != found[0] for v in found)}


_MADE_FROM = ("workload", "architecture", "pipeline", "adaptation", "mapper", "accounting")


def _made_from(report: Report) -> dict[str, Any]:
    return {
        name: value
        for name, value in report.row().items()
        if name in _MADE_FROM or name.startswith(("set.", "was.", "input."))
    }


@brief
@dataclass(frozen=True)
class Comparison:
    """Reports side by side: `rows` of numbers, and what `differs` between the runs."""

    reports: tuple[Report, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As `comparison_rows`."""
        return comparison_rows(self.reports)

    @property
    def baselines(self) -> list[list[dict[str, Any]]]:
        """For each report, as `baseline_rows`."""
        return [baseline_rows(report) for report in self.reports]

    @property
    def differs(self) -> dict[str, list[Any]]:
        """As `differences`."""
        return differences(self.reports)

    def _facts(self) -> dict[str, object]:
        rows = self.rows
        numbers = {
            name: tuple(None if row[name] is None else float(f"{row[name]:.4g}") for row in rows)
            for name in ("latency_s", "energy_J", "latency_ratio", "energy_ratio")
        }
        return numbers | {name: tuple(values) for name, values in self.differs.items()}


@checked(SpecError)
def compare(reports: Sequence[Report | str | Path]) -> Comparison:
    """Reports, or files of them, side by side; ratios are the first's over each other's.

    Raises SpecError for no report, a file that is none, and for mixed accountings.
    """
    if not reports:
        raise SpecError("compare: no report was given; give one or more.")
    loaded = tuple(r if isinstance(r, Report) else load_report(r) for r in reports)
    comparison_rows(loaded)
    return Comparison(loaded)
