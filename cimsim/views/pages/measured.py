"""Accuracy of a task on the chips of a machine as a page: how much is lost, to what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cimsim.files import write_text
from cimsim.report import Accuracy, AccuracyPoint, AccuracyReport
from cimsim.report.accuracy import PairedAccuracy
from cimsim.spec import Architecture
from cimsim.units import quantity
from cimsim.version import VERSION
from cimsim.views.accuracy import (
    Against,
    against,
    half_95,
    held,
    is_joined,
    lines_of,
    names_across,
    short_time,
    title_across,
    title_up,
)
from cimsim.views.pages import parts
from cimsim.views.pages.charts import Charts, Mark, Scale
from cimsim.views.pages.document import document, table, text
from cimsim.views.pages.parts import known, numbers, row, section

_BESIDE = (
    "<p>A GPU computes the digital model and has its accuracy. Intervals are over chips and over "
    "the test set; there is no band, as the noise of a machine has no ranges. What a run takes, "
    "with a band and a GPU beside it, is on the page of "
    "<code>cimsim run --accuracy --baseline GPU --html FILE</code>.</p>"
)


def save_accuracy_page(report: AccuracyReport, machine: Architecture, path: Path) -> None:
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, accuracy_page(report, machine))


def accuracy_page(report: AccuracyReport, machine: Architecture) -> str:
    """The page of what was measured on `machine`, as text: one HTML file that needs no network."""
    charts, first = Charts(), report.results[0]
    made = [
        f"<p>{text(f'{report.workload}, cimsim {VERSION}')}</p>",
        *section("Result", [headline(report.results)]),
        *section("Beside a GPU, and how sure it is", [_BESIDE]),
        *section("Every point", points(report.results, charts)),
        *section("Beside the first, chip by chip", _paired(report.paired)),
        *section("Loading an adapter", _loading(report.results)),
        *section("Columns fitted anew", _fitted(report.results)),
        *section("What to look out for", parts.notes(_notes(report.results))),
        *section("What differs from the files", parts.changes(machine.changes)),
        *parts.assumed(machine.assumed(), parts.ranges_of(machine)),
        *parts.inputs({key: v for one in report.results for key, v in one.inputs.items()}),
    ]
    title = f"{first.task}: {first.model} on {report.architecture}"
    return document(title, made, charts.scene)


def headline(results: Sequence[Accuracy]) -> str:
    """A row for each adapter: digital, and the mean over chips under the first noise."""
    rows = []
    for result in results:
        unit = _unit(result)
        first = result.by_time[0]
        lost = result.digital - first.mean
        rows.append(
            row(
                _name(result), f"{first.mean:.4g}{unit}", _interval(first.confidence_95),
                f"{result.digital:.4g}{unit}", _interval(result.test_set_95),
                f"{lost if result.metric == 'accuracy' else -lost:+.3g}", result.noise,
                f"{result.draws}", f"{result.examples} of {result.examples_available}",
                exact=repr(first.mean),
            )
        )  # fmt: skip
    heads = ["", "mean over chips", "95 % of the mean", "digital", "95 % that its test set leaves",
             "lost", "noise", "chips", "examples"]  # fmt: skip
    return table(heads, rows)


def points(results: Sequence[Accuracy], charts: Charts) -> Iterator[str]:
    """Charts against noise, bits and time, where there are several, and all points as a table."""
    for kind in against(results[0]):
        yield _chart(results, kind, charts)
    yield (
        "<p>Bars: 95 % interval of the mean over chips (Student), none for fewer than three; "
        "dotted: the digital model.</p>"
    )
    yield table(
        ["", "mean", "after", "compensated", "95 % of the mean", "standard deviation", "noise",
         "saturated", "chips"],
        [_point(result, noise.label, at)
         for result in results for noise in result.by_noise for at in noise.by_time],
    )  # fmt: skip


def _chart(results: Sequence[Accuracy], kind: Against, charts: Charts) -> str:
    first = results[0]
    lines: dict[str, list[Mark]] = {}
    for result in results:
        for line, found in lines_of(result, kind):
            several = [_name(result)] * (len(results) > 1) + [line] * bool(line)
            name = ", ".join(several) or _name(result)
            lines[name] = [_mark(result, kind, x, point) for x, point in found]
    titles = filter(None, (title_across(first, kind), held(first, kind)))
    across = Scale(", ".join(titles), names=names_across(first, kind))
    levels = {
        "digital" if len(results) == 1 else f"digital, {_name(result)}": result.digital
        for result in results
    }  # fmt: skip
    joined = is_joined(first, kind)
    return charts.lines(lines, across, Scale(title_up(first)), joined=joined, levels=levels)


def _mark(result: Accuracy, kind: Against, x: float, point: AccuracyPoint) -> Mark:
    place = names_across(result, kind).get(x, f"{x!r}")
    head = {"noise": "noise", "bits": "ADC bits", "time": "after"}[kind]
    told = {
        head: f"{point.t_s!r} s" if kind == "time" else place,
        "mean": repr(point.mean), "standard deviation": repr(point.std),
        "95 % of the mean": repr(point.confidence_95),
        "compensated": "yes" if point.compensated else "no",
        "chips": ", ".join(map(repr, point.values)),
    }  # fmt: skip
    return Mark(x, point.mean, told, half_95(point))


def _point(result: Accuracy, noise: str, at: AccuracyPoint) -> str:
    spread = "-" if at.std is None else f"{at.std:.3g}"
    return row(
        _name(result), f"{at.mean:.4g}{_unit(result)}", short_time(at.t_s),
        "yes" if at.compensated else "no", _interval(at.confidence_95), spread, noise,
        f"{at.saturated_ratio:.2%}",
        ", ".join(f"{value:.4g}" for value in at.values), exact=repr(at.mean),
    )  # fmt: skip


def _paired(found: Sequence[PairedAccuracy]) -> Iterator[str]:
    if found:
        rows = [
            row(
                f"{line.other} - {line.base}", f"{line.difference:+.3g}",
                "-" if line.std is None else f"{line.std:.3g}", _interval(line.confidence_95),
                line.label, quantity(line.t_s, "s"), "yes" if line.compensated else "no",
                exact=repr(line.difference),
            )
            for line in found
        ]  # fmt: skip
        heads = ["", "mean difference", "standard deviation", "95 % of the mean", "noise", "after",
                 "compensated"]  # fmt: skip
        yield table(heads, rows)


def _loading(results: Sequence[Accuracy]) -> Iterator[str]:
    found = {_name(r): r.lora_reload for r in results if r.adapter is not None}
    if found:
        yield parts.writes(found)


def _fitted(results: Sequence[Accuracy]) -> Iterator[str]:
    rows = [
        numbers(
            _name(result),
            [known(fit.vectors), known(fit.energy_J, "J"), known(fit.time_s, "s"),
             known(fit.stored_bits), known(fit.area_mm2, "mm2")],
        )
        for result in results
        if (fit := result.recalibration) is not None
    ]  # fmt: skip
    if rows:
        yield table(["", "vectors", "energy", "time", "bits kept", "area"], rows)


def _notes(results: Sequence[Accuracy]) -> Iterator[str]:
    yield from dict.fromkeys(result.note for result in results if result.note)
    if any(not result.converters for result in results):
        yield "Noise on weights only: no converters, no clipping."


def _name(result: Accuracy) -> str:
    return result.adapter or result.model


def _unit(result: Accuracy) -> str:
    return " %" if result.metric == "accuracy" else ""


def _interval(found: tuple[float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:.4g} to {found[1]:.4g}"
