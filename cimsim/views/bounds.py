"""Picture of what bounds a run: a row a phase, with both bounds and the critical path.

Length is time on the critical path, colour the unit, hatch what the path waited for meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cimsim.report import Bound, PhaseBounds, Report
from cimsim.units import prefix_of, quantity
from cimsim.views.canvas import area_key, end_of, label, line_key, picture, starred
from cimsim.views.palette import BLACK, PALE, VERMILION, fill_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Waits: TypeAlias = Mapping[str, Mapping[str, float]]
"""Name -> wait -> time (s) on the path."""
HATCHES = {"data": "", "order": "////", "shared": "xxxx", "full": "...."}
"""Hatch of each wait."""
MEANINGS = {
    "data": "data: the result of this work",
    "order": "order: its own unit, busy with the block before",
    "shared": "shared: a shared unit, busy with another stage",
    "full": "full: room in a full buffer",
}
BARS = 8
"""Choice: bars of a panel; the rest is one bar more."""
NAME = 36
"""Choice: characters of a name that a panel has room for."""
ARROW_SHARE = 0.05
"""Choice: a distance below this share of the latency has no room for an arrow."""
LINES: dict[str, Literal["--", "-"]] = {"chain": "--", "busiest": "-"}
"""Style of the line of each bound."""


def save_bounds(report: Report, path: Path) -> None:
    """Draw `report.bounds` as a PNG file; raises OutputError, and ValueError without bounds."""
    found = report.bounds
    if found is None:
        raise ValueError("the report has no bounds: simulate with --bounds")
    parts = {**found.phases, "whole run": found.total}
    if len(found.phases) == 1:
        parts = dict(found.phases)
    with picture(path, 17.0, 0.9 + 2.9 * len(parts), (len(parts), 4)) as (figure, axes):
        names = (report.workload, report.architecture, report.pipeline, report.adaptation)
        workload, machine, pipeline, adaptation = (label(name, 60) for name in names)
        figure.suptitle(f"What bounds {workload} on {machine} ({pipeline}, {adaptation})")
        rows = axes if len(parts) > 1 else [axes]
        for (name, part), panels in zip(parts.items(), rows, strict=True):
            draw_part(list(panels), name, part)
        _legend(figure, list(parts.values()))


def draw_part(panels: list[Axes], name: str, part: PhaseBounds) -> None:
    """One phase on four panels: bounds, and the path by unit, kind of work and layer."""
    factor, prefix = prefix_of(part.latency_s)
    _draw_bounds(panels[0], label(name, 40), part, factor)
    folds = (
        ("unit", part.waits_by_unit_s),
        ("kind of work", part.waits_by_kind_s),
        ("layer, blocks added up", blocks_joined(part.waits_by_layer_s)),
    )
    for panel, (by, waits) in zip(panels[1:], folds, strict=True):
        _draw_fold(panel, by, waits, part, factor)
    for panel in panels:
        panel.set_xlabel(f"time ({prefix}s)", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)


def _draw_bounds(panel: Axes, name: str, part: PhaseBounds, factor: float) -> None:
    """The latency by what was waited for, and below it each bound with its distance."""
    latency = part.latency_s / factor
    _stack(panel, 0, part.by_wait_s, PALE, factor)
    panel.set_title(f"{name}: {quantity(part.latency_s, 's')}", fontsize=10, fontweight="bold")
    bounds = {"chain": part.chain, "busiest": part.busiest}
    panel.set_ylim(2.75, -0.6)
    panel.set_xlim(0.0, 1.04 * latency or 1.0)
    panel.set_yticks(range(3), ["critical\npath", "chain", "busiest\nunit"])
    for row, (kind, bound) in enumerate(bounds.items(), 1):
        if bound is not None:
            _draw_bound(panel, row, kind, bound, part, factor)
    if part.chain is None and part.busiest is None:
        panel.text(
            0.5, 0.3, "begins before the phase before it\nhas ended: no bounds of its own",
            transform=panel.transAxes, ha="center", va="center", fontsize=8,
        )  # fmt: skip


def _draw_bound(
    panel: Axes, row: int, kind: str, bound: Bound, part: PhaseBounds, factor: float
) -> None:
    """A line at the bound, through the latency, and an arrow from it to the latency."""
    time, latency = bound.time_s / factor, part.latency_s / factor
    panel.plot([time, time], [-0.42, row + 0.25], color=VERMILION, linestyle=LINES[kind])
    if latency - time > ARROW_SHARE * latency:
        arrow: dict[str, Any] = {"arrowstyle": "<->", "color": BLACK, "shrinkA": 0, "shrinkB": 0}
        panel.annotate("", (latency, row), (time, row), arrowprops=arrow)
    name = "dependencies alone" if kind == "chain" else label(bound.name, 30)
    ratio = "" if bound.latency_ratio is None else f" ({bound.latency_ratio:.4g} x)"
    more = quantity(part.latency_s - bound.time_s, "s")
    panel.text(
        0.02 * latency, row + 0.3, f"{name}: {quantity(bound.time_s, 's')}, latency {more} "
        f"more{ratio}", va="top", fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip


def blocks_joined(waits: Waits) -> dict[str, dict[str, float]]:
    """Times of layers that differ by numbers alone, such as those of a model's blocks, added up.

    Such a name has `*` for the numbers and tells how many layers it stands for.
    """
    alike: dict[str, list[str]] = {}
    for layer in waits:
        alike.setdefault(starred(layer), []).append(layer)
    return {
        f"{pattern} ({len(layers)})" if len(layers) > 1 else layers[0]: _sum(waits, layers)
        for pattern, layers in alike.items()
    }


def _sum(waits: Waits, names: list[str]) -> dict[str, float]:
    return {wait: sum(waits[name].get(wait, 0.0) for name in names) for wait in HATCHES}


def _draw_fold(panel: Axes, by: str, waits: Waits, part: PhaseBounds, factor: float) -> None:
    """A bar for each name, the longest on top, cut by what was waited for."""
    panel.set_title(f"critical path by {by}", fontsize=9)
    names = sorted(waits, key=lambda name: -sum(waits[name].values()))
    shown = names if len(names) <= BARS + 1 else names[:BARS]
    bars = [(end_of(name or "none", NAME), waits[name]) for name in shown]
    if rest := names[len(shown) :]:
        bars.append((f"{len(rest)} others", _sum(waits, rest)))
    most = max((sum(times.values()) for _, times in bars), default=0.0)
    for row, (name, times) in enumerate(bars):
        _stack(panel, row, times, fill_of(name).colour if by == "unit" else PALE, factor)
        time_s = sum(times.values())
        text = f" {quantity(time_s, 's')}, {time_s / part.latency_s:.1%}"
        panel.text(time_s / factor, row, text, va="center", fontsize=7)
    panel.set_yticks(range(len(bars)), [name for name, _ in bars])
    panel.set_ylim(max(len(bars), 3) - 0.4, -0.6)
    panel.set_xlim(0.0, 1.45 * most / factor or 1.0)


def _stack(
    panel: Axes, row: int, waits: Mapping[str, float], colour: str, factor: float
) -> None:  # fmt: skip
    """Pieces of a bar, one after another, in the order of `HATCHES`."""
    left = 0.0
    for wait, hatch in HATCHES.items():
        if width := waits.get(wait, 0.0) / factor:
            panel.barh(row, width, 0.8, left, color=colour, hatch=hatch, edgecolor="#333333",
                       linewidth=0.5)  # fmt: skip
            left += width


def _legend(figure: Figure, parts: list[PhaseBounds]) -> None:
    """What hatches and lines mean, below all panels; only what is there."""
    waits = {wait for part in parts for wait in part.by_wait_s}
    handles: list[Any] = [
        area_key(meaning, facecolor=PALE, edgecolor="#333333", hatch=HATCHES[wait])
        for wait, meaning in MEANINGS.items() if wait in waits
    ]  # fmt: skip
    meant = {"chain": "bound: dependencies alone", "busiest": "bound: what works longest"}
    handles += [
        line_key(meaning, color=VERMILION, linestyle=LINES[kind]) for kind, meaning in meant.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False,
        title="what the next work on the path waited for while this one worked", title_fontsize=8,
    )  # fmt: skip
