"""A run as a page: how fast and how sure, beside a GPU, what bounds it, where energy goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cimsim.files import write_text
from cimsim.report import Baseline, Report
from cimsim.report.parts import Reprogramming
from cimsim.units import quantity
from cimsim.values.display import brief
from cimsim.values.plaintext import literal
from cimsim.version import VERSION
from cimsim.views.pages.document import document, listed, table, text
from cimsim.views.palette import SKY, fill_of
from cimsim.views.simulation import title_of

LAYERS = 25
"""Choice: layers in the table of a page; `layers.csv` has all."""
MAKERS = 3
"""Choice: numbers named as the reasons of a band."""
PIXELS, ROW = 90, 26
"""Choice: height (pixels) of a chart without bars, and of each bar."""


@brief
@dataclass
class _Charts:
    """Charts of a page, and the exact value behind every bar."""

    charts: list[dict[str, Any]] = field(default_factory=list)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)

    def bars(self, name: str, values: Mapping[str, float], unit: str, **more: Any) -> str:
        """A chart of horizontal bars, the largest on top; returns the element it is drawn into."""
        number = len(self.charts)
        names = sorted((key for key, value in values.items() if value > 0), key=values.__getitem__)
        total = sum(values[key] for key in names)
        told = [f"{number}/{place}" for place in range(len(names))]
        for point, key in zip(told, names, strict=True):
            share = f"{values[key] / total:.2%}"
            self.points[point] = {
                "name": f"{name}: {literal(key)}",
                "values": [f"{values[key]!r} {unit}", quantity(values[key], unit), share],
            }
        trace = {
            "type": "bar", "orientation": "h", "x": [values[key] for key in names],
            "y": [text(key) for key in names], "customdata": told,
            "marker": {"color": [fill_of(key).colour for key in names], **more},
            "hoverinfo": "none",
            "text": [f"{values[key] / total:.1%}" for key in names], "textposition": "auto",
        }  # fmt: skip
        axis = {"title": {"text": f"{name} ({unit})"}, "automargin": True, "exponentformat": "SI"}
        layout = {
            "height": PIXELS + ROW * len(names), "xaxis": axis, "showlegend": False,
            "yaxis": {"automargin": True, "type": "category"}, "hovermode": "closest",
            "margin": {"l": 10, "r": 10, "t": 10, "b": 40},
        }  # fmt: skip
        self.charts.append({"data": [trace], "layout": layout})
        return f'<div id="chart-{number}"></div>'


def save_run_page(report: Report, path: Path) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, run_page(report))


def run_page(report: Report) -> str:
    """The page of a report as text: one HTML file that needs no network."""
    charts = _Charts()
    parts = [
        f"<p>{text(f'{report.mapper}, {report.accounting} accounting, cimsim {VERSION}')}</p>",
        *_section("Result", _headline(report)),
        *_section("Beside a GPU", _gpus(report)),
        *_section("Phases", _phases(report)),
        *_section("What bounds it", _bounds(report)),
        *_section("Energy", _energy(report, charts)),
        *_section("Area and time", _area(report, charts)),
        *_section("Layers that take most energy", _layers(report)),
        *_section("Writing weights", _writes(report)),
        *_section("Accuracy", _accuracy(report)),
        *_section("What differs from the files", _changes(report)),
        *_section("What to look out for", (f"<p>{text(note)}</p>" for note in report.notes)),
        *_folded(f"{len(report.assumed)} assumed numbers", _assumed(report)),
        *_section("Inputs", [listed(report.inputs)]),
    ]
    scene = {"keys": ["exact", "read", "share"], "points": charts.points, "charts": charts.charts}
    return document(title_of(report), parts, scene)


def _section(title: str, parts: Iterable[str]) -> Iterator[str]:
    """A heading and what stands below it; nothing where that is nothing."""
    found = list(parts)
    if found:
        yield f"<h2>{text(title)}</h2>"
        yield from found


def _folded(title: str, parts: Iterable[str]) -> Iterator[str]:
    """A section that opens when its heading is clicked."""
    found = list(_section(title, parts))
    if found:
        yield f"<details><summary>{found[0]}</summary>"
        yield from found[1:]
        yield "</details>"


def _headline(report: Report) -> Iterator[str]:
    bands = {} if report.bands is None else {band.name: band for band in report.bands.bands}
    rows = []
    for name, value, unit in (
        ("latency_s", report.latency_s, "s"),
        ("energy_J", report.energy_J, "J"),
    ):
        band = bands.get(name)
        between, makers = "", ""
        if band is not None:
            between = f"{quantity(band.low, unit)} to {quantity(band.high, unit)}"
            makers = ", ".join(f"{e.path} {e.low:g} to {e.high:g}" for e in band.effects[:MAKERS])
        label = "latency" if unit == "s" else "energy"
        rows.append(_row(label, quantity(value, unit), between, makers, exact=repr(value)))
    used = f"{report.area_used_mm2:.4g} mm2 of {report.area_mm2:.4g} mm2 built"
    rows.append(_row("area in use", used, "", "", exact=repr(report.area_used_mm2)))
    yield table(["", "value", "5 to 95 %", "most by"], rows)
    if report.bands is None:
        yield "<p>No band: the run was made without one (--band).</p>"
    else:
        held = len(report.bands.without_range)
        yield (
            f"<p>Over the ranges of {report.bands.varied} numbers"
            f"{', times held' if report.bands.times_held else ''}; {held} of {report.bands.assumed}"
            " assumed numbers have no range and were held.</p>"
        )


def _row(*cells: str, exact: str = "") -> str:
    """A row of texts; the second has `exact` as what hovering tells."""
    made = [f"<td>{text(cells[0])}</td>"]
    made.append(f'<td class="number" title="{text(exact)}">{text(cells[1])}</td>')
    made += [f"<td>{text(cell)}</td>" for cell in cells[2:]]
    return f"<tr>{''.join(made)}</tr>"


def _gpus(report: Report) -> Iterator[str]:
    if not report.baselines:
        return
    rows = [_gpu(name, found) for name, found in report.baselines.items()]
    heads = ["", "latency", "energy", "machine is faster by", "and takes less energy by"]
    yield table([*heads, "verdict"], rows)


def _gpu(name: str, found: Baseline) -> str:
    like = "" if found.like_for_like else " (not like for like)"
    verdict = ", ".join(f"{key}: {value}" for key, value in found.verdict.items())
    ratios = (
        "-" if value is None else f"{value:.4g}"
        for value in (found.latency_ratio, found.energy_ratio)
    )
    times = quantity(found.latency_s, "s"), quantity(found.energy_J, "J")
    return _row(f"{name}{like}", *times, *ratios, verdict, exact=repr(found.latency_s))


def _phases(report: Report) -> Iterator[str]:
    rows = [
        _row(
            name, quantity(phase.latency_s, "s"), quantity(phase.energy_J, "J"),
            str(phase.tokens), f"{phase.tokens_per_s:.4g}", exact=repr(phase.latency_s),
        )
        for name, phase in report.phases.items()
    ]  # fmt: skip
    yield table(["", "latency", "energy", "tokens", "tokens/s"], rows)


def _bounds(report: Report) -> Iterator[str]:
    if report.bounds is None:
        return
    rows = []
    for name, found in report.bounds.phases.items():
        path = ", ".join(
            f"{unit} {time / found.latency_s:.0%}"
            for unit, time in sorted(found.by_unit_s.items(), key=lambda item: -item[1])[:MAKERS]
            if found.latency_s
        )
        bounds = (
            "-" if bound is None else f"{quantity(bound.time_s, 's')} ({bound.name})"
            for bound in (found.busiest, found.chain)
        )
        rows.append(
            _row(name, quantity(found.latency_s, "s"), path, *bounds, exact=repr(found.latency_s))
        )
    yield table(["", "latency", "critical path", "busiest unit", "longest chain"], rows)


def _energy(report: Report, charts: _Charts) -> Iterator[str]:
    drawn = [
        charts.bars("energy by unit", report.energy_by_unit_J, "J"),
        charts.bars("energy by kind of work", report.energy_by_kind_J, "J", color=SKY),
    ]
    yield f'<div class="pairs">{"".join(drawn)}</div>'


def _area(report: Report, charts: _Charts) -> Iterator[str]:
    busy = {unit: times.busy_s for unit, times in report.unit_times.items()}
    drawn = [
        charts.bars("area in use by unit", report.area_used_by_unit_mm2, "mm2"),
        charts.bars("busy time of a unit, mean", busy, "s"),
    ]
    yield f'<div class="pairs">{"".join(drawn)}</div>'


def _layers(report: Report) -> Iterator[str]:
    if report.bounds is None:
        return
    energies: dict[str, float] = {}
    for entry in report.bounds.layers:
        name = entry.layer or "(of no layer)"
        energies[name] = energies.get(name, 0.0) + entry.energy_J
    most = sorted(energies, key=lambda name: -energies[name])[:LAYERS]
    rows = [
        _row(
            name, quantity(energies[name], "J"), f"{energies[name] / report.energy_J:.2%}",
            exact=repr(energies[name]),
        )
        for name in most
    ]  # fmt: skip
    yield table(["", "energy", "share"], rows)


def _writes(report: Report) -> Iterator[str]:
    found: dict[str, Reprogramming] = {
        "first programming": report.reprogramming,
        "adapter switch": report.reprogramming.adapter_switch,
    }
    rows = [
        _row(
            name, quantity(cost.energy_J, "J"), quantity(cost.time_s, "s"),
            f"{cost.cells_written:,.0f}", f"{cost.wear:.2g}", exact=repr(cost.energy_J),
        )
        for name, cost in found.items()
    ]  # fmt: skip
    yield table(["", "energy", "time", "cells", "wear"], rows)


def _accuracy(report: Report) -> Iterator[str]:
    found = report.accuracy
    if found is None:
        return
    unit = " %" if found.metric == "accuracy" else ""
    yield (
        f"<p>{text(found.task)}, {text(found.model)}: digital {found.digital:.4g}{unit}; "
        f"{found.draws} chips, {found.examples} of {found.examples_available} examples</p>"
    )
    rows = []
    for result in found.by_noise:
        for at in result.by_time:
            spread = "-" if at.std is None else f"{at.std:.3g}"
            interval = at.confidence_95
            between = "-" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
            compensated = "yes" if at.compensated else "no"
            rows.append(
                _row(
                    result.noise, f"{at.mean:.4g}{unit}", spread, between, quantity(at.t_s, "s"),
                    compensated, exact=repr(at.mean),
                )
            )  # fmt: skip
    heads = ["noise", "mean", "standard deviation", "95 % of the mean", "after", "compensated"]
    yield table(heads, rows)


def _changes(report: Report) -> Iterator[str]:
    if report.changes:
        yield listed({c.field: f"{c.new}, was {c.old} ({c.why})" for c in report.changes})


def _assumed(report: Report) -> Iterator[str]:
    ranges: dict[str, str] = {}
    for band in () if report.bands is None else report.bands.bands:
        ranges |= {effect.path: f"{effect.low:g} to {effect.high:g}" for effect in band.effects}
    rows = [
        f"<tr><td><code>{text(path)}</code></td><td>{text(ranges.get(path, ''))}</td>"
        f'<td class="long">{text(why)}</td></tr>'
        for path, why in report.assumed.items()
    ]
    if rows:
        yield table(["field", "range", "why"], rows)
