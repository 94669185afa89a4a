"""The machine at work, for the page of a run: shares and single pieces over time, and tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cimsim.errors import SimulationError
from cimsim.simulation import Simulation
from cimsim.units import PS_PER_S, prefix_of, ps_to_seconds
from cimsim.views.canvas import end_of
from cimsim.views.pages.charts import NAME, Charts
from cimsim.views.pages.document import text
from cimsim.views.palette import BLACK, GREY, LINES, fill_of
from cimsim.views.part import RunPart
from cimsim.views.slices import BYTES, ENERGY
from cimsim.views.tiles import TileMap, columns_of, tile_colours, tile_maps
from cimsim.views.timeline import BINS, Timeline, shares, timeline_of

TILES = 2048
"""Choice: squares of a map of tiles, which a page tells one by one."""
KEYS = ("from", "to", "takes", "layer", "stage", "part", "phase", "step", "tokens", BYTES, ENERGY)
LANE = 16
"""Choice: height of a lane (pixels)."""


def timeline(simulation: Simulation, part: RunPart | None, charts: Charts) -> Iterator[str]:
    """Shares of kinds of unit over the run, and the pieces of work of a window of it."""
    try:
        found = timeline_of(simulation, part)
    except SimulationError as problem:
        yield f"<p>{text(f'not drawn: {problem}')}</p>"
        return
    yield "<p>Share of the units of a kind at work over the whole run; framed: the part below.</p>"
    yield _overview(simulation, found.part, charts)
    yield f"<p>{text(found.title)}. Drag to zoom, double click for all.</p>"
    yield _pieces(found, charts)


def tiles(simulation: Simulation, charts: Charts) -> Iterator[str]:
    """A map of every kind of unit that holds something."""
    for found in tile_maps(simulation.mapping, simulation.architecture, TILES):
        yield f"<p>{text(found.title)}</p>"
        yield _tiles(found, charts)


def _overview(simulation: Simulation, part: RunPart, charts: Charts) -> str:
    end_s = ps_to_seconds(simulation.run.makespan_ps)
    factor, prefix = prefix_of(end_s)
    kinds = shares(simulation)
    names, width = list(kinds)[::-1], end_s / BINS
    told = [
        [
            charts.point(unit, [f"{i * width:.6g} s", f"{(i + 1) * width:.6g} s", repr(float(v))])
            for i, v in enumerate(kinds[unit].tolist())
        ]
        for unit in names
    ]
    trace = {
        "type": "heatmap", "z": [kinds[unit].tolist() for unit in names],
        "x": [(i + 0.5) * width / factor for i in range(BINS)], "y": [text(n) for n in names],
        "customdata": told, "hoverinfo": "none", "zmin": 0, "zmax": 1, "colorscale": "Cividis",
        "colorbar": {"thickness": 10, "title": {"text": "share"}},
    }  # fmt: skip
    scale = factor * PS_PER_S
    frame = {
        "type": "rect", "x0": part.start_ps / scale, "x1": part.end_ps / scale, "y0": 0, "y1": 1,
        "yref": "paper", "line": {"width": 2, "color": LINES[1]},
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": f"time ({prefix}s)"}}, "yaxis": {"automargin": True},
        "height": 110 + 22 * len(names), "margin": {"l": 10, "r": 10, "t": 10, "b": 40},
        "shapes": [frame], "hovermode": "closest",
    }  # fmt: skip
    return charts.add([trace], layout, ["from", "to", "share at work"])


def _pieces(found: Timeline, charts: Charts) -> str:
    part = found.part
    factor, prefix = prefix_of(ps_to_seconds(part.end_ps))
    scale = factor * PS_PER_S
    by_unit: dict[str, dict[str, list[Any]]] = {}
    for piece in found.pieces:
        trace = by_unit.setdefault(piece.unit, {"base": [], "x": [], "y": [], "customdata": []})
        trace["base"].append(piece.start_ps / scale)
        trace["x"].append((piece.end_ps - piece.start_ps) / scale)
        trace["y"].append(-piece.lane)
        named = f"{piece.unit}: {piece.told['stage']} {piece.told['part']}"
        trace["customdata"].append(
            charts.point(named, [piece.told.get(key, "") for key in KEYS])
        )  # fmt: skip
    traces = [
        {
            "type": "bar", "orientation": "h", "name": text(unit), "width": 0.8,
            "hoverinfo": "none", "marker": {"color": fill_of(unit).colour}, **values,
        }
        for unit, values in by_unit.items()
    ]  # fmt: skip
    views = found.views
    most = max(behind - first for first, behind in views)
    ticks = {-lane: end_of(name, NAME) for lane, name in enumerate(found.lanes) if name}
    layout = {
        "barmode": "overlay", "height": 130 + LANE * most, "hovermode": "closest",
        "xaxis": {"title": {"text": f"time ({prefix}s)"},
                  "range": [part.start_ps / scale, part.end_ps / scale]},
        "yaxis": {"tickvals": list(ticks), "ticktext": [text(name) for name in ticks.values()],
                  "fixedrange": True, "range": _range(*views[0]),
                  "tickfont": {"size": 10}},
        "margin": {"l": 150, "r": 10, "t": 30, "b": 60 if len(views) > 1 else 40},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    }  # fmt: skip
    if len(views) > 1:
        layout["updatemenus"] = [_menu(views, len(found.lanes))]
    return charts.add(traces, layout, KEYS)


def _range(first: int, behind: int) -> list[float]:
    """The axis from one lane to the one before another, from the top."""
    return [0.6 - behind, 0.6 - first]


def _menu(views: list[tuple[int, int]], lanes: int) -> dict[str, Any]:
    """What leafs through lanes, some at a time."""
    return {
        "type": "dropdown", "direction": "up", "x": 1, "xanchor": "right", "y": 0,
        "yanchor": "top", "pad": {"t": 24},
        "bgcolor": GREY, "font": {"color": BLACK},
        "buttons": [
            {"method": "relayout", "label": text(f"lanes {first + 1} to {behind} of {lanes}"),
             "args": [{"yaxis.range": _range(first, behind)}]}
            for first, behind in views
        ],
    }  # fmt: skip


def _tiles(found: TileMap, charts: Charts) -> str:
    across = columns_of(found.length)
    down = -(-found.length // across)
    z: list[list[int | None]] = [[None] * across for _ in range(down)]
    told: list[list[str | None]] = [[None] * across for _ in range(down)]
    for tile in found.tiles:
        row, column = divmod(tile.first // found.each, across)
        z[row][column] = tile.group
        last = tile.first + found.each
        name = f"{found.unit} {tile.first + 1}" + f" to {last}" * (found.each > 1)
        held = ", ".join(f"{what} {share:.0%}" for what, share in tile.held[:4])
        more = len(tile.held) - 4
        held += f", {more} more" if more > 0 else ""
        told[row][column] = charts.point(name, [held, repr(tile.filled)])
    count = len(found.groups)
    colours = tile_colours(found.groups)
    steps = [[edge / count, c] for i, c in enumerate(colours) for edge in (i, i + 1)]
    trace = {
        "type": "heatmap", "z": z, "customdata": told, "hoverinfo": "none", "hoverongaps": False,
        "zmin": -0.5, "zmax": count - 0.5, "colorscale": steps, "showscale": False,
        "xgap": 1, "ygap": 1,
    }  # fmt: skip
    keys = [
        {"type": "scatter", "x": [None], "y": [None], "mode": "markers", "name": text(name),
         "marker": {"color": colour, "symbol": "square", "size": 10}, "showlegend": True,
         "hoverinfo": "skip"}
        for name, colour in zip(found.groups, colours, strict=True)
    ]  # fmt: skip
    hidden = {"visible": False}
    layout = {
        "xaxis": hidden, "yaxis": hidden | {"autorange": "reversed"},
        "height": 60 + 24 * count + min(420, 12 * down), "hovermode": "closest",
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10}, "showlegend": True,
        "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
    }  # fmt: skip
    return charts.add([trace, *keys], layout, ["holds", "share of cells in use"])
