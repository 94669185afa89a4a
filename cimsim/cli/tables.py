"""Terminal tables (rich)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from cimsim.cli.fit import units_told
from cimsim.cli.sheet import Sheet, show, styled
from cimsim.comparison import PAPER_MODE, verdict
from cimsim.mapping import Mapping
from cimsim.report import Accuracy, AccuracyReport, Baseline, PairedAccuracy, Report, Search
from cimsim.report.chosen import Candidate
from cimsim.units import quantity, ratio

AIMS = {"latency": "latency", "energy": "energy", "edp": "energy-delay product"}
"""What a search makes small, in words."""
TEXT_SHOWN = 60
"""Choice: candidates with a longer text are left to the report."""


def note(text: str) -> Text:
    """A line that says what to look out for."""
    return styled(("note:", "yellow"), f" {text}")


def print_report(report: Report) -> None:
    """The report as tables."""
    show(
        styled(
            (report.workload, "bold"), " on ", (report.architecture, "bold"),
            f": {report.pipeline}, {report.adaptation}, {report.mapper}, "
            f"{report.accounting} accounting",
        ),
        _phases(report), _units(report), _writes(report), *_dies(report),
    )  # fmt: skip
    if report.search is not None:
        show(_search(report.search))
    for name, baseline in _likest_first(report):
        show(_baseline(report, name, baseline))
        if baseline.decode:
            show(_decode(name, baseline))
    if report.accuracy is not None:
        show(_accuracy(report.accuracy))
    show(
        *(Text(f"{c.field}: {c.new}, was {c.old} ({c.why})") for c in report.changes),
        *(note(text) for text in report.notes),
        f"{len(report.assumed)} numbers of the architecture are assumed, not published: "
        "`cimsim check` lists them.",
    )


def _search(search: Search) -> Sheet:
    """What won, and the other candidates that have a short text, best first."""
    rows = search.candidates
    shown = [
        row for row in rows if row.pipeline == search.chosen or len(row.pipeline) <= TEXT_SHOWN
    ]
    rest = len(rows) - len(shown)
    table = Sheet(
        f"Pipelines tried by {search.asked}, of the least {AIMS[search.objective]} first",
        ("", "estimated", "energy", "simulated", "energy", ""), texts=(0, 5),
        caption=f"{rest} others, with a block for each shape, are in the report" if rest else "",
    )  # fmt: skip
    for row in shown:
        found = (
            (row.estimated_s, "s"), (row.estimated_J, "J"),
            (row.simulated_s, "s"), (row.simulated_J, "J"),
        )  # fmt: skip
        table.add(
            row.pipeline, *("-" if v is None else quantity(v, unit) for v, unit in found),
            "chosen" if row.pipeline == search.chosen else _verdict(row),
        )  # fmt: skip
    return table


def _verdict(row: Candidate) -> str:
    """Why a candidate was not chosen, where that is not its time."""
    return f"same as {row.same_as}" if row.same_as else row.problem


def _phases(report: Report) -> Sheet:
    columns = ("", "tokens", "latency", "tokens/s", "energy", "energy/token")
    table = Sheet("Phases", columns)
    for name, phase in report.phases.items():
        table.add(
            name,
            str(phase.tokens),
            quantity(phase.latency_s, "s"),
            f"{phase.tokens_per_s:.4g}",
            quantity(phase.energy_J, "J"),
            quantity(phase.energy_J / phase.tokens, "J"),
        )
    tokens = sum(phase.tokens for phase in report.phases.values())
    table.add(
        "total",
        str(tokens),
        quantity(report.latency_s, "s"),
        f"{tokens / report.latency_s:.4g}" if report.latency_s else "-",
        quantity(report.energy_J, "J"),
        quantity(report.energy_J / tokens, "J"),
        total=True,
    )
    return table


def _units(report: Report) -> Sheet:
    columns = ("", "in use", "busy", "utilisation", "energy", "share", "area built", "area used")
    table = Sheet("Units", columns)
    names = dict.fromkeys([*report.energy_by_unit_J, *report.unit_times, *report.area_by_unit_mm2])
    for name in names:
        times = report.unit_times.get(name)
        energy = report.energy_by_unit_J.get(name)
        areas = (by.get(name) for by in (report.area_by_unit_mm2, report.area_used_by_unit_mm2))
        table.add(
            name,
            f"{times.units}" if times else "",
            quantity(times.busy_s, "s") if times else "",
            f"{report.utilisation[name]:.2%}" if times else "",
            quantity(energy, "J") if energy is not None else "",
            _share(energy, report.energy_J),
            *("" if area is None else f"{area:.4g} mm2" for area in areas),
        )
    table.add(
        "total", "", "", "", quantity(report.energy_J, "J"), "100.0%",
        f"{report.area_mm2:.4g} mm2", f"{report.area_used_mm2:.4g} mm2", total=True,
    )  # fmt: skip
    table.caption = (
        f"{report.tiles_used} tiles and {report.sram_units_used} SRAM units in use, "
        f"{report.cell_utilisation:.1%} of the "
        f"tiles' cells hold a weight; activations peak at {report.buffer_peak_KiB:.0f} KiB"
    )
    return table


def _dies(report: Report) -> list[str]:
    """What passes between the dies of a package, in a line."""
    if report.dies == 1:
        return []
    moved = ", ".join(f"{name} {quantity(n, 'B')}" for name, n in report.die_to_die_bytes.items())
    energy = quantity(report.energy_by_unit_J.get("die_to_die", 0.0), "J")
    die = report.area_mm2 / report.dies
    return [f"{report.dies} dies of {die:.4g} mm2; over their links: {moved}, {energy}"]


def _writes(report: Report) -> Sheet:
    written = report.reprogramming
    others = [name.replace("_", " ") for name in written.also_written]
    columns = ("", "cells", "SRAM bits", "TCDM bytes", *others, "energy", "time", "wear")
    table = Sheet("Reprogramming", columns)
    writes = [("first programming", written), ("adapter switch", written.adapter_switch)]
    if report.reloads is not None:
        writes.append(("reloads of a run", report.reloads))
    for label, write in writes:
        table.add(
            label,
            f"{write.cells_written:,}",
            f"{write.sram_bits_written:,}",
            f"{write.tcdm_bytes_written:,}",
            *(f"{write.also_written.get(name, 0):,}" for name in written.also_written),
            quantity(write.energy_J, "J"),
            quantity(write.time_s, "s"),
            f"{write.wear:.2g}",
        )
    switch = written.adapter_switch
    if switch.loaded_from is not None:
        table.caption = (
            f"a switch brings {quantity(switch.loaded_bytes, 'B')} from {switch.loaded_from} "
            f"(adapters_in), {quantity(switch.load_energy_J, 'J')} of its energy"
        )
    return table


def _share(part: float | None, total: float) -> str:
    """A part of a total in percent; a total of 0 has no parts."""
    if part is None:
        return ""
    return f"{part / total:.1%}" if total else "-"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3g}"


def _ratio(ratio: float | None, said: str) -> str:
    return said if ratio is None or said == "not compared" else f"{ratio:.3g} ({said})"


def _likest_first(report: Report) -> list[tuple[str, Baseline]]:
    """The baselines; of each GPU the one that ran LoRA as the machine did comes first."""
    return sorted(report.baselines.items(), key=lambda e: (e[1].name, not e[1].like_for_like))


def _baseline(report: Report, name: str, baseline: Baseline) -> Sheet:
    columns = ("phase", "latency", "energy", "latency x", "energy x")
    table = Sheet(f"{name}, batch {baseline.batch} (one sequence)", columns)
    timed = baseline.verdict["latency"] != "not compared"
    for phase, result in baseline.phases.items():
        mine = report.phases[phase]
        latency, energy = (v / baseline.batch for v in (result.latency_s, result.energy_J))
        ratios = ratio(latency, mine.latency_s), ratio(energy, mine.energy_J)
        table.add(
            phase, quantity(latency, "s"), quantity(energy, "J"),
            _ratio(ratios[0], verdict(ratios[0]) if timed else "not compared"),
            _ratio(ratios[1], verdict(ratios[1])),
        )  # fmt: skip
    table.add(
        "total", quantity(baseline.latency_s, "s"), quantity(baseline.energy_J, "J"),
        _ratio(baseline.latency_ratio, baseline.verdict["latency"]),
        _ratio(baseline.energy_ratio, baseline.verdict["energy"]), total=True,
    )  # fmt: skip
    low, high = baseline.latency_band_s
    cold, hot = baseline.energy_band_J
    of = "" if baseline.stack is None else f" ({baseline.stack})"
    host = f", {baseline.host_s_per_step * 1e3:g} ms host a step{of}"
    host *= baseline.host_s_per_step > 0 or baseline.stack is not None
    table.caption = (
        f"{_like(report, baseline)}{baseline.mode}, {baseline.precision}, batch {baseline.batch}"
        f"{host}, {baseline.software}; band {quantity(low, 's')} to {quantity(high, 's')}, "
        f"{quantity(cold, 'J')} to {quantity(hot, 'J')}; x above 1: the machine is better, below "
        "1.25 either way is no clear win"
    )
    return table


def _like(report: Report, baseline: Baseline) -> str:
    if baseline.lora == "none":
        return ""
    like = "as" if baseline.like_for_like else "other than"
    return f"LoRA {baseline.lora}, {like} on the machine ({report.adaptation}); "


def _decode(name: str, baseline: Baseline) -> Sheet:
    table = Sheet(
        f"{name}, decode by batch (one sequence; the machine at batch 1)",
        ("", "batch", "latency", "a token waits", "energy", "latency x", "energy x"),
    )  # fmt: skip
    for label, point in baseline.decode.items():
        table.add(
            label, str(point.batch), quantity(point.latency_s, "s"),
            quantity(point.step_latency_s, "s"), quantity(point.energy_J, "J"),
            _ratio(point.latency_ratio, point.verdict["latency"]),
            _ratio(point.energy_ratio, point.verdict["energy"]),
        )  # fmt: skip
    return table


def print_accuracy(report: AccuracyReport) -> None:
    """What every adapter reaches, and how each compares with the first."""
    show(styled((report.workload, "bold"), " on ", (report.architecture, "bold")))
    show(*(_accuracy(result) for result in report.results))
    if report.paired:
        show(_paired(report.paired))


def _accuracy(result: Accuracy) -> Sheet:
    unit = " (%)" if result.metric == "accuracy" else ""
    points = [point for noise in result.by_noise for point in noise.by_time]
    # counted: two columns, where anything was shifted
    shown = 2 * any(point.overflowed_ratio or point.shortened_ratio for point in points)
    several = _several_bits(result)
    written = any(point.unanswered_ratio for point in points) or result.digital_unanswered_ratio
    table = Sheet(
        f"{result.task}: {result.adapter or result.model}, {result.metric}{unit}",
        (
            "noise",
            *(("ADC bits",) if several else ()),
            "time",
            "drift",
            "mean",
            "std",
            "mean, 95 %",
            "lost",
            "saturated",
            *("overflowed", "lost bits")[:shown],
            *(("no answer",) if written else ()),
        ),
        texts=(0, 3 if several else 2),
        caption=_accuracy_caption(result),
    )
    before = ""
    for noise in result.by_noise:
        for point in noise.by_time:
            table.add(
                "" if noise.noise == before else _spaced(noise.noise),
                *((str(noise.adc_bits),) if several else ()),
                f"{point.t_s:g} s",
                "compensated" if point.compensated else "as it is",
                f"{point.mean:.2f}",
                "-" if point.std is None else f"{point.std:.2f}",
                _interval(point.confidence_95),
                f"{_lost(result, point.mean):.2f}",
                f"{point.saturated_ratio:.2%}",
                *(
                    f"{share:.2%}"
                    for share in (point.overflowed_ratio, point.shortened_ratio)[:shown]
                ),
                *((f"{point.unanswered_ratio:.1%}",) if written else ()),
            )
            before = noise.noise
    return table


def _spaced(noise: str) -> str:
    """A device model with places to fold it at."""
    return ", ".join(part.strip() for part in noise.split(","))


def _several_bits(result: Accuracy) -> bool:
    return len({noise.adc_bits for noise in result.by_noise}) > 1


def _lost(result: Accuracy, mean: float) -> float:
    """How much worse than the digital model."""
    return result.digital - mean if result.metric == "accuracy" else mean - result.digital


def _interval(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2f} .. {interval[1]:.2f}"


def _accuracy_caption(result: Accuracy) -> str:
    part = "" if result.examples == result.examples_available else (
        f"the first {result.examples} of {result.examples_available} test examples only; "
    )  # fmt: skip
    size = ""
    if result.test_set_95 is not None:
        size = f" (a test set of this size leaves {_interval(result.test_set_95)} open, 95 %)"
    reload = result.lora_reload
    settings = "" if result.converters else "noise on weights only, none clipped; "
    bits = {"DAC": result.dac_bits, "ADC": None if _several_bits(result) else result.adc_bits}
    if result.digital_unanswered_ratio:
        settings += f"digital: no answer to {result.digital_unanswered_ratio:.1%}; "
    settings += "".join(f"{name} of {n} bits; " for name, n in bits.items() if n is not None)
    if (fit := result.recalibration) is not None:
        settings += (
            f"columns fitted anew at every time: {fit.vectors} vectors, "
            f"{quantity(fit.energy_J, 'J')}, {quantity(fit.time_s, 's')}, "
            f"{fit.stored_bits // 8:,} bytes kept, no cost at run time; "
        )
    loading = ""
    if result.adapter is not None:
        loading = (
            f"; loading this adapter: {quantity(reload.energy_J, 'J')}, "
            f"{quantity(reload.time_s, 's')}, {reload.cells_written:,} cells"
        )
    return (
        f"digital {result.digital:.2f}{size}, {result.draws} draws{_too_few(result.draws)}, "
        f"{result.examples} examples; {part}{settings}{result.note}{loading}"
    )


def _too_few(draws: int) -> str:
    """Why there is no interval, where there is none."""
    return "" if draws > 2 else " (too few for an interval, 3 are needed)"


def _paired(lines: Iterable[PairedAccuracy]) -> Sheet:
    table = Sheet(
        "Paired over draws (same chips)",
        ("difference", "noise", "time", "drift", "mean", "std", "mean, 95 %"),
        texts=(0, 1, 3), keys=2,
    )  # fmt: skip
    for line in lines:
        table.add(
            f"{line.other} - {line.base}", _spaced(line.label), f"{line.t_s:g} s",
            "compensated" if line.compensated else "as it is", f"{line.difference:+.2f}",
            "-" if line.std is None else f"{line.std:.2f}", _interval(line.confidence_95),
        )  # fmt: skip
    return table


def print_notes(notes: Iterable[str]) -> None:
    """What to look out for, a line each."""
    show(*(note(text) for text in notes))


def print_mapping(mapping: Mapping) -> None:
    """Weights and K/V stores by unit."""
    columns = ("weight", "unit", "shape", "blocks", "copies", "first unit")
    tiered = any(p.tier is not None for p in mapping.placements.values())
    in_turn = bool(mapping.in_turns)
    more = ("tiers",) * tiered + ("turn",) * in_turn
    table = Sheet("Weights", (*columns, *more), texts=(0, 1))
    for p in mapping.placements.values():
        placed = p.units.size > 0
        table.add(
            p.weight,
            p.unit,
            f"{p.grid.rows} x {p.grid.columns}" + of_groups(p.grid.groups),
            f"{p.grid.row_blocks} x {p.grid.column_blocks}" if placed else "",
            str(p.replicas) if placed else "",
            str(int(p.units.min())) if placed else "",
            *(("" if p.tier is None else f"{p.tier.min()} to {p.tier.max()}",) if tiered else ()),
            *(("stays" if p.turn is None else str(p.turn.number),) if in_turn else ()),
        )
    for store in mapping.kv.values():
        table.add(
            f"{store.op} (K/V)", store.unit, f"{store.grid.rows} x {store.grid.columns}",
            f"{store.grid.row_blocks} x {store.grid.column_blocks}", str(store.heads),
            str(store.first_unit), *([""] * len(more)),
        )  # fmt: skip
    show(table, units_told(mapping))


def of_groups(groups: int) -> str:
    """What the shape of a weight in several groups has behind it."""
    return f" in {groups} groups" if groups > 1 else ""


def print_comparison(
    rows: Iterable[dict[str, Any]],
    differs: dict[str, list[Any]],
    baselines: list[list[dict[str, Any]]],
) -> None:
    """Reports side by side, what differs between the runs, and the GPUs beside them."""
    table = Sheet(
        "Reports (ratios against the first)",
        ("architecture", "workload", "pipeline", "adaptation", "latency", "x", "energy", "x",
         "area built", "area used"),
        texts=(0, 1, 2, 3), keys=4,
    )  # fmt: skip
    for row in rows:
        table.add(
            row["architecture"], row["workload"], row["pipeline"], row["adaptation"],
            quantity(row["latency_s"], "s"), _times(row["latency_ratio"]),
            quantity(row["energy_J"], "J"), _times(row["energy_ratio"]),
            f"{row['area_mm2']:.4g} mm2", f"{row['area_used_mm2']:.4g} mm2",
        )  # fmt: skip
    show(table, _differences(differs) if differs else "nothing differs between the runs")
    if any(baselines):
        show(_gpus(baselines))


def _gpus(baselines: list[list[dict[str, Any]]]) -> Sheet:
    """A row for each GPU beside each report."""
    columns = ("report", "GPU", "batch", "LoRA", "latency x", "energy x")
    table = Sheet(
        "GPUs over machine, one sequence", columns, texts=(1, 3), keys=4,
        caption="(as) LoRA as on the machine",
    )  # fmt: skip
    for number, found in enumerate(baselines, 1):
        for row in found:
            like = " (as)" if row["like_for_like"] and row["lora"] != "none" else ""
            timed = row["mode"] != PAPER_MODE
            table.add(
                str(number), row["name"], str(row["batch"]), f"{row['lora']}{like}",
                _times(row["latency_ratio"]) if timed else "not compared",
                _times(row["energy_ratio"]),
            )  # fmt: skip
    return table


def _differences(differs: dict[str, list[Any]]) -> Sheet:
    """A row for each name, a column for each report; digests by their first digits."""
    count = len(next(iter(differs.values())))
    columns = ("", *(str(number) for number in range(1, count + 1)))
    sheet = Sheet("What differs", columns, texts=tuple(range(count + 1)), keys=1)
    for name, values in differs.items():
        short = [str(v)[:12] if "sha256" in name else str(v) for v in values]
        sheet.add(name, *("-" if v is None else s for v, s in zip(values, short, strict=True)))
    return sheet
