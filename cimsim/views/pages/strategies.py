"""Pipeline strategies side by side as a page: the fastest of each layer, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cimsim.files import write_text
from cimsim.report import Report
from cimsim.spec import Architecture
from cimsim.studies.pipelines import PipelineRow
from cimsim.units import quantity
from cimsim.values.plaintext import shortened
from cimsim.version import VERSION
from cimsim.views.pages import parts
from cimsim.views.pages.charts import Charts
from cimsim.views.pages.document import document, table, text
from cimsim.views.pages.parts import known, numbers, row, section, share

LONG = 40
"""Choice: characters of a strategy in a table."""


def save_pipelines_page(
    rows: Sequence[PipelineRow], machine: Architecture, inputs: Mapping[str, object], path: Path,
    fastest: Report | None = None,
) -> None:  # fmt: skip
    """Write the page; raises NoPlotlyError without plotly and OutputError for `path`."""
    write_text(path, pipelines_page(rows, machine, inputs, fastest))


def pipelines_page(
    rows: Sequence[PipelineRow], machine: Architecture, inputs: Mapping[str, object],
    fastest: Report | None = None,
) -> str:  # fmt: skip
    """The page of a study on `machine` as text: one HTML file that needs no network.

    `fastest` is the run of the fastest strategy, perhaps with bands and GPUs beside it.
    """
    charts = Charts()
    groups: dict[str, list[PipelineRow]] = {}
    for one in rows:
        groups.setdefault(_group(one), []).append(one)
    adaptations = ", ".join(dict.fromkeys(one.adaptation for one in rows))
    made = [
        f"<p>{text(f'adaptation {adaptations}, cimsim {VERSION}')}</p>",
        *section("The fastest strategy", _fastest(groups)),
        *_sure(fastest),
        *(
            part
            for name, own in groups.items()
            for part in section(name, (*_charts(own, charts), *_table(own)))
        ),
        *section("What differs from the files", parts.changes(machine.changes)),
        *parts.assumed(machine.assumed(), parts.ranges_of(machine)),
        *parts.inputs(inputs),
    ]
    subject = rows[0].layer
    return document(f"Pipeline strategies: {subject} on {machine.name}", made, charts.scene)


def _fastest(groups: Mapping[str, list[PipelineRow]]) -> Iterator[str]:
    rows = []
    for name, own in groups.items():
        best = min(own, key=lambda one: one.makespan_s)
        least = min(own, key=lambda one: one.energy_J)
        alone = ", ".join(dict.fromkeys(quantity(one.aimc_only_s, "s") for one in own))
        rows.append(
            row(
                name, quantity(best.makespan_s, "s"), _name(best), alone, f"{best.overhead:.1%}",
                quantity(least.energy_J, "J"), _name(least), exact=repr(best.makespan_s),
            )
        )  # fmt: skip
    heads = ["", "makespan", "of", "without LoRA", "overhead", "least energy", "of"]
    yield table(heads, rows)


def _sure(fastest: Report | None) -> Iterator[str]:
    """How sure the fastest run is, and GPUs beside it."""
    if fastest is None:
        return
    title = f"{fastest.workload} under {shortened(fastest.pipeline, LONG)}"
    yield from section(f"How sure it is: {title}", parts.results(fastest))
    absent = "<p>No GPU: name one (--baseline).</p>"
    yield from section("Beside a GPU", list(parts.gpus(fastest)) or [absent])


def _charts(rows: Sequence[PipelineRow], charts: Charts) -> Iterator[str]:
    def values(key: str) -> dict[str, dict[str, float]]:
        return {_name(one): {key: float(getattr(one, key))} for one in rows}

    yield parts.beside(
        charts.side_by_side("makespan", values("makespan_s"), "s"),
        charts.side_by_side("energy", values("energy_J"), "J"),
    )


def _table(rows: Sequence[PipelineRow]) -> Iterator[str]:
    found = [
        numbers(
            _name(one),
            [
                known(one.makespan_s, "s"), share(one.overhead), known(one.energy_J, "J"),
                known(one.tile_time_s, "s"), known(one.pmca_time_s, "s"),
                known(one.pmca_tile_ratio), share(one.pmca_utilisation),
                share(one.tile_utilisation), known(one.tcdm_bytes, "B"),
                known(one.spill_bytes, "B"), known(one.area_mm2, "mm2"),
                known(one.area_used_mm2, "mm2"),
            ],
        )
        for one in rows
    ]  # fmt: skip
    heads = ["strategy", "makespan", "overhead", "energy", "tile, a block", "PMCA, a block",
             "PMCA / tile", "PMCA use", "tile use", "TCDM", "spilled", "area built",
             "area used"]  # fmt: skip
    yield table(heads, found)
    yield from parts.notes(
        f"{one.strategy}: {one.chosen}" for one in rows if len(one.chosen) > LONG
    )


def _group(one: PipelineRow) -> str:
    time = "" if one.integration_ns is None else f", {one.integration_ns:g} ns"
    return f"{one.layer}{time}"


def _name(one: PipelineRow) -> str:
    """A strategy as rows are called; the whole of what `auto` has found stands below."""
    said = one.chosen.startswith(one.strategy)
    block = f", {one.block_tokens} tokens" if one.block_tokens is not None else ""
    chosen = shortened(one.chosen, LONG)
    return f"{chosen if said else f'{one.strategy} ({chosen})'}{block}"
