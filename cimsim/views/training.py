"""The course of a training: loss of every step, and the metric measured meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.views.canvas import label, picture
from cimsim.views.palette import BLUE, ORANGE, PALE

if TYPE_CHECKING:
    from cimsim.training import Evaluated

STD = "_std"
SMOOTHING = 0.9
"""Choice: weight of the past in the running mean of the loss."""


def save_curve(
    losses: Sequence[float], evaluations: Sequence[Evaluated], title: str, path: Path
) -> None:
    """Loss (grey, running mean over it) above the metrics; bars are standard deviations of chips.

    Raises what `picture` does.
    """
    with picture(path, 6.4, 5.6, (2, 1)) as (figure, (above, below)):
        figure.suptitle(label(title), fontsize=10)
        steps = range(1, len(losses) + 1)
        above.plot(steps, losses, color=PALE, linewidth=0.8)
        above.plot(steps, _running_mean(losses), color=BLUE)
        above.set_ylabel("loss")
        names = [name for name in evaluations[0].metrics if not name.endswith(STD)]
        where = [each.step for each in evaluations]
        for name, colour in zip(names, (BLUE, ORANGE), strict=False):
            values = [each.metrics[name] for each in evaluations]
            bars = [each.metrics.get(f"{name}{STD}", 0.0) for each in evaluations]
            shown = label(name.replace("_", " "), 40)
            below.errorbar(where, values, bars, color=colour, marker="o", ms=3, capsize=2,
                           label=shown)  # fmt: skip
        below.set_xlabel("step")
        below.set_ylabel(label(names[0], 40))
        below.legend(fontsize=8)
        for axes in (above, below):
            axes.set_xlim(0, len(losses) + 1)
            axes.spines[["top", "right"]].set_visible(False)


def _running_mean(losses: Sequence[float]) -> list[float]:
    found: list[float] = []
    for loss in losses:
        before = found[-1] if found else loss
        found.append(SMOOTHING * before + (1.0 - SMOOTHING) * loss)
    return found
