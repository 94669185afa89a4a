"""Pictures of a crossbar study: signal-to-noise ratios, one panel an axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.studies.crossbar import AXES, CrossbarPoint
from cimsim.views.canvas import label, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_sweep(points: Sequence[CrossbarPoint], title: str, path: Path) -> None:
    """Draw the ratios, one panel an axis, as a PNG file; raises OutputError."""
    axes = [axis for axis in AXES if any(point.axis == axis for point in points)]
    with picture(path, 4.6 * len(axes), 3.8, len(axes)) as (figure, made):
        figure.suptitle(label(title))
        for axis, panel in zip(axes, made if len(axes) > 1 else [made], strict=True):
            _draw(panel, axis, [point for point in points if point.axis == axis])


def _draw(panel: Axes, axis: str, points: Sequence[CrossbarPoint]) -> None:
    shown = [point for point in points if point.snr_dB is not None]
    names, ratios = [label(p.value, 40) for p in shown], [p.snr_dB or 0.0 for p in shown]
    places = range(len(names))
    if axis in ("effect", "noise"):
        panel.barh(places, ratios, color="#3b6ea8")
        panel.set_yticks(places, names)
        panel.invert_yaxis()
        panel.set_xlabel("signal-to-noise ratio (dB)")
    else:
        panel.plot(places, ratios, marker="o", color="#3b6ea8")
        panel.set_xticks(places, names)
        panel.set_ylabel("signal-to-noise ratio (dB)")
    panel.set_title(axis.replace("_", " "), fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
