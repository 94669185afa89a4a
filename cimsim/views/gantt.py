"""Gantt chart of a part of a run: a row a unit, filled by its kind, with the critical path.

Nothing is drawn over anything else. Work that overlaps on a unit has lanes; where there is too much
of it, a curve says which share of the unit is at work.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from cimsim.engines.cover import joined
from cimsim.engines.program import IntArray
from cimsim.simulation import Simulation
from cimsim.units import PS_PER_S, prefix_of, ps_to_seconds
from cimsim.views.canvas import area_key, end_of, label, picture
from cimsim.views.palette import BLACK, GREY, PALE, fill_of
from cimsim.views.part import RunPart, part_of
from cimsim.views.rows import Chart, UnitRow, at_once, chart, lanes, share
from cimsim.views.simulation import INCHES, POINTS, WRAPPED, Width, title_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 40
"""Choice: rows that are readable on a page."""
BINS = 600
"""Choice: columns of a curve, about two pixels each."""
BARS = 300
"""Choice: bars of a row; with more of them they are too narrow to be seen."""
LANES = 4
"""Choice: lanes of a row that are high enough to be seen."""
TOP, DEEP, MARK = -0.42, 0.74, 0.1
"""Choice: where work begins on a row, and heights of work and of the mark of the critical path."""
NAMES: dict[Width, int] = {"column": 24, "page": 44}
"""Choice: characters of the name of a row."""
EDGE = "#333333"
OTHERS = "#E8E8E8"
"""Work of other layers."""


def save_gantt(
    simulation: Simulation, path: Path, part: RunPart | None = None, *, rows: int = ROWS,
    width: Width = "page",
) -> None:  # fmt: skip
    """Draw the `rows` busiest units of a part of a run (`part_of`), of all of it if left out.

    As wide as a page or as a column of a paper.

    Raises OutputError for what cannot be written, SimulationError for more intervals than are kept.
    """
    found = chart(simulation, part or part_of(simulation), rows)
    several = 4 if width == "column" else 8
    with picture(path, INCHES[width], 1.8 + 0.15 * (len(found.rows) + 1)) as (figure, axes):
        figure.suptitle(title_lines(simulation.report, width), fontsize=POINTS)
        handles = draw(axes, found, width)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(several, len(handles)),
            fontsize=POINTS, frameon=False,
        )  # fmt: skip


def draw(axes: Axes, found: Chart, width: Width = "page") -> list[Any]:
    """The chart on `axes`; returns what its legend shows."""
    part = found.part
    factor, prefix = prefix_of(ps_to_seconds(part.end_ps))
    scale = factor * PS_PER_S
    ticks = ["critical path"]
    _draw_path(axes, found, scale)
    for name, at in found.phases:
        axes.axvline(at / scale, color=GREY, linewidth=0.6, linestyle=":", zorder=0)
        axes.text(at / scale, -0.5, f" {label(name, 30)}", fontsize=POINTS, va="bottom")
    for number, row in enumerate(found.rows, 1):
        ticks.append(_draw_row(axes, number, row, part, scale, NAMES[width]))
        _mark(axes, number, row.path, part, scale)
    lines = np.arange(len(ticks)) + TOP + DEEP
    axes.hlines(lines, part.start_ps / scale, part.end_ps / scale, colors=PALE, lw=0.4, zorder=0)
    title = label(f"{part.name} ({_rule(found)})", 200)
    axes.set_title("\n".join(wrap(title, WRAPPED[width])), fontsize=POINTS, loc="right")
    axes.set_yticks(range(len(ticks)), ticks, fontsize=POINTS)
    axes.set_ylim(len(ticks) - 0.4, -1.0 if found.phases else -0.6)
    axes.set_xlim(part.start_ps / scale, part.end_ps / scale)
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    told = (
        f"time ({prefix}s); bars: work, lanes where several at a time; curves: mean share of the "
        f"unit at work in each 1/{BINS} of the window"
    )
    axes.set_xlabel("\n".join(wrap(told, WRAPPED[width])), fontsize=POINTS, loc="right")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=POINTS)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _handles(found)


def _rule(found: Chart) -> str:
    shown = len(found.rows)
    if shown < found.units:
        return f"the {shown} busiest of {found.units} units at work"
    return {0: "no unit at work", 1: "the only unit at work"}.get(
        shown, f"all {shown} units at work"
    )


def _draw_row(
    axes: Axes, number: int, row: UnitRow, part: RunPart, scale: float, room: int
) -> str:  # fmt: skip
    """The work of a unit as bars or as a curve; returns the name of the row."""
    most = at_once(row.spans)
    name = f"{row.name}: {row.unit}" if row.unit not in row.name else row.name
    shown = end_of(name, room)
    if len(row.spans) > BARS or most > LANES:
        of = max(row.servers, most)
        edges = np.linspace(part.start_ps, part.end_ps, BINS + 1)
        layers = [(row.spans[row.own], row.unit), (row.spans[~row.own], None)]
        floor = np.zeros(BINS)
        for spans, unit in layers:
            if len(spans):
                floor = _curve(axes, number, floor, share(spans, edges) / of, edges / scale, unit)
        return f"{shown} (share of {of})" if of > 1 else f"{shown} (share)"
    lane, height = lanes(row.spans), DEEP / max(most, 1)
    for own, unit in ((row.own, row.unit), (~row.own, None)):
        for at in range(most):
            spans = row.spans[own & (lane == at)]
            _bars(axes, spans, number + TOP + at * height, height, unit, scale)
    return shown


def _bars(
    axes: Axes, spans: IntArray, low: float, height: float, unit: str | None, scale: float
) -> None:  # fmt: skip
    if len(spans):
        length = spans[:, 1] - spans[:, 0]
        pairs = np.stack([spans[:, 0] / scale, length / scale], axis=1).tolist()
        axes.broken_barh(pairs, (low, height), linewidth=0.3, **_look(unit))


def _look(unit: str | None) -> dict[str, Any]:
    """How the work of a unit is filled; that of other layers where there is none."""
    if unit is None:
        return {"facecolor": OTHERS, "edgecolor": GREY}
    fill = fill_of(unit)
    return {"facecolor": fill.colour, "hatch": fill.hatch, "edgecolor": EDGE}


def _curve(
    axes: Axes, number: int, floor: np.ndarray, height: np.ndarray, edges: np.ndarray,
    unit: str | None,
) -> np.ndarray:  # fmt: skip
    """A filled curve on top of `floor`, both as shares of the row; returns its upper edge."""
    upper: np.ndarray = floor + height
    low, high = (number + TOP + DEEP * (1.0 - np.append(y, y[-1])) for y in (floor, upper))
    axes.fill_between(edges, low, high, step="post", linewidth=0.0, **_look(unit))
    return upper


def _draw_path(axes: Axes, found: Chart, scale: float) -> None:
    """The critical path in row 0, whatever units it runs on."""
    part, units = found.part, np.array(found.path_units, np.str_)
    names = list(dict.fromkeys(found.path_units))
    if len(found.path) <= BARS:
        for unit in names:
            _bars(axes, found.path[units == unit], TOP, DEEP, unit, scale)
        return
    edges = np.linspace(part.start_ps, part.end_ps, BINS + 1)
    floor = np.zeros(BINS)
    for unit in names:
        height = share(found.path[units == unit], edges)
        floor = _curve(axes, 0, floor, height, edges / scale, unit)


def _mark(axes: Axes, number: int, path: IntArray, part: RunPart, scale: float) -> None:
    """A line below the work where the critical path runs on this unit."""
    pixel = (part.end_ps - part.start_ps) / (2 * BINS)
    wide = path.copy()
    wide[:, 1] = np.minimum(np.maximum(wide[:, 1], wide[:, 0] + int(pixel)), part.end_ps)
    spans = joined(wide)
    if len(spans):
        pairs = np.stack([spans[:, 0], spans[:, 1] - spans[:, 0]], axis=1) / scale
        axes.broken_barh(
            pairs.tolist(), (number + TOP + DEEP, MARK), facecolor=BLACK, linewidth=0.0
        )


def _handles(found: Chart) -> list[Any]:
    units: Iterable[str] = (*(row.unit for row in found.rows), *found.path_units)
    handles = [
        area_key(label(unit, 30), linewidth=0.3, **_look(unit)) for unit in dict.fromkeys(units)
    ]
    if any(not row.own.all() for row in found.rows):
        handles.append(area_key("work of other layers", linewidth=0.3, **_look(None)))
    handles.append(area_key("on the critical path", facecolor=BLACK))
    return handles
