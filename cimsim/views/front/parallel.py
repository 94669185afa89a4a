"""Parallel coordinates: an upright line for each axis and objective, a bent one for each point."""

from __future__ import annotations

from typing import Any

import numpy as np

from cimsim.views.canvas import label
from cimsim.views.front.columns import Column, short
from cimsim.views.front.scatter import looks_of
from cimsim.views.front.scene import Scene
from cimsim.views.palette import BLACK, GREY, PALE, VERMILION

LINE = 24
"""Choice: characters of a line of a heading, at most."""
ACROSS = 160
"""Choice: characters that all headings have room for beside each other."""


def draw_parallel(scene: Scene, axes: Any) -> None:
    """All points over all columns: dominated ones faint, the front by its looks, the knee thick.

    Objectives stand on grey ground; an upright line goes from its lowest value to its highest.
    """
    columns = scene.columns
    across, line = np.arange(len(columns)), room(len(columns))
    heights = np.array([column.heights for column in columns])
    axes.axvspan(len(scene.axes) - 0.5, len(columns) - 0.5, color=PALE, alpha=0.45, zorder=0)
    others = scene.ground
    if others:
        faint = max(0.08, min(0.6, 40 / len(others)))  # choice: many lines stay a ground
        axes.plot(across, heights[:, others], color=GREY, linewidth=0.5, alpha=faint, zorder=1)
    looks = looks_of(scene)
    for point, why in zip(scene.front, scene.why, strict=True):
        colour, marker = looks[why]
        axes.plot(across, heights[:, point], color=colour, marker=marker, markersize=3,
                  linewidth=1.0, zorder=2)  # fmt: skip
    axes.plot(across, heights[:, scene.knee], color=VERMILION, linewidth=2.4, zorder=3)
    for place, column in enumerate(columns):
        _upright(axes, place, column, line)
    axes.set_xticks(across, [folded(column.label, line) for column in columns], fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.set_xlim(-0.5, len(columns) - 0.35)
    axes.set_ylim(-0.06, 1.06)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _upright(axes: Any, place: int, column: Column, line: int) -> None:
    axes.plot([place, place], [0.0, 1.0], color=BLACK, linewidth=0.8, zorder=4)
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for height, name in column.ticks():
        axes.plot([place, place + 0.03], [height, height], color=BLACK, linewidth=0.8, zorder=4)
        axes.text(place + 0.045, height, label(short(name, line)), fontsize=6.5, va="center",
                  bbox=ground, zorder=5)  # fmt: skip


def room(columns: int) -> int:
    """Characters that a heading has room for where so many stand beside each other."""
    return max(13, min(LINE, ACROSS // columns))  # choice: what is still read


def folded(text: str, line: int = LINE) -> str:
    """A long name on up to four lines, broken behind dots, underscores and blanks."""
    lines = [""]
    for part in _parts(label(short(text, 4 * line))):
        if lines[-1] and len(lines[-1]) + len(part) > line and len(lines) < 4:
            lines.append("")
        lines[-1] += part
    return "\n".join(one.strip() for one in lines)


def _parts(text: str) -> list[str]:
    """`text` cut behind each place where it may be broken."""
    found, start = [], 0
    for place, character in enumerate(text):
        if character in "._ ":
            found.append(text[start : place + 1])
            start = place + 1
    return [*found, text[start:]]
