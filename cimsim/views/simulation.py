"""Pictures of a simulation (matplotlib): breakdown of energy, time and area; Gantt chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cimsim.engines.program import timed_verbs
from cimsim.report import Report
from cimsim.simulation import Simulation
from cimsim.values.plaintext import literal
from cimsim.views.canvas import label, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "rram": "#3b6ea8",
    "adc": "#7aa6d6",
    "sram": "#4f9d69",
    "pmca": "#d98032",
    "dma": "#f2c185",
    "link": "#8c6bb1",
    "buffer": "#b0a3c9",
    "dram": "#a35c5c",
    "leakage": "#9a9a9a",
}
GANTT_ROWS = 40


def save_breakdown(report: Report, path: Path) -> None:
    """Bars of energy by unit, work by kind and area by unit."""
    with picture(path, 13.0, 4.2, 3) as (figure, axes):
        figure.suptitle(_title(report))
        _bars(axes[0], report.energy_by_unit_J, "energy by unit", "J")
        _bars(axes[1], report.energy_by_kind_J, "energy by kind of work", "J")
        _bars(axes[2], report.area_by_unit_mm2, "area by unit", "mm2")


def _title(report: Report) -> str:
    names = (report.workload, report.architecture, report.pipeline, report.adaptation)
    workload, architecture, pipeline, adaptation = (label(name, 60) for name in names)
    return f"{workload} on {architecture} ({pipeline}, {adaptation})"


def _bars(axes: Axes, values: dict[str, float], title: str, unit: str) -> None:
    shown = {name: value for name, value in values.items() if value > 0}
    names = sorted(shown, key=lambda name: shown[name])
    total = sum(shown.values())
    axes.barh(names, [shown[n] for n in names], color=[COLOURS.get(n, "#5b7f95") for n in names])
    for row, name in enumerate(names):
        axes.text(shown[name], row, f" {shown[name] / total:.1%}", va="center", fontsize=8)
    axes.set_title(f"{title}: {total:.4g} {unit}", fontsize=10)
    axes.set_xlabel(unit)
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def save_gantt(simulation: Simulation, path: Path, *, rows: int = GANTT_ROWS) -> None:
    """When the stages of the first transformer block work, up to `rows` of them.

    The window is the time in which these stages handle the first phase; colour is the unit.
    """
    bands = _bands(simulation, rows)
    with picture(path, 13.0, 1.5 + 0.22 * max(1, len(bands))) as (_, axes):
        _draw_bands(axes, bands)
        axes.set_title(_title(simulation.report), fontsize=10)


Spans = list[tuple[str, list[float], list[float]]]


def _draw_bands(axes: Axes, bands: list[tuple[str, Spans]]) -> None:
    used: dict[str, Any] = {}
    for row, (name, spans) in enumerate(bands):
        axes.text(-0.005, row, name, transform=axes.get_yaxis_transform(), ha="right",
                  va="center", fontsize=6)  # fmt: skip
        for unit, start_us, length_us in spans:
            bars = axes.broken_barh(
                list(zip(start_us, length_us, strict=True)), (row - 0.4, 0.8),
                facecolors=COLOURS.get(unit, "#5b7f95"),
            )  # fmt: skip
            used.setdefault(unit, bars)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set_xlabel("time (us)")
    if used:
        axes.legend(used.values(), used.keys(), loc="upper right", fontsize=7, ncols=len(used))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _bands(simulation: Simulation, rows: int) -> list[tuple[str, Spans]]:
    """Busy spans (us) of the first stages to start, in the order they start."""
    bands: dict[str, dict[str, list[np.ndarray]]] = {}
    first: dict[str, int] = {}
    for index, (actor, info) in enumerate(
        zip(simulation.plan.program.actors, simulation.plan.actors, strict=True)
    ):
        for (unit, _), verb in zip(info.occupies, timed_verbs(actor.steps), strict=True):
            start, end = simulation.run.intervals(index, verb)
            shown = (end > start) & (info.phase == 0)
            if not shown.any():
                continue
            spans = np.stack([start[shown], end[shown]])
            bands.setdefault(info.stage, {}).setdefault(unit, []).append(spans)
            first[info.stage] = min(first.get(info.stage, int(spans.min())), int(spans.min()))
    order = sorted(first, key=lambda stage: first[stage])[:rows]
    result: list[tuple[str, Spans]] = []
    for stage in order:
        merged: Spans = []
        for unit, parts in bands[stage].items():
            start, end = _union(np.concatenate(parts, axis=1))
            merged.append((unit, (start / 1e6).tolist(), ((end - start) / 1e6).tolist()))
        result.append((_short(literal(stage)), merged))
    return result


def _union(spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge overlapping spans (2 x n), so that a band has few bars."""
    spans = spans[:, np.argsort(spans[0], kind="stable")]
    ends = np.maximum.accumulate(spans[1])
    opens = np.concatenate([[True], spans[0, 1:] > ends[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return spans[0][opens], ends[closes]


def _short(name: str) -> str:
    return name if len(name) <= 44 else "..." + name[-41:]
