"""Charts of a front for plotly, as plain values: traces, layout, and the point behind each mark.

Plotly reads some HTML in every text that it is given: names pass `text`. What a point holds is
not handed to plotly at all; marks carry the number of the point (`customdata`), the page shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cimsim.views.front.columns import Column, decades, short
from cimsim.views.front.parallel import folded
from cimsim.views.front.scatter import heading, looks_of
from cimsim.views.front.scene import Scene
from cimsim.views.pages.charts import MARKS
from cimsim.views.pages.document import text
from cimsim.views.palette import BLACK, GREY, VERMILION

Json = dict[str, Any]
LINE, COLUMN = 15, 120
"""Choice: characters of a line of a heading, and least width of its column (pixels)."""


def charts_of(scene: Scene) -> list[Json]:
    """One chart for each pair of objectives, then the parallel coordinates."""
    return [*(_pair(scene, *pair) for pair in scene.pairs), _parallel(scene)]


def brush_of(scene: Scene, charts: list[Json]) -> Json:
    """Where every drawn point lies on the uprights of the last chart, for its brushes.

    They are the page's own: plotly's parallel coordinates know no points to hover on, and compile
    code in the browser, which the page forbids.
    """
    heights = np.array([column.heights for column in scene.columns])
    points = sorted({*scene.front, *scene.dominated})
    return {
        "chart": len(charts) - 1,
        "columns": len(scene.columns),
        "heights": {point: heights[:, point].round(6).tolist() for point in points},
    }


def _pair(scene: Scene, across: Column, up: Column) -> Json:
    others = scene.dominated
    traces = []
    if others:
        marker = {"color": GREY, "size": 5, "symbol": "circle-open", "opacity": 0.8}
        traces.append(_marks(across, up, others, "dominated", marker))
    if len(scene.objectives) == 2:
        order = sorted(scene.front, key=lambda i: across.numbers[i])
        traces.append({
            "x": _at(across, order), "y": _at(up, order), "mode": "lines", "hoverinfo": "skip",
            "showlegend": False,
            "line": {"color": GREY, "width": 1.5, "shape": "vh" if across.maximise else "hv"},
        })  # fmt: skip
    for why in scene.reasons:
        colour, symbol = looks_of(scene)[why]
        points = [i for i, given in zip(scene.front, scene.why, strict=True) if given == why]
        name = f"front, bound by {short(why, 40)}" if why else "front"
        traces.append(_marks(across, up, points, name, {
            "color": colour, "size": 9, "symbol": MARKS[symbol],
            "line": {"width": 0.5, "color": BLACK},
        }))  # fmt: skip
    ring = {"color": VERMILION, "size": 19, "symbol": "circle-open", "line": {"width": 3}}
    traces.append(_marks(across, up, [scene.knee], "knee", ring) | {"hoverinfo": "skip"})
    layout = {
        "xaxis": _scale(across), "yaxis": _scale(up), "hovermode": "closest",
        "height": 400 + 22 * len(traces),  # choice: pixels, a line of the legend for each trace
        "margin": {"l": 60, "r": 15, "t": 30, "b": 50},
        "legend": {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0},
    }  # fmt: skip
    return {"data": traces, "layout": layout}


def _marks(across: Column, up: Column, points: list[int], name: str, marker: Json) -> Json:
    return {
        "x": _at(across, points), "y": _at(up, points), "customdata": points, "mode": "markers",
        "name": text(name), "marker": marker, "hoverinfo": "none",
        "unselected": {"marker": {"opacity": 0.06}},
    }  # fmt: skip


def _at(column: Column, points: list[int] | tuple[int, ...]) -> list[float]:
    return [float(value) for value in column.numbers[list(points)]]


def _scale(column: Column) -> Json:
    scale: Json = {
        "title": {"text": text(heading(column))}, "automargin": True, "zeroline": False,
        "exponentformat": "none",
    }  # fmt: skip
    if column.categories:
        names = [text(short(name)) for name in column.categories]
        scale |= {"tickvals": list(range(len(names))), "ticktext": names}
    elif column.log:
        marks = decades(column.numbers)
        scale |= {"type": "log", "tickvals": marks.tolist(), "ticktext": [f"{m:g}" for m in marks]}
    return scale


def _parallel(scene: Scene) -> Json:
    """Dominated points are one trace with gaps, each point of the front is one of its own."""
    columns = scene.columns
    heights = np.array([column.heights for column in columns])
    across = list(range(len(columns)))
    traces = []
    others = scene.ground
    if others:
        x: list[float | None] = []
        y: list[float | None] = []
        ids: list[int] = []
        for point in others:
            x += [*across, None]
            y += [*heights[:, point].tolist(), None]
            ids += [point] * (len(columns) + 1)
        faint = 0.3 if len(others) > 300 else 0.6  # choice: many lines stay a ground
        traces.append({
            "x": x, "y": y, "customdata": ids, "mode": "lines", "opacity": faint,
            "line": {"color": GREY, "width": 1}, "hoverinfo": "none", "meta": "ground",
        })  # fmt: skip
    looks = looks_of(scene)
    for point, why in zip(scene.front, scene.why, strict=True):
        knee = point == scene.knee
        colour, symbol = looks[why]
        traces.append({
            "x": across, "y": heights[:, point].tolist(), "customdata": [point] * len(columns),
            "mode": "lines+markers", "hoverinfo": "none",
            "line": {"color": VERMILION if knee else colour, "width": 4 if knee else 1.5},
            "marker": {"size": 6, "symbol": MARKS[symbol], "color": colour},
        })  # fmt: skip
    return {"data": traces, "layout": _uprights(scene)}


def _uprights(scene: Scene) -> Json:
    columns = scene.columns
    notes: list[Json] = []
    shapes: list[Json] = [{
        "type": "rect", "x0": len(scene.axes) - 0.5, "x1": len(columns) - 0.5, "y0": -0.05,
        "y1": 1.05, "line": {"width": 0}, "fillcolor": GREY, "opacity": 0.15, "layer": "below",
    }]  # fmt: skip
    for place, column in enumerate(columns):
        shapes.append({"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1,
                       "line": {"width": 1, "color": GREY}})  # fmt: skip
        lines = [text(one) for one in folded(column.label, LINE).split("\n")]
        notes.append({
            "x": place, "y": 1.06, "yanchor": "bottom", "showarrow": False,
            "text": "<br>".join(lines), "font": {"size": 11},
        })  # fmt: skip
        notes += [
            {
                "x": place, "y": height, "xanchor": "left", "xshift": 4, "showarrow": False,
                "text": text(short(name, LINE)), "font": {"size": 11},
            }
            for height, name in column.ticks()
        ]  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    return {
        "xaxis": hidden | {"range": [-0.5, len(columns) - 0.4]},
        "yaxis": hidden | {"range": [-0.07, 1.25]},
        "shapes": shapes, "annotations": notes, "showlegend": False, "hovermode": "closest",
        "dragmode": False,
        "height": 480, "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
    }  # fmt: skip
