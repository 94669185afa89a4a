"""Energy of strategies against switches of task, with the points at which one overtakes another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cimsim.serving.result import StrategyResult, Switching
from cimsim.units import quantity
from cimsim.views.canvas import label, picture
from cimsim.views.palette import BLACK, DASHES, GREY, LINES, PALE

REACH = 100.0
"""Choice: a break-even further beyond the stream than so many times its length is not drawn."""
NAMED = 6
"""Choice: break-even points that have their numbers beside them."""


def save_switching(found: Switching, path: Path) -> None:
    """Lines of cumulative energy, thin beyond the stream; dots where two of them cross."""
    last = max(r.switches for r in found.strategies)
    by_switches = last > 0
    axis = "switches" if by_switches else "requests"
    length = last if by_switches else found.strategies[0].requests
    drawn = [c for c in found.break_even if getattr(c, axis) <= REACH * length]
    end = max([float(length), *(1.2 * getattr(c, axis) for c in drawn)])
    with picture(path, 9.0, 6.0) as (figure, axes):
        for number, result in enumerate(found.strategies):
            dash = DASHES[number // len(LINES) % len(DASHES)]
            _draw(axes, result, axis, end, LINES[number % len(LINES)], dash)
        for number, crossing in enumerate(drawn):
            at = getattr(crossing, axis), crossing.energy_J
            axes.plot(*at, "o", color=BLACK, markersize=4)
            if number < NAMED:
                text = f"{crossing.first} = {crossing.second}: {at[0]:.3g}"
                axes.annotate(label(text, 60), at, xytext=(5, -10), textcoords="offset points",
                              fontsize=6, color=GREY)  # fmt: skip
        axes.set_xlabel(f"{axis} (thin: beyond the stream, at its mean)", fontsize=8)
        axes.set_ylabel("energy, setup included (J)", fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_major_formatter(lambda value, _: quantity(value, "J"))
        axes.grid(color=PALE, linewidth=0.5)
        axes.legend(fontsize=7)
        figure.suptitle(label(f"{found.scenario} on {found.architecture}"), fontsize=10)


def _draw(axes: Any, result: StrategyResult, axis: str, end: float, colour: str, dash: Any) -> None:
    points = [point for point in result.curve if point.requests]
    x = np.array([getattr(point, axis) for point in points], float)
    y = np.array([point.energy_J for point in points])
    name = f"{result.strategy}  {quantity(result.energy_J / result.requests, 'J')} a request"
    axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, label=label(name))
    if x.size and end > x[-1] > 0:
        begin = result.curve[0].energy_J
        beyond = np.geomspace(x[-1], end, 50)
        axes.plot(beyond, begin + (y[-1] - begin) * beyond / x[-1], color=colour, linestyle=dash,
                  linewidth=0.7)  # fmt: skip
