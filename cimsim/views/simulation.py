"""Picture of a report: energy by unit and by kind of work, area by unit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.report import Report
from cimsim.views.canvas import label, picture
from cimsim.views.palette import fill_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_breakdown(report: Report, path: Path) -> None:
    """Bars of energy by unit, work by kind and area by unit."""
    with picture(path, 13.0, 4.2, 3) as (figure, axes):
        figure.suptitle(title_of(report))
        _bars(axes[0], report.energy_by_unit_J, "energy by unit", "J")
        _bars(axes[1], report.energy_by_kind_J, "energy by kind of work", "J")
        _bars(axes[2], report.area_by_unit_mm2, "area by unit", "mm2")


def title_of(report: Report) -> str:
    """What was simulated on what, and how."""
    names = (report.workload, report.architecture, report.pipeline, report.adaptation)
    workload, architecture, pipeline, adaptation = (label(name, 60) for name in names)
    return f"{workload} on {architecture} ({pipeline}, {adaptation})"


def _bars(axes: Axes, values: dict[str, float], title: str, unit: str) -> None:
    shown = {name: value for name, value in values.items() if value > 0}
    names = sorted(shown, key=lambda name: shown[name])
    total = sum(shown.values())
    axes.barh(names, [shown[n] for n in names], color=[fill_of(n).colour for n in names])
    for row, name in enumerate(names):
        axes.text(shown[name], row, f" {shown[name] / total:.1%}", va="center", fontsize=8)
    axes.set_title(f"{title}: {total:.4g} {unit}", fontsize=10)
    axes.set_xlabel(unit)
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
