"""What explains the objectives, axis by axis, and which values of each the front took."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from cimsim.exploration.effects import AxisEffect, Effects
from cimsim.views.canvas import area_key, label
from cimsim.views.front.columns import short
from cimsim.views.front.parallel import folded
from cimsim.views.front.scene import Scene
from cimsim.views.palette import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Fill

FILLS = (Fill(BLUE), Fill(ORANGE, "///"), Fill(GREEN, "..."), Fill(PURPLE, "xxx"),
         Fill(SKY, "\\\\\\"), Fill(VERMILION, "---"))  # fmt: skip
"""Fill of each objective; of more than these, the first ones again."""
NAMED = 4
"""Choice: values of an axis that are named as taken, and as never taken."""


def draw_explained(scene: Scene, bars: Any, words: Any) -> None:
    """Bars of shares on the left, the values of the front on the right."""
    found, objectives = scene.effects, scene.objectives
    height = 0.8 / len(objectives)
    for row, effect in enumerate(found.axes):
        for number, column in enumerate(objectives):
            fill = FILLS[number % len(FILLS)]
            at = row - 0.4 + height * (number + 0.5)
            share = effect.shares[column.key]
            if share is not None:
                bars.barh(at, share, height=height * 0.92, color=fill.colour, hatch=fill.hatch)
            text = "cannot be told" if share is None else f"{share:.0%}"
            bars.text((share or 0.0) + 0.01, at, text, fontsize=6, va="center")
        if effect.chance:
            bars.plot([effect.chance] * 2, [row - 0.42, row + 0.42], color="black", linewidth=0.8,
                      linestyle=":")  # fmt: skip
        words.text(0.0, row, _lines(taken(effect)), fontsize=6.5, va="center")
    names = [folded(effect.axis) for effect in found.axes]
    bars.set_yticks(range(len(names)), names, fontsize=7)
    bars.set_ylim(len(names) - 0.45, -0.55)
    bars.set_xlim(0.0, 1.12)
    bars.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
    bars.tick_params(axis="x", labelsize=7)
    bars.set_xlabel(about(found), fontsize=7)
    bars.legend(handles=_keys(scene), fontsize=6, loc="lower left", bbox_to_anchor=(0.0, 1.0),
                ncols=2, borderaxespad=0.4)  # fmt: skip
    words.set_title("values on the front (points of the front of points in all)", fontsize=7,
                    loc="left")  # fmt: skip
    words.set_axis_off()


def about(found: Effects, chance: str = "dotted") -> str:
    """What the shares are, in a line; `chance` is where that of chance stands."""
    how = "exact: a complete grid" if found.exact else f"estimate; {chance}: by chance"
    return f"share of the variance that the axis explains alone ({how})"


def taken_and_never(effect: AxisEffect) -> tuple[list[str], list[str]]:
    """Values with points of the front, the most frequent first, and those without."""
    ranked = sorted(effect.taken, key=lambda one: -one[1])
    on = [f"{short(name)} ({front} of {of})" for name, front, of in ranked if front]
    return on, [short(name) for name, front, _ in effect.taken if not front]


def taken(effect: AxisEffect) -> str:
    """Some of both, in words."""
    on, never = (_some(names) for names in taken_and_never(effect))
    return f"{on}{f'; never {never}' if never else ''}"


def _lines(text: str) -> str:
    """A text on lines of 80 characters, three at most."""
    return "\n".join(wrap(label(text, 236), 80)[:3])  # choice: what there is room for


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _keys(scene: Scene) -> list[Any]:
    keys = []
    for number, column in enumerate(scene.objectives):
        fill = FILLS[number % len(FILLS)]
        by = ", by its logarithm" if column.key in scene.effects.logs else ""
        keys.append(area_key(label(f"{column.label}{by}", 50), facecolor=fill.colour,
                             hatch=fill.hatch))  # fmt: skip
    return keys
