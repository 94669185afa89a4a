"""The front as one HTML file that needs no network: charts with hover, effects, table, inputs.

Everything from outside is escaped, in HTML, in the JSON within it, and in what plotly is given. The
page also forbids itself (Content-Security-Policy) any request and any script but its own two.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from pathlib import Path

from cimsim.errors import OutputError
from cimsim.files import write_text
from cimsim.values.plaintext import literal
from cimsim.version import VERSION
from cimsim.views.front.chart import COLUMN, charts_of
from cimsim.views.front.columns import Column, exact
from cimsim.views.front.explained import about, taken_and_never
from cimsim.views.front.scene import Scene

HERE = Path(__file__).parent
NONE = "–"


class NoPlotlyError(OutputError):
    """An installation without pages."""

    def __init__(self) -> None:
        super().__init__("plotly is not installed: pip install '.[plots]'")


def save_page(scene: Scene, path: Path) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, page(scene))


def page(scene: Scene) -> str:
    """The whole page as text."""
    scripts = (_plotly(), (HERE / "page.js").read_text(encoding="utf-8"))
    charts = charts_of(scene)
    *pairs, last = (f'<div id="chart-{number}"></div>' for number in range(len(charts)))
    width = COLUMN * len(scene.columns)
    parts = [
        f"<h1>{_text(scene.title)}</h1>",
        f"<p>{_text(scene.note)}</p>",
        "<h2>Objectives against each other</h2>",
        f'<div class="pairs">{"".join(pairs)}</div>',
        "<h2>Parallel coordinates</h2>",
        "<p>A line is a point: its settings, then (on grey) its results. The knee is thick.</p>",
        f'<div class="wide"><div style="min-width:{width}px">{last}</div></div>',
        _effects(scene),
        _front(scene),
        _inputs(scene),
    ]
    data = _json({"keys": _keys(scene), "points": _points(scene), "charts": charts})
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{_text(scene.title)}</title>\n'
        f"<style>\n{(HERE / 'page.css').read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + '\n<div id="told" role="tooltip" hidden></div>\n'
        + f'<script type="application/json" id="scene">{data}</script>\n'
        + "\n".join(f"<script>{script}</script>" for script in scripts)
        + "\n</body>\n</html>\n"
    )


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise NoPlotlyError from None
    text: str = get_plotlyjs()
    return text.replace("\r\n", "\n")


def _policy(scripts: tuple[str, ...]) -> str:
    """No request, and no script whose digest is not one of these."""
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _json(value: object) -> str:
    """JSON that ends no script element, in ASCII."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    return escape(literal(text), quote=True)


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
        heads.append(_text(f"{column.label}{logs}"))
    if not found.exact:
        heads.append("by chance")
    rows = []
    for effect in found.axes:
        shares = [effect.shares[column.key] for column in scene.objectives]
        cells = [f"<td>{_text(effect.axis)}</td>", *map(_share, shares)]
        if not found.exact:
            cells.append(f'<td class="number">{effect.chance:.0%}</td>')
        taken, never = taken_and_never(effect)
        cells += [f'<td class="long">{_text(", ".join(names) or NONE)}</td>'
                  for names in (taken, never)]  # fmt: skip
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads += ["values on the front", "never on it"]
    return (
        "<h2>What explains the objectives</h2>\n"
        f"<p>{_text(about(found, 'last column of numbers'))}</p>\n" + _table(heads, rows)
    )


def _share(share: float | None) -> str:
    if share is None:
        return '<td class="number">cannot be told</td>'
    bar = f'<span class="bar" style="width:{100 * share:.0f}px"></span>'
    return f"<td>{bar}{share:.0%}</td>"


def _front(scene: Scene) -> str:
    reasons = any(scene.why)
    heads = ["", *(_text(c.label) for c in scene.objectives), *["bound by"] * reasons]
    heads += [_text(column.label) for column in scene.axes]
    rows = []
    for point, why in zip(scene.front, scene.why, strict=True):
        knee = point == scene.knee
        cells = [f"<td>{'knee' * knee}</td>"]
        cells += [
            f'<td class="number" title="{_text(column.texts[point])}">{exact(column, point)}</td>'
            for column in scene.objectives
        ]
        if reasons:
            cells.append(f"<td>{_text(why or NONE)}</td>")
        cells += [f"<td>{_text(column.texts[point])}</td>" for column in scene.axes]
        look = ' class="knee"' * knee
        rows.append(f"<tr{look}>{''.join(cells)}</tr>")
    return f"<h2>The front: {len(rows)} points</h2>\n" + _table(heads, rows)


def _inputs(scene: Scene) -> str:
    rows = [
        f'<tr><td>{_text(name)}</td><td class="long"><code>{_text(value)}</code></td></tr>'
        for name, value in {**scene.inputs, "cimsim": VERSION}.items()
    ]
    return "<h2>Inputs</h2>\n" + _table(["", ""], rows)


def _table(heads: list[str], rows: list[str]) -> str:
    """A table that scrolls by itself where it is too wide; `heads` and `rows` are HTML."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )
