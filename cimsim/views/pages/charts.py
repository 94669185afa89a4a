"""Charts of a page for plotly, as plain values, and the exact value behind every mark.

Plotly reads some HTML in every text that it is given: names pass `text`. What a mark stands for
is not handed to plotly at all; marks carry the name of a point (`customdata`), the page tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cimsim.units import quantity
from cimsim.values.display import brief
from cimsim.values.plaintext import literal, shortened
from cimsim.views.pages.document import text
from cimsim.views.palette import BLACK, DASHES, LINES, OTHER, SYMBOLS, Fill, fill_of

PIXELS, ROW = 108, 26
"""Choice: height (pixels) of a chart without bars, and of each bar."""
TALL = 380
"""Choice: height (pixels) of a chart with two axes, without the lines of its legend."""
NAME, LETTER = 26, 7
"""Choice: characters of a name beside a bar, and pixels of one; hovering tells the whole."""
FEW = 40
"""Choice: marks of a line that are drawn large; of more, small."""
DASHED = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
"""Plotly's names of dashes."""
MARKS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down",
         "P": "cross"}  # fmt: skip
"""Plotly's names of markers."""
HATCHED = {"///": "/", "...": ".", "xxx": "x", "---": "-", "|||": "|", "\\\\\\": "\\", "ooo": ".",
           "++": "+"}  # fmt: skip
"""Plotly's names of hatches."""
Json = dict[str, Any]


@brief
@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a line: where it is, half the length of its error bar, and what it tells."""

    x: float
    y: float
    told: Mapping[str, str]
    error: float = 0.0


@brief
@dataclass(frozen=True, slots=True)
class Scale:
    """An axis; `names` are places with what stands there instead of their number."""

    title: str
    log: bool = False
    names: Mapping[float, str] = field(default_factory=dict)


@brief
@dataclass
class Charts:
    """Charts of a page in their order, and what hovering over each of their marks tells.

    Each chart has the `keys` of the values of its points.
    """

    charts: list[Json] = field(default_factory=list)
    points: dict[str, Json] = field(default_factory=dict)

    @property
    def scene(self) -> Json:
        """As `document` takes it."""
        return {"charts": self.charts, "points": self.points}

    def add(self, data: list[Json], layout: Json, keys: Sequence[str]) -> str:
        """A chart; returns the element it is drawn into."""
        self.charts.append({"data": data, "layout": layout, "keys": [literal(k) for k in keys]})
        return f'<div id="chart-{len(self.charts) - 1}"></div>'

    def point(self, name: str, values: Sequence[str]) -> str:
        """What hovering over a mark of the next chart tells; returns its name for plotly."""
        key = f"{len(self.charts)}/{len(self.points)}"
        self.points[key] = {"name": literal(name), "values": [literal(v) for v in values]}
        return key

    def bars(self, name: str, values: Mapping[str, float], unit: str, **more: Any) -> str:
        """Horizontal bars of what is above 0, the largest on top, with shares of their sum."""
        names = sorted((key for key, value in values.items() if value > 0), key=values.__getitem__)
        total = sum(values[key] for key in names)
        told = [
            self.point(f"{name}: {key}", [*_exact(values[key], unit), f"{values[key] / total:.2%}"])
            for key in names
        ]
        trace = {
            "type": "bar", "orientation": "h", "x": [values[key] for key in names],
            "y": [text(key) for key in names], "customdata": told,
            "marker": {"color": [fill_of(key).colour for key in names], **more},
            "hoverinfo": "none",
            "text": [f"{values[key] / total:.1%}" for key in names], "textposition": "auto",
        }  # fmt: skip
        layout = _lying(name, unit, len(names)) | {"showlegend": False}
        return self.add([trace], layout, ["exact", "read", "share"])

    def side_by_side(
        self, name: str, values: Mapping[str, Mapping[str, float]], unit: str, *,
        stacked: bool = False,
    ) -> str:  # fmt: skip
        """Horizontal bars: `values` by row and by series, whose colours the legend tells.

        Series that are kinds of unit have the colours of theirs. Stacked ones are parts of a whole.
        """
        rows = list(values)[::-1]
        series = list(dict.fromkeys(key for row in values.values() for key in row))
        fills = _fills(series)
        traces = []
        for key, fill in zip(series, fills, strict=True):
            here = [row for row in rows if key in values[row]]
            told = [
                self.point(f"{row}: {key}", _exact(values[row][key], unit)) for row in here
            ]  # fmt: skip
            traces.append({
                "type": "bar", "orientation": "h", "x": [values[row][key] for row in here],
                "y": [_short(row) for row in here], "customdata": told, "hoverinfo": "none",
                "name": text(key), "marker": _filled(fill),
            })  # fmt: skip
        bars = len(rows) if stacked else sum(len(row) for row in values.values()) * 2 // 3
        layout = _lying(name, unit, max(bars, 2)) | {
            "barmode": "stack" if stacked else "group", "showlegend": len(series) > 1,
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        }  # fmt: skip
        layout["height"] += ROW * (1 + len(series) // 3)
        longest = max(len(shortened(literal(row), NAME)) for row in rows)
        layout["margin"] |= {"t": 40, "l": LETTER * longest}
        layout["yaxis"]["automargin"] = False  # beside a legend the margins would not settle
        return self.add(traces, layout, ["exact", "read"])

    def lines(
        self, lines: Mapping[str, Sequence[Mark]], across: Scale, up: Scale, *, joined: bool = True,
        levels: Mapping[str, float] | None = None,
    ) -> str:  # fmt: skip
        """Lines over two axes, each with its marks; `levels` are straight ones beside them.

        Of several levels, which may lie close together, the highest alone has its name.
        """
        keys = list(next(mark.told for marks in lines.values() for mark in marks))
        traces: list[Json] = []
        for number, (name, marks) in enumerate(lines.items()):
            colour, dash, symbol = look_of(number)
            size = 8 if len(marks) <= FEW else 3
            trace: Json = {
                "type": "scatter", "mode": "lines+markers" if joined else "markers",
                "x": [mark.x for mark in marks], "y": [mark.y for mark in marks],
                "customdata": [self.point(name, list(mark.told.values())) for mark in marks],
                "name": text(shortened(literal(name), 3 * NAME)), "hoverinfo": "none",
                "line": {"color": colour, "width": 2, "dash": DASHED[dash]},
                "marker": {"color": colour, "size": size, "symbol": MARKS[symbol]},
            }  # fmt: skip
            if any(mark.error for mark in marks):
                trace["error_y"] = {"array": [mark.error for mark in marks], "width": 4}
            traces.append(trace)
        shapes = [_level(height) for height in (levels or {}).values()]
        top = max((levels or {}).items(), key=lambda item: item[1], default=None)
        notes = [] if top is None else [_level_note(*top)]
        layout = {
            "xaxis": _scale(across), "yaxis": _scale(up), "hovermode": "closest",
            "height": TALL + 22 * len(traces),  # choice: pixels of a line of the legend
            "margin": {"l": 60, "r": 15, "t": 20, "b": 50}, "shapes": shapes,
            "annotations": notes, "showlegend": True,
            "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        }  # fmt: skip
        return self.add(traces, layout, keys)


def look_of(number: int) -> tuple[str, Literal["-", "--", "-.", ":"], str]:
    """Colour, dash and marker of a line; more lines than colours differ by their dashes."""
    again = number // len(LINES)
    return LINES[number % len(LINES)], DASHES[again % len(DASHES)], SYMBOLS[number % len(SYMBOLS)]


def _exact(value: float, unit: str) -> list[str]:
    """As it is stored, and as people read it."""
    read = quantity(value, unit) if unit in ("s", "J") else f"{value:.4g} {unit}".rstrip()
    return [f"{value!r} {unit}".rstrip(), read]


def _short(name: str) -> str:
    return text(shortened(literal(name), NAME))


def _fills(series: list[str]) -> list[Fill]:
    """Those of kinds of unit, or else colours in turn, with hatches once all have been taken."""
    own = [fill_of(name) for name in series]
    if len(set(own)) == len(own) and own != [OTHER]:
        return own
    hatches = ("", *HATCHED)
    return [Fill(look_of(n)[0], hatches[n // len(LINES) % len(hatches)]) for n in range(len(own))]


def _filled(fill: Fill) -> Json:
    shape = HATCHED.get(fill.hatch, "")
    pattern = {"shape": shape, "size": 6, "solidity": 0.15, "fgcolor": BLACK, "fillmode": "overlay"}
    return {"color": fill.colour, "pattern": pattern}


def _lying(name: str, unit: str, rows: int) -> Json:
    title = f"{name} ({unit})" if unit else name
    return {
        "height": PIXELS + ROW * rows, "hovermode": "closest",
        "xaxis": {"title": {"text": text(title)}, "automargin": True, "exponentformat": "SI"},
        "yaxis": {"automargin": True, "type": "category"},
        "margin": {"l": 10, "r": 10, "t": 28, "b": 40},  # above: the buttons
    }  # fmt: skip


def _scale(scale: Scale) -> Json:
    made: Json = {"title": {"text": text(scale.title)}, "automargin": True, "zeroline": False}
    made |= {"exponentformat": "SI"}
    if scale.log:
        made |= {"type": "log", "dtick": 1}
    if scale.names:
        names = [text(name) for name in scale.names.values()]
        made |= {"tickvals": list(scale.names), "ticktext": names}
    return made


def _level(height: float) -> Json:
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height,
        "line": {"width": 1, "dash": "dot", "color": "#999999"},
    }  # fmt: skip


def _level_note(name: str, height: float) -> Json:
    return {
        "xref": "paper", "x": 1, "y": height, "xanchor": "right", "yanchor": "bottom",
        "text": text(name), "showarrow": False, "font": {"size": 11},
    }  # fmt: skip
