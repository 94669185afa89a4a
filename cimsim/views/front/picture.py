"""The front as a picture: objectives against each other, parallel coordinates, what explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cimsim.views.canvas import label, picture
from cimsim.views.front.explained import draw_explained
from cimsim.views.front.parallel import draw_parallel
from cimsim.views.front.scatter import draw_pair, keys_of
from cimsim.views.front.scene import Scene

PANELS = 3
"""Choice: panels of objectives beside each other."""
WIDTH, COLUMN = 11.0, 1.05
"""Choice: least width of a picture and of a column of its parallel coordinates (inches)."""


def save_front(scene: Scene, path: Path) -> None:
    """Draw all of a front to `path`, in the format of its ending (png, pdf or svg)."""
    pairs, bars = scene.pairs, max(1, len(scene.axes))
    columns = min(PANELS, max(1, len(pairs)))
    rows = max(1, -(-len(pairs) // columns))
    heights = [0.5 + 3.8 * rows, 4.0, 1.1 + (0.2 + 0.17 * len(scene.objectives)) * bars]
    width = max(WIDTH, COLUMN * len(scene.columns))
    with picture(path, width, sum(heights) + 0.5, 0) as (figure, _):
        figure.suptitle(f"{label(scene.title, 110)}\n{label(scene.note, 150)}", fontsize=9)
        parts: Any = figure.subfigures(3, 1, height_ratios=heights)
        top, middle, bottom = parts
        panels = np.atleast_1d(top.subplots(rows, columns)).ravel()
        for axes, pair in zip(panels, pairs, strict=False):
            draw_pair(scene, axes, *pair)
        for axes in panels[len(pairs) :]:
            axes.set_visible(False)
        keys = keys_of(scene)
        top.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 5), fontsize=7)
        draw_parallel(scene, middle.subplots())
        draw_explained(scene, *bottom.subplots(1, 2, sharey=True))
