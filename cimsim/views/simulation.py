"""Pictures of a report: where energy, area and time go, by unit, kind of work and layer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cimsim.errors import CimsimError
from cimsim.report import Report
from cimsim.units import prefix_of
from cimsim.views.canvas import end_of, label, picture
from cimsim.views.palette import BLACK, GREY, PALE, fill_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Width = Literal["column", "page"]
INCHES: dict[Width, float] = {"column": 3.5, "page": 7.16}
"""Widths of a column and of a page (IEEE's two-column journals)."""
WRAPPED: dict[Width, int] = {"column": 62, "page": 130}
"""counted: characters of 7 pt on a line of these widths."""
POINTS = 7
"""Choice: size of text in the picture as printed, the least that journals take."""
NAME = 34
"""Choice: characters of the name of a layer."""
LAYERS = 20
"""Choice: layers with a bar of their own."""
ROW_INCH, REST_INCH = 0.17, 0.75
"""Choice: height of a bar, and of what stands above and below the bars of a panel."""


def save_breakdown(report: Report, path: Path, width: Width = "page") -> None:
    """Bars of energy by unit, work by kind and area by unit, with the part in use.

    As wide as a page (panels beside each other) or as a column (below each other) of a paper.
    """
    panels = (
        Panel("energy by unit", "J", report.energy_by_unit_J, True),
        Panel("energy by kind of work", "J", report.energy_by_kind_J, False),
        Panel("area by unit", "mm2", report.area_by_unit_mm2, True),
    )
    with _panels(report, path, width, panels) as axes:
        _part(axes[2], report.area_by_unit_mm2, report.area_used_by_unit_mm2)


def save_times(report: Report, path: Path, width: Width = "page") -> None:
    """Bars of the time in which units are at work, mean over each kind, and of kinds of work.

    Units and kinds work side by side: shares are of the latency and add up to more or less.
    """
    busy = {unit: times.busy_s for unit, times in report.unit_times.items()}
    latency_s = report.latency_s
    panels = (
        Panel("busy time of a unit (mean); run", "s", busy, True, latency_s),
        Panel("time with work of a kind; run", "s", report.latency_by_kind_s, False, latency_s),
    )
    with _panels(report, path, width, panels):
        pass


def save_layers(report: Report, path: Path, width: Width = "page") -> None:
    """Bars of energy and time on the critical path of the layers that have most of either.

    Raises CimsimError for a report without bounds.
    """
    if report.bounds is None:
        raise CimsimError("the report has no layers: run with --bounds")
    energy: dict[str, float] = defaultdict(float)
    for entry in report.bounds.layers:
        energy[entry.layer or "(of no layer)"] += entry.energy_J
    panels = (
        Panel("energy by layer", "J", _most(energy), False),
        Panel("critical path by layer", "s", _most(report.bounds.total.by_layer_s), False),
    )
    with _panels(report, path, width, panels):
        pass


class Panel(NamedTuple):
    """Bars of one picture: what they are, in which unit, whether they are kinds of unit, and what
    they are shares of: their sum where nothing is given.
    """

    title: str
    unit: str
    values: Mapping[str, float]
    of_units: bool
    whole: float | None = None


@contextmanager
def _panels(
    report: Report, path: Path, width: Width, panels: tuple[Panel, ...]
) -> Iterator[list[Axes]]:
    rows = [max(1, len(_ordered(panel.values))) for panel in panels]
    heights = [REST_INCH + ROW_INCH * count for count in rows]
    stacked = width == "column"
    height = sum(heights) if stacked else max(heights)
    with picture(path, INCHES[width], height + 0.35, 0) as (figure, _):
        grid = (len(panels), 1) if stacked else (1, len(panels))
        ratios = {"height_ratios": heights} if stacked else None
        axes = list(figure.subplots(*grid, gridspec_kw=ratios))
        figure.suptitle(title_lines(report, width), fontsize=POINTS)
        for own, panel in zip(axes, panels, strict=True):
            _bars(own, panel)
        yield axes


def _most(values: Mapping[str, float]) -> dict[str, float]:
    """The largest LAYERS, names shortened at their beginning, and the sum of all others."""
    names = sorted(values, key=lambda name: -values[name])
    found = {end_of(name, NAME): values[name] for name in names[:LAYERS]}
    others = math.fsum(values[name] for name in names[LAYERS:])
    return {**found, f"{len(names) - LAYERS} others": others} if names[LAYERS:] else found


def title_of(report: Report) -> str:
    """What was simulated on what, and how."""
    names = (report.workload, report.architecture, report.pipeline, report.adaptation)
    workload, architecture, pipeline, adaptation = (label(name, 60) for name in names)
    return f"{workload} on {architecture} ({pipeline}, {adaptation})"


def title_lines(report: Report, width: Width) -> str:
    """The title on as many lines as it takes."""
    whole = title_of(report)
    if width == "page" and len(whole) <= WRAPPED["page"]:
        return whole
    return whole.replace(" (", "\n(", 1).replace(" on ", "\non ", 1)


def _ordered(values: Mapping[str, float]) -> list[str]:
    """Names of what is above 0, the least first."""
    return sorted((name for name, value in values.items() if value > 0), key=values.__getitem__)


def _part(axes: Axes, whole: dict[str, float], part: dict[str, float]) -> None:
    """Narrow bars of what is in use within the bars of `whole`."""
    names = _ordered(whole)
    used = [part.get(name, 0.0) for name in names]
    axes.barh(names, used, height=0.25, color=BLACK)
    axes.set_xlabel(f"mm2; black: in use, {sum(used):.4g} mm2", fontsize=POINTS)


def _bars(axes: Axes, panel: Panel) -> None:
    values, names = panel.values, _ordered(panel.values)
    total = math.fsum(values[name] for name in names) if panel.whole is None else panel.whole
    known = names and panel.unit in ("J", "s")
    factor, prefix = prefix_of(values[names[-1]]) if known else (1.0, "")
    lengths = [values[name] / factor for name in names]
    fills = [fill_of(name) for name in names] if panel.of_units else []
    axes.barh(
        [label(name, 40) for name in names], lengths, height=0.7, linewidth=0.4, edgecolor=BLACK,
        color=[fill.colour for fill in fills] or PALE, hatch=[fill.hatch for fill in fills] or None,
    )  # fmt: skip
    for row, name in enumerate(names):
        share = f" {values[name] / total:.1%}"
        axes.text(lengths[row], row, share, va="center", fontsize=POINTS)
    axes.set_title(f"{panel.title}: {total / factor:.4g} {prefix}{panel.unit}", fontsize=POINTS)
    axes.set_xlabel(f"{prefix}{panel.unit}", fontsize=POINTS)
    axes.tick_params(labelsize=POINTS, width=0.4, length=2)
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.25)
    axes.grid(axis="x", color=GREY, linewidth=0.2)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
