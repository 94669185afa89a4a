"""A run as a page: how fast and how sure, beside a GPU, what bounds it, where energy goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cimsim.files import write_text
from cimsim.report import Report
from cimsim.report.bands import MAKERS
from cimsim.simulation import Simulation
from cimsim.units import quantity
from cimsim.version import VERSION
from cimsim.views.pages import parts
from cimsim.views.pages.charts import Charts
from cimsim.views.pages.document import document, table, text
from cimsim.views.pages.measured import headline as accuracy_headline
from cimsim.views.pages.measured import points as accuracy_points
from cimsim.views.pages.parts import row, section
from cimsim.views.pages.working import tiles, timeline
from cimsim.views.palette import SKY
from cimsim.views.part import RunPart
from cimsim.views.simulation import title_of

LAYERS = 25
"""Choice: layers in the table of a page; `layers.csv` has all."""


def save_run_page(
    report: Report, path: Path, simulation: Simulation | None = None, part: RunPart | None = None
) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, run_page(report, simulation, part))


def run_page(
    report: Report, simulation: Simulation | None = None, part: RunPart | None = None
) -> str:
    """The page of a report as text: one HTML file that needs no network.

    With its simulation it has a timeline (of `part` if that is given) and maps of tiles.
    """
    charts = Charts()
    machine = None if simulation is None else simulation.architecture
    made = [
        f"<p>{text(f'{report.mapper}, {report.accounting} accounting, cimsim {VERSION}')}</p>",
        *section("Result", parts.results(report)),
        *section("Beside a GPU", parts.gpus(report)),
        *section("Phases", _phases(report)),
        *section("What bounds it", _bounds(report)),
        *section("Energy", _energy(report, charts)),
        *section("Area and time", _area(report, charts)),
        *section("Layers that take most energy", _layers(report)),
        *_at_work(simulation, part, charts),
        *section("Writing weights", _writes(report)),
        *section("Accuracy", _accuracy(report, charts)),
        *section("What differs from the files", parts.changes(report.changes)),
        *section("What to look out for", parts.notes(report.notes)),
        *parts.assumed(report.assumed, parts.ranges_of(machine, report.bands)),
        *parts.inputs(report.inputs),
    ]
    return document(title_of(report), made, charts.scene)


def _at_work(simulation: Simulation | None, part: RunPart | None, charts: Charts) -> Iterator[str]:
    if simulation is not None:
        yield from section("Timeline", timeline(simulation, part, charts))
        yield from section("Tile map", tiles(simulation, charts))


def _phases(report: Report) -> Iterator[str]:
    rows = [
        row(
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
            row(name, quantity(found.latency_s, "s"), path, *bounds, exact=repr(found.latency_s))
        )
    yield table(["", "latency", "critical path", "busiest unit", "longest chain"], rows)


def _energy(report: Report, charts: Charts) -> Iterator[str]:
    yield parts.beside(
        charts.bars("energy by unit", report.energy_by_unit_J, "J"),
        charts.bars("energy by kind of work", report.energy_by_kind_J, "J", color=SKY),
    )


def _area(report: Report, charts: Charts) -> Iterator[str]:
    busy = {unit: times.busy_s for unit, times in report.unit_times.items()}
    yield parts.beside(
        charts.bars("area in use by unit", report.area_used_by_unit_mm2, "mm2"),
        charts.bars("busy time of a unit, mean", busy, "s"),
    )


def _layers(report: Report) -> Iterator[str]:
    if report.bounds is None:
        return
    energies: dict[str, float] = {}
    for entry in report.bounds.layers:
        name = entry.layer or "(of no layer)"
        energies[name] = energies.get(name, 0.0) + entry.energy_J
    most = sorted(energies, key=lambda name: -energies[name])[:LAYERS]
    rows = [
        row(
            name, quantity(energies[name], "J"), f"{energies[name] / report.energy_J:.2%}",
            exact=repr(energies[name]),
        )
        for name in most
    ]  # fmt: skip
    yield table(["", "energy", "share"], rows)


def _writes(report: Report) -> Iterator[str]:
    reloads = {} if report.reloads is None else {"reloads of a run": report.reloads}
    yield parts.writes({
        "first programming": report.reprogramming,
        "adapter switch": report.reprogramming.adapter_switch,
        **reloads,
    })  # fmt: skip


def _accuracy(report: Report, charts: Charts) -> Iterator[str]:
    if report.accuracy is not None:
        yield accuracy_headline([report.accuracy])
        yield from accuracy_points([report.accuracy], charts)
