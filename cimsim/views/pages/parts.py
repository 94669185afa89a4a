"""What pages have in common: sections, rows with exact values, bands, GPUs, assumed numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cimsim.report import Baseline, Report
from cimsim.report.bands import Band, Sensitivity
from cimsim.report.parts import Reprogramming
from cimsim.spec import Architecture
from cimsim.units import quantity
from cimsim.values.history import Change
from cimsim.views.pages.document import listed, table, text

WRAPPED = 60
"""Choice: characters of a text that stands on one line in a table; a longer one is wrapped."""


def section(title: str, parts: Iterable[str]) -> Iterator[str]:
    """A heading and what stands below it; nothing where that is nothing."""
    found = list(parts)
    if found:
        yield f"<h2>{text(title)}</h2>"
        yield from found


def folded(title: str, parts: Iterable[str]) -> Iterator[str]:
    """A section that opens when its heading is clicked."""
    found = list(section(title, parts))
    if found:
        yield f"<details><summary>{found[0]}</summary>"
        yield from found[1:]
        yield "</details>"


def row(*cells: str, exact: str = "") -> str:
    """A row of texts; the second has `exact` as what hovering tells."""
    made = [f"<td>{text(cells[0])}</td>"]
    made.append(f'<td class="number" title="{text(exact)}">{text(cells[1])}</td>')
    looks = (' class="long"' * (len(cell) > WRAPPED) for cell in cells[2:])
    made += [f"<td{look}>{text(cell)}</td>" for look, cell in zip(looks, cells[2:], strict=True)]
    return f"<tr>{''.join(made)}</tr>"


def numbers(first: str, cells: Sequence[tuple[str, str]]) -> str:
    """A row of a text and numbers, each with its exact value as what hovering tells."""
    made = [
        f'<td class="number" title="{text(exact)}">{text(read)}</td>' for read, exact in cells
    ]  # fmt: skip
    return f"<tr><td>{text(first)}</td>{''.join(made)}</tr>"


def known(value: float | None, unit: str = "") -> tuple[str, str]:
    """A number as people read it, and as it is stored."""
    if value is None:
        return "-", ""
    if isinstance(value, int):
        return f"{value:,} {unit}".rstrip(), repr(value)
    if unit in ("s", "J"):
        return quantity(value, unit), repr(value)
    return f"{value:.4g} {unit}".rstrip(), repr(value)


def share(value: float) -> tuple[str, str]:
    """A part of a whole, or what comes on top of one."""
    return f"{value:.1%}", repr(value)


def beside(*charts: str) -> str:
    """Charts next to each other where there is room."""
    return f'<div class="pairs">{"".join(charts)}</div>'


def notes(found: Iterable[str]) -> Iterator[str]:
    """What to look out for."""
    yield from (f"<p>{text(note)}</p>" for note in found)


def band_of(report: Report, name: str) -> Band | None:
    """The band of a result of a report, if it has one."""
    bands = () if report.bands is None else report.bands.bands
    return next((band for band in bands if band.name == name), None)


def between(band: Band | None, unit: str) -> tuple[str, str]:
    """A band in words, and the numbers that make it."""
    if band is None:
        return "", ""
    return f"{quantity(band.low, unit)} to {quantity(band.high, unit)}", ", ".join(band.makers)


def results(report: Report) -> Iterator[str]:
    """Latency and energy of a run with their bands, and what the bands are of."""
    rows = []
    for name, value, unit in (
        ("latency", report.latency_s, "s"),
        ("energy", report.energy_J, "J"),
    ):
        band = band_of(report, f"{name}_{unit}")
        rows.append(row(name, quantity(value, unit), *between(band, unit), exact=repr(value)))
    used, built = report.area_used_mm2, f"of {report.area_mm2:.4g} mm2 built"
    rows.append(row("area in use", f"{used:.4g} mm2", built, "", exact=repr(used)))
    yield table(["", "value", "5 to 95 %", "most by"], rows)
    yield how_sure(report.bands)


def gpus(report: Report) -> Iterator[str]:
    """The GPUs beside a run, if there are any."""
    if report.baselines:
        yield table(GPU_HEADS, [gpu(name, found) for name, found in report.baselines.items()])


def how_sure(bands: Sensitivity | None) -> str:
    """What a band is of, or how to get one."""
    if bands is None:
        return "<p>No band: the run was made without one (--band).</p>"
    return f"<p>Over the ranges of {bands.varied} numbers; {bands.held}.</p>"


def gpu(name: str, found: Baseline) -> str:
    """A GPU beside a report, as a row of `GPU_HEADS`."""
    like = "" if found.like_for_like else " (not like for like)"
    verdict = ", ".join(f"{key}: {value}" for key, value in found.verdict.items())
    ratios = (
        "-" if value is None else f"{value:.4g}"
        for value in (found.latency_ratio, found.energy_ratio)
    )
    times = quantity(found.latency_s, "s"), quantity(found.energy_J, "J")
    return row(f"{name}{like}", *times, *ratios, verdict, exact=repr(found.latency_s))


GPU_HEADS = ["", "latency", "energy", "machine is faster by", "and takes less energy by", "verdict"]


def writes(found: Mapping[str, Reprogramming]) -> str:
    """What writing costs, a row for each occasion."""
    rows = [
        row(
            name, quantity(cost.energy_J, "J"), quantity(cost.time_s, "s"),
            f"{cost.cells_written:,.0f}", f"{cost.wear:.2g}", exact=repr(cost.energy_J),
        )
        for name, cost in found.items()
    ]  # fmt: skip
    return table(["", "energy", "time", "cells", "wear"], rows)


def changes(found: Iterable[Change]) -> Iterator[str]:
    """Values that are others than in the files."""
    told = {c.field: f"{c.new}, was {c.old} ({c.why})" for c in found}
    if told:
        yield listed(told)


def ranges_of(machine: Architecture | None, bands: Sensitivity | None = None) -> dict[str, str]:
    """Field path -> range in words, of the machine and of bands that were folded over it."""
    found: dict[str, str] = {}
    for band in () if bands is None else bands.bands:
        found |= {effect.path: effect.span for effect in band.effects}
    if machine is not None:
        found |= {path: f"{low:g} to {high:g}" for path, (low, high, _) in machine.ranges.items()}
    return found


def assumed_table(found: Mapping[str, str], ranges: Mapping[str, str]) -> Iterator[str]:
    """Every assumed number with its range and why."""
    rows = [
        f"<tr><td><code>{text(path)}</code></td><td>{text(ranges.get(path, ''))}</td>"
        f'<td class="long">{text(why)}</td></tr>'
        for path, why in found.items()
    ]
    if rows:
        yield table(["field", "range", "why"], rows)


def assumed(found: Mapping[str, str], ranges: Mapping[str, str]) -> Iterator[str]:
    """The section of assumed numbers, folded."""
    yield from folded(f"{len(found)} assumed numbers", assumed_table(found, ranges))


def inputs_table(found: Mapping[str, object]) -> Iterator[str]:
    """What results were made from, with digests."""
    if found:
        yield listed(found)


def inputs(found: Mapping[str, object]) -> Iterator[str]:
    """The section of what results were made from."""
    yield from section("Inputs", inputs_table(found))
