"""Many tasks on one machine as a page: what switching costs, strategy by strategy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cimsim.files import write_text
from cimsim.serving.result import BreakEven, StrategyResult, Switching
from cimsim.spec import Architecture
from cimsim.units import quantity
from cimsim.version import VERSION
from cimsim.views.pages import parts
from cimsim.views.pages.charts import Charts, Mark, Scale
from cimsim.views.pages.document import document, table, text
from cimsim.views.pages.parts import known, numbers, row, section

CROSSINGS = 40
"""Choice: break-even points in the table; switch.json has all."""


_BESIDE = (
    "<p>No GPU stands beside: what one takes to change tasks between requests is not modelled. "
    "Nor is there a band: ranges are folded over a run, not over a stream of requests. A request "
    "alone has both on the page of <code>cimsim run --baseline GPU --html FILE</code>.</p>"
)


def save_switching_page(found: Switching, machine: Architecture, path: Path) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, switching_page(found, machine))


def switching_page(found: Switching, machine: Architecture) -> str:
    """The page of a study on `machine` as text: one HTML file that needs no network."""
    charts = Charts()
    requests = found.strategies[0].requests
    told = f"{found.tasks} tasks, {requests} requests, {', '.join(found.workloads)}, cimsim"
    made = [
        f"<p>{text(f'{told} {VERSION}')}</p>",
        *section("Result", _headline(found)),
        *section("Beside a GPU, and how sure it is", [_BESIDE]),
        *section("Energy as requests come", _curves(found, charts)),
        *section("Where strategies cross", _crossings(found.break_even)),
        *section("Where energy goes", _energies(found, charts)),
        *section("Time of a request", _times(found)),
        *section("Switches", _switches(found)),
        *section("Lifetime by endurance", _lifetimes(found)),
        *section("Beside the base model", _beside(found)),
        *section(
            "Left out", (f"<p>{text(f'{n}: {why}')}</p>" for n, why in found.left_out.items())
        ),
        *section("What to look out for", parts.notes(found.notes)),
        *section("What differs from the files", parts.changes(found.changes)),
        *parts.assumed(found.assumed, parts.ranges_of(machine)),
        *parts.inputs(found.inputs),
    ]
    return document(f"{found.scenario} on {found.architecture}", made, charts.scene)


def _headline(found: Switching) -> Iterator[str]:
    rows = [
        numbers(
            one.strategy,
            [
                known(one.energy_J / one.requests, "J"), known(one.energy_J, "J"),
                known(one.latency.p95_s, "s"), known(one.switching_s, "s"),
                known(one.switches), known(one.extra_area_mm2, "mm2"),
                known(one.hottest_wear),
            ],
        )
        for one in found.strategies
    ]  # fmt: skip
    heads = ["strategy", "energy a request", "energy", "95 % of requests within",
             "lost to switches", "switches", "area added", "endurance used"]  # fmt: skip
    yield table(heads, rows)


def _curves(found: Switching, charts: Charts) -> Iterator[str]:
    """Lines of cumulative energy over requests, from the first one on."""
    lines = {
        one.strategy: [
            Mark(
                float(point.requests), point.energy_J,
                {"requests": repr(point.requests), "switches": repr(point.switches),
                 "energy": f"{point.energy_J!r} J"},
            )
            for point in one.curve
            if point.requests and point.energy_J > 0
        ]
        for one in found.strategies
    }  # fmt: skip
    drawn = {name: marks for name, marks in lines.items() if marks}
    if drawn:
        yield charts.lines(
            drawn, Scale("requests", log=True), Scale("energy, setup included (J)", log=True)
        )


def _crossings(found: tuple[BreakEven, ...]) -> Iterator[str]:
    rows = [
        row(
            f"{one.second} costs less than {one.first}", f"{one.requests:.4g} requests",
            f"{one.switches:.4g} switches", quantity(one.energy_J, "J"),
            "beyond the stream" if one.extrapolated else "", exact=repr(one.requests),
        )
        for one in found[:CROSSINGS]
    ]  # fmt: skip
    if rows:
        yield table(["", "after", "or", "at", ""], rows)
    if more := len(found) - len(rows):
        yield f"<p>{more} further break-even points: switch.json</p>"


def _energies(found: Switching, charts: Charts) -> Iterator[str]:
    def of(one: StrategyResult) -> dict[str, float]:
        loading = one.load_energy_J
        named = {
            "inference": one.inference_energy_J, "loading": loading,
            "writing": one.switch_energy_J - loading, "leakage, switches": one.switching_leakage_J,
            "leakage, idle": one.idle_leakage_J,
        }  # fmt: skip
        return {name: energy for name, energy in named.items() if energy > 0}

    parts_of = {one.strategy: of(one) for one in found.strategies}
    yield charts.side_by_side("energy of the stream", parts_of, "J", stacked=True)


def _times(found: Switching) -> Iterator[str]:
    rows = [
        numbers(
            one.strategy,
            [known(one.inference_s, "s"), *(known(value, "s") for value in _latencies(one))],
        )
        for one in found.strategies
    ]
    yield table(["strategy", "alone", "mean", "50 %", "95 %", "99 %", "longest"], rows)


def _latencies(one: StrategyResult) -> tuple[float, ...]:
    late = one.latency
    return late.mean_s, late.p50_s, late.p95_s, late.p99_s, late.max_s


def _switches(found: Switching) -> Iterator[str]:
    amounts = list(dict.fromkeys(
        name for one in found.strategies for name, amount in one.written.items() if amount
    ))  # fmt: skip
    rows = [
        numbers(
            one.strategy,
            [
                known(one.switch_energy_J, "J"), known(one.dram_bytes_loaded, "B"),
                *(known(one.written.get(name, 0)) for name in amounts),
                known(one.hottest_pulses), known(one.moves), known(one.places),
            ],
        )
        for one in found.strategies
    ]  # fmt: skip
    spoken = [name.removesuffix("_written").replace("_", " ") for name in amounts]
    heads = ["strategy", "energy", "DRAM loaded", *map(text, spoken), "pulses of the hottest cell",
             "moves (levelling)", "places in turn"]  # fmt: skip
    yield table(heads, rows)


def _lifetimes(found: Switching) -> Iterator[str]:
    cycles = [f"{life.endurance_cycles:.3g} pulses" for life in found.strategies[0].lifetimes]
    rows = [
        numbers(
            one.strategy,
            [("no wear", "") if life.years is None else known(life.years, "y")
             for life in one.lifetimes],
        )
        for one in found.strategies
    ]  # fmt: skip
    if cycles:
        yield "<p>At this rate of requests, by what a cell stands.</p>"
        yield table(["strategy", *cycles], rows)


def _beside(found: Switching) -> Iterator[str]:
    base = found.base
    costs = f"{quantity(base.latency_s, 's')}, {quantity(base.energy_J, 'J')} a request"
    yield f"<p>{text(f'base model: {costs}, {base.area_used_mm2:.4g} mm2')}</p>"
    rows = [
        numbers(
            one.strategy,
            [known(one.task_bits), known(one.extra_area_mm2, "mm2"), known(one.setup_energy_J, "J"),
             known(one.latency_overhead_ratio), known(one.energy_overhead_ratio)],
        )
        for one in found.strategies
    ]  # fmt: skip
    yield table(["strategy", "bits of a task", "area", "setup", "time, x", "energy, x"], rows)
