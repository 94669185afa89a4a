"""Objectives of a front against each other: what it is, what it beats, and its knee."""

from __future__ import annotations

from typing import Any

from cimsim.views.canvas import label, line_key
from cimsim.views.front.columns import Column, exact, short
from cimsim.views.front.scene import Scene
from cimsim.views.palette import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
)

LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY, "v"), (BLACK, "P"))
"""Colour and marker of points of the front by what binds them; the last one also of further."""
FAINT: dict[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 3.0, "markerfacecolor": "none",
    "markeredgecolor": GREY, "markeredgewidth": 0.5,
}  # fmt: skip
RING: dict[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 12.0, "markerfacecolor": "none",
    "markeredgecolor": VERMILION, "markeredgewidth": 1.8,
}  # fmt: skip


def looks_of(scene: Scene) -> dict[str, tuple[str, str]]:
    """Colour and marker of each reason of the front."""
    last = len(LOOKS) - 1
    return {why: LOOKS[min(i, last)] for i, why in enumerate(scene.reasons)}


def draw_pair(scene: Scene, axes: Any, across: Column, up: Column) -> None:
    """One panel: dominated points faint, the front joined by its stairs where it has any."""
    others, front = scene.dominated, list(scene.front)
    axes.plot(across.numbers[others], up.numbers[others], zorder=1, **FAINT)
    if len(scene.objectives) == 2:
        stairs = "steps-pre" if across.maximise else "steps-post"
        order = sorted(front, key=lambda i: across.numbers[i])
        axes.plot(across.numbers[order], up.numbers[order], color=BLACK, linewidth=0.8,
                  drawstyle=stairs, zorder=2)  # fmt: skip
    for point, why in zip(front, scene.why, strict=True):
        colour, marker = looks_of(scene)[why]
        axes.plot(across.numbers[point], up.numbers[point], marker, color=colour, markersize=5,
                  markeredgecolor=BLACK, markeredgewidth=0.4, zorder=3)  # fmt: skip
    axes.plot(across.numbers[scene.knee], up.numbers[scene.knee], zorder=4, **RING)
    for column, axis, scale in (
        (across, axes.xaxis, axes.set_xscale), (up, axes.yaxis, axes.set_yscale),
    ):  # fmt: skip
        _scale(column, axis, scale)
    axes.grid(color=PALE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(label(heading(across), 50), fontsize=8)
    axes.set_ylabel(label(heading(up), 50), fontsize=8)


def keys_of(scene: Scene) -> list[Any]:
    """The legend of all panels."""
    keys = []
    if scene.dominated:
        keys.append(line_key("dominated", **FAINT))
    looks = looks_of(scene)
    for why in scene.reasons:
        colour, marker = looks[why]
        text = f"front, bound by {short(why, 40)}" if why else "front"
        keys.append(line_key(text, linestyle="", marker=marker, color=colour,
                             markeredgecolor=BLACK, markeredgewidth=0.4))  # fmt: skip
    at = ", ".join(exact(column, scene.knee) for column in scene.objectives)
    return [*keys, line_key(f"knee: {at}", **RING)]


def heading(column: Column) -> str:
    """The label of an objective with its direction."""
    return f"{column.label}{', more is better' if column.maximise else ''}"


def _scale(column: Column, axis: Any, scale: Any) -> None:
    if column.categories:
        axis.set_ticks(range(len(column.categories)), [short(one, 14) for one in column.categories])
    elif column.log:
        scale("log", subs=[])
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        decades = column.numbers.max() / column.numbers.min()
        # choice: between powers of ten where there are few
        axis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0) if decades < 1e3 else (1.0,))
