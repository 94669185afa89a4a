"""The front as a page: charts with hover, effects, table, inputs."""

from __future__ import annotations

from pathlib import Path

from cimsim.files import write_text
from cimsim.values.plaintext import literal
from cimsim.version import VERSION
from cimsim.views.front.chart import COLUMN, brush_of, charts_of
from cimsim.views.front.columns import Column, exact
from cimsim.views.front.explained import about, taken_and_never
from cimsim.views.front.scene import Scene
from cimsim.views.pages.document import document, listed, table, text

NONE = "–"


def save_page(scene: Scene, path: Path) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, page(scene))


def page(scene: Scene) -> str:
    """The whole page as text."""
    charts = charts_of(scene)
    *pairs, last = (f'<div id="chart-{number}"></div>' for number in range(len(charts)))
    width = COLUMN * len(scene.columns)
    parts = [
        f"<p>{text(scene.note)}</p>",
        "<h2>Objectives against each other</h2>",
        f'<div class="pairs">{"".join(pairs)}</div>',
        "<h2>Parallel coordinates</h2>",
        "<p>A line is a point: its settings, then (on grey) its results. The knee is thick. Drag "
        "along an upright to keep the points that lie there, in all charts; click it to let go. "
        '<output id="kept"></output></p>',
        f'<div class="wide"><div style="min-width:{width}px">{last}</div></div>',
        _effects(scene),
        _front(scene),
        _inputs(scene),
    ]
    keys = _keys(scene)
    told = {
        "points": _points(scene),
        "charts": [chart | {"keys": keys} for chart in charts],
        "brush": brush_of(scene, charts),
    }
    return document(scene.title, parts, told)


def _keys(scene: Scene) -> list[str]:
    return [literal(key) for key in (*(c.key for c in scene.columns), *scene.others)]


def _points(scene: Scene) -> dict[int, dict[str, object]]:
    """What each drawn point holds, exact, in the order of keys."""
    why = dict(zip(scene.front, scene.why, strict=True))
    found: dict[int, dict[str, object]] = {}
    for point in (*scene.front, *scene.dominated):
        place = "dominated" if point not in why else "on the front"
        name = f"point {point + 1}: {'knee, ' * (point == scene.knee)}{place}"
        if why.get(point):
            name += f", bound by {literal(why[point])}"
        values = [literal(column.texts[point]) for column in scene.axes]
        values += [_precise(column, point) for column in scene.objectives]
        values += [literal(texts[point]) for texts in scene.others.values()]
        found[point] = {"name": name, "values": values}
    return found


def _precise(column: Column, point: int) -> str:
    """The stored number, and what people read where it has a unit."""
    spoken = f" ({exact(column, point)})" if column.unit else ""
    return f"{column.texts[point]}{spoken}"


def _effects(scene: Scene) -> str:
    found = scene.effects
    heads = ["axis"]
    for column in scene.objectives:
        logs = ", by its logarithm" if column.key in found.logs else ""
        heads.append(text(f"{column.label}{logs}"))
    if not found.exact:
        heads.append("by chance")
    rows = []
    for effect in found.axes:
        shares = [effect.shares[column.key] for column in scene.objectives]
        cells = [f"<td>{text(effect.axis)}</td>", *map(_share, shares)]
        if not found.exact:
            cells.append(f'<td class="number">{effect.chance:.0%}</td>')
        taken, never = taken_and_never(effect)
        cells += [f'<td class="long">{text(", ".join(names) or NONE)}</td>'
                  for names in (taken, never)]  # fmt: skip
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads += ["values on the front", "never on it"]
    return (
        "<h2>What explains the objectives</h2>\n"
        f"<p>{text(about(found, 'last column of numbers'))}</p>\n" + table(heads, rows)
    )


def _share(share: float | None) -> str:
    if share is None:
        return '<td class="number">cannot be told</td>'
    bar = f'<span class="bar" style="width:{100 * share:.0f}px"></span>'
    return f"<td>{bar}{share:.0%}</td>"


def _front(scene: Scene) -> str:
    reasons = any(scene.why)
    heads = ["", *(text(c.label) for c in scene.objectives), *["bound by"] * reasons]
    heads += [text(column.label) for column in scene.axes]
    rows = []
    for point, why in zip(scene.front, scene.why, strict=True):
        knee = point == scene.knee
        cells = [f"<td>{'knee' * knee}</td>"]
        cells += [
            f'<td class="number" title="{text(column.texts[point])}">{exact(column, point)}</td>'
            for column in scene.objectives
        ]
        if reasons:
            cells.append(f"<td>{text(why or NONE)}</td>")
        cells += [f"<td>{text(column.texts[point])}</td>" for column in scene.axes]
        look = ' class="knee"' * knee
        rows.append(f"<tr{look}>{''.join(cells)}</tr>")
    return f"<h2>The front: {len(rows)} points</h2>\n" + table(heads, rows)


def _inputs(scene: Scene) -> str:
    return "<h2>Inputs</h2>\n" + listed({**scene.inputs, "cimsim": VERSION})
