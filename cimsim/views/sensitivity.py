"""Tornado of a study of bands: how far each number moves a result, from end to end of its range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cimsim.report.bands import Band, Sensitivity
from cimsim.views.canvas import area_key, label, picture
from cimsim.views.palette import BLACK, BLUE, ORANGE, PALE

MOST = 12
"""Choice: numbers drawn for each result, those that move it most."""


def save_tornado(found: Sensitivity, path: Path) -> None:
    """A panel for each result: a bar a number, the result as it stands, its band in grey."""
    bands = found.bands
    rows = max(min(MOST, len(band.effects)) for band in bands)
    height = len(bands) * (1.3 + 0.26 * max(1, rows))
    with picture(path, 9.5, height, (len(bands), 1)) as (figure, panels):
        for band, axes in zip(bands, panels if len(bands) > 1 else [panels], strict=True):
            _draw(band, axes)
        title = f"{found.architecture}, {found.workload}, {found.pipeline}"
        figure.suptitle(label(title), fontsize=10)


def _draw(band: Band, axes: Any) -> None:
    effects = band.effects[:MOST][::-1]
    axes.axvspan(band.low, band.high, color=PALE)
    for row, effect in enumerate(effects):
        for end, colour, hatch in ((effect.at_low, BLUE, ""), (effect.at_high, ORANGE, "///")):
            axes.barh(row, end - band.value, left=band.value, color=colour, hatch=hatch, height=0.7)
    axes.axvline(band.value, color=BLACK, linewidth=0.8)
    names = [f"{label(e.path, 50)}  {e.span}" for e in effects]
    axes.set_yticks(range(len(effects)), names, fontsize=7)
    axes.set_xlabel(label(band.name), fontsize=8)
    if min([band.low, *(min(e.at_low, e.at_high) for e in effects)]) > 0.0:
        axes.set_xscale("log", subs=[])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        axes.xaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0))
    keys = [
        area_key("at the low end", facecolor=BLUE),
        area_key("at the high end", facecolor=ORANGE, hatch="///"),
        area_key("5 to 95 %", facecolor=PALE),
    ]
    axes.legend(handles=keys, fontsize=6)
