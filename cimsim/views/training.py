"""The course of a training: loss and score of every step, and the metric measured meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cimsim.views.canvas import label, picture
from cimsim.views.palette import BLUE, GREEN, ORANGE, PALE

if TYPE_CHECKING:
    from cimsim.training import Evaluated

STD = "_std"
SMOOTHING = 0.9
"""Choice: weight of the past in the running mean of what every step has."""


def save_curve(
    course: Mapping[str, Sequence[float]], evaluations: Sequence[Evaluated], chips: int, title: str,
    path: Path,
) -> None:  # fmt: skip
    """Loss above, the metrics below: of every step pale, with its running mean, and as measured.

    `course` is the loss of every step, and its score. Bars are standard deviations over `chips`.
    Raises what `picture` does.
    """
    (loss, losses), (scored, scores) = course.items()
    with picture(path, 6.4, 5.6, (2, 1)) as (figure, (above, below)):
        figure.suptitle(label(title), fontsize=10)
        _draw_steps(above, losses, BLUE, f"{loss}, running mean")
        above.set_ylabel(loss)
        _draw_steps(below, scores, GREEN, "training examples of a step, running mean")
        metric = scored.rpartition("_")[0]
        names = [n for each in evaluations[:1] for n in each.metrics if not n.endswith(STD)]
        where = [each.step for each in evaluations]
        for name, colour in zip(names, (BLUE, ORANGE), strict=False):
            values = [each.metrics[name] for each in evaluations]
            bars = [each.metrics.get(f"{name}{STD}", 0.0) for each in evaluations]
            on_chips = f"mean and standard deviation of {chips} chips" if any(bars) else "one chip"
            shown = "test examples, " + (on_chips if name.endswith("_noisy") else "digital")
            below.errorbar(where, values, bars, color=colour, marker="o", ms=3, capsize=2,
                           label=shown)  # fmt: skip
        below.set_xlabel("step")
        below.set_ylabel("accuracy (%)" if metric == "accuracy" else label(metric, 40))
        for axes in (above, below):
            axes.set_xlim(0, len(losses) + 1)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(fontsize=8)


def _draw_steps(axes: Any, values: Sequence[float], colour: str, name: str) -> None:
    steps = range(1, len(values) + 1)
    axes.plot(steps, values, color=PALE, linewidth=0.8)
    axes.plot(steps, _running_mean(values), color=colour, label=name)


def _running_mean(values: Sequence[float]) -> list[float]:
    """Of what came so far, each step weighted SMOOTHING times the one after it."""
    found, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = SMOOTHING * total + value, SMOOTHING * weight + 1.0
        found.append(total / weight)
    return found
