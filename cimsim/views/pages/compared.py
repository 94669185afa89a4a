"""Reports side by side as a page: numbers, ratios against the first, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cimsim.comparison import Comparison
from cimsim.files import write_text
from cimsim.report import Report
from cimsim.units import quantity
from cimsim.version import VERSION
from cimsim.views.pages import parts
from cimsim.views.pages.charts import Charts
from cimsim.views.pages.document import document, table, text
from cimsim.views.pages.measured import headline
from cimsim.views.pages.parts import known, numbers, row, section
from cimsim.views.simulation import title_of


def save_comparison_page(found: Comparison, path: Path) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, comparison_page(found))


def comparison_page(found: Comparison) -> str:
    """The page of a comparison as text: one HTML file that needs no network."""
    charts, reports = Charts(), found.reports
    named = {_name(number, report): report for number, report in enumerate(reports, 1)}
    made = [
        f"<p>{text(f'ratios are the first over each, cimsim {VERSION}')}</p>",
        *section("Results", _results(found, named)),
        *section("How sure they are", _bands(named)),
        *section("Beside a GPU", _gpus(named)),
        *section("What differs", _differs(found.differs)),
        *section("Time and energy", _charts(named, charts)),
        *section("Accuracy", _accuracy(named)),
        *(part for name, report in named.items() for part in _rest(name, report)),
    ]
    return document(f"{len(reports)} runs side by side", made, charts.scene)


def _name(number: int, report: Report) -> str:
    return f"{number}: {title_of(report)}"


def _results(found: Comparison, named: Mapping[str, Report]) -> Iterator[str]:
    rows = [
        numbers(
            name,
            [
                known(one["latency_s"], "s"), known(one["latency_ratio"]),
                known(one["energy_J"], "J"), known(one["energy_ratio"]),
                known(one["area_mm2"], "mm2"), known(one["area_used_mm2"], "mm2"),
                known(one["tiles_used"]), known(one["switch_energy_J"], "J"),
            ],
        )
        for name, one in zip(named, found.rows, strict=True)
    ]  # fmt: skip
    heads = ["", "latency", "x", "energy", "x", "area built", "area used", "tiles", "a switch"]
    yield table(heads, rows)


def _bands(named: Mapping[str, Report]) -> Iterator[str]:
    rows = []
    for name, report in named.items():
        for key, value, unit in (
            ("latency_s", report.latency_s, "s"), ("energy_J", report.energy_J, "J"),
        ):  # fmt: skip
            band = parts.band_of(report, key)
            if band is not None:
                rows.append(
                    row(name, quantity(value, unit), *parts.between(band, unit), exact=repr(value))
                )
    if rows:
        yield table(["", "value", "5 to 95 %", "most by"], rows)
    if without := [name for name, report in named.items() if report.bands is None]:
        yield f"<p>{text('no band, run without --band: ' + '; '.join(without))}</p>"


def _gpus(named: Mapping[str, Report]) -> Iterator[str]:
    for name, report in named.items():
        if report.baselines:
            yield f"<p>{text(name)}</p>"
            yield from parts.gpus(report)


def _differs(differs: Mapping[str, Sequence[object]]) -> Iterator[str]:
    if not differs:
        yield "<p>nothing differs between the runs</p>"
        return
    rows = [
        f"<tr><td>{text(key)}</td>"
        + "".join(f'<td class="long"><code>{text(_said(v))}</code></td>' for v in values)
        + "</tr>"
        for key, values in differs.items()
    ]
    count = len(next(iter(differs.values())))
    yield table(["", *map(str, range(1, count + 1))], rows)


def _said(value: object) -> str:
    return "-" if value is None else str(value)


def _charts(named: Mapping[str, Report], charts: Charts) -> Iterator[str]:
    phases = {
        name: {phase: found.latency_s for phase, found in report.phases.items()}
        for name, report in named.items()
    }
    energies = {name: _there(report.energy_by_unit_J) for name, report in named.items()}
    areas = {name: _there(report.area_used_by_unit_mm2) for name, report in named.items()}
    yield parts.beside(
        charts.side_by_side("latency by phase", phases, "s", stacked=True),
        charts.side_by_side("energy by unit", energies, "J", stacked=True),
        charts.side_by_side("area in use by unit", areas, "mm2", stacked=True),
    )


def _there(values: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in values.items() if value > 0}


def _accuracy(named: Mapping[str, Report]) -> Iterator[str]:
    for name, report in named.items():
        if report.accuracy is not None:
            yield f"<p>{text(name)}</p>"
            yield headline([report.accuracy])


def _rest(name: str, report: Report) -> Iterator[str]:
    """What is assumed in a run, and what it was made from."""
    ranges = parts.ranges_of(None, report.bands)
    yield from parts.folded(f"{name}: {len(report.assumed)} assumed numbers",
                            parts.assumed_table(report.assumed, ranges))  # fmt: skip
    yield from parts.folded(f"{name}: inputs", parts.inputs_table(report.inputs))
