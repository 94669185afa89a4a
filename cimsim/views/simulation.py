"""Picture of a report: energy by unit and by kind of work, area built and used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.report import Report
from cimsim.views.canvas import label, picture
from cimsim.views.palette import fill_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_breakdown(report: Report, path: Path) -> None:
    """Bars of energy by unit, work by kind and area by unit, with the part in use."""
    with picture(path, 13.0, 4.2, 3) as (figure, axes):
        figure.suptitle(title_of(report))
        _bars(axes[0], report.energy_by_unit_J, "energy by unit", "J")
        _bars(axes[1], report.energy_by_kind_J, "energy by kind of work", "J")
        _bars(axes[2], report.area_by_unit_mm2, "area built by unit", "mm2")
        _part(axes[2], report.area_by_unit_mm2, report.area_used_by_unit_mm2)


def title_of(report: Report) -> str:
    """What was simulated on what, and how."""
    names = (report.workload, report.architecture, report.pipeline, report.adaptation)
    workload, architecture, pipeline, adaptation = (label(name, 60) for name in names)
    return f"{workload} on {architecture} ({pipeline}, {adaptation})"


def _ordered(values: dict[str, float]) -> list[str]:
    """Names of what is above 0, the least first."""
    return sorted((name for name, value in values.items() if value > 0), key=values.__getitem__)


def _part(axes: Axes, whole: dict[str, float], part: dict[str, float]) -> None:
    """Narrow bars of what is in use within the bars of `whole`."""
    names = _ordered(whole)
    used = [part.get(name, 0.0) for name in names]
    axes.barh(names, used, height=0.25, color="#222222", label=f"in use: {sum(used):.4g} mm2")
    axes.legend(fontsize=8, loc="lower right")


def _bars(axes: Axes, values: dict[str, float], title: str, unit: str) -> None:
    names = _ordered(values)
    shown = {name: values[name] for name in names}
    total = sum(shown.values())
    axes.barh(names, [shown[n] for n in names], color=[fill_of(n).colour for n in names])
    for row, name in enumerate(names):
        axes.text(shown[name], row, f" {shown[name] / total:.1%}", va="center", fontsize=8)
    axes.set_title(f"{title}: {total:.4g} {unit}", fontsize=10)
    axes.set_xlabel(unit)
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
