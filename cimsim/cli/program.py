"""cimsim program: what writing a model into a machine for the first time takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    JsonOption,
    MapperOption,
    ReplicateOption,
    SetOption,
    WorkloadArg,
    machine_of,
    mapper_of,
)
from cimsim.cli.streams import emit
from cimsim.units import quantity

if TYPE_CHECKING:
    from cimsim.studies.programming import Programming

SHOWN = 10
"""Choice: weights in a table; --json has all."""


def program(
    architecture: ArchitectureArg,
    workload: WorkloadArg,
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
    weights: Annotated[
        int, typer.Option(help="Weights that are shown, those of most energy first.", min=0)
    ] = SHOWN,
    json: JsonOption = False,
) -> None:
    """Program WORKLOAD into ARCH for the first time: cells, pulses, energy, time and wear."""
    from cimsim.ir import load_workload
    from cimsim.studies.programming import program as study

    machine = machine_of(architecture, settings)
    found = study(
        load_workload(workload),
        machine,
        adaptation=adapt,
        mapper=mapper_of(mapper, replicate),
    )
    if json:
        emit(found.model_dump_json(indent=2) + "\n")
    else:
        _print(found, weights)


def _print(found: Programming, shown: int) -> None:
    from cimsim.cli.sheet import Sheet, show

    units = Sheet(
        f"{found.workload} on {found.architecture}: {found.adaptation}, {found.mapper}",
        ("unit", "energy", "time", "set by"),
        texts=(0, 3),
    )
    parts = Sheet("energy by part", ("unit", "part", "energy"), texts=(0, 1))
    amounts = Sheet("written", ("unit", "what", "amount"), texts=(0, 1))
    pulses = Sheet(
        "pulses of a cell",
        ("unit", "cells", "changed", "mean", "99 %", "hottest", "missed", "writes left"),
        caption="changed: level differs from an erased cell's; missed: expected cells outside "
        "their window at the end; writes left: of such writes, for the hottest cell",
    )
    for unit in found.units:
        units.add(unit.unit, quantity(unit.energy_J, "J"), quantity(unit.time_s, "s"), unit.limit)
        for part, energy in unit.energy_by_part_J.items():
            parts.add(unit.unit, part, quantity(energy, "J"))
        for what, amount in unit.amounts.items():
            amounts.add(unit.unit, what.replace("_", " "), f"{amount:,}")
        if (cells := unit.cells) is not None:
            left = "-" if cells.writes_left is None else f"{cells.writes_left:.3g}"
            pulses.add(
                unit.unit, f"{cells.cells:,}", f"{cells.changed:,.0f}", f"{cells.mean:.3g}",
                str(cells.most), f"{cells.hottest:.3g}", f"{cells.unconverged:.3g}", left,
            )  # fmt: skip
    units.add("total", quantity(found.energy_J, "J"), quantity(found.time_s, "s"), "", total=True)
    sheets = [units, amounts, parts, *([pulses] if pulses.rows else [])]
    most = sorted(found.weights, key=lambda w: (-w.energy_J, w.weight))[:shown]
    if most:
        others = len(found.weights) - len(most)
        by_weight = Sheet(
            "weights of most energy, each alone",
            ("weight", "unit", "values", "energy", "time"),
            texts=(0, 1),
            caption=f"{others} more (--weights, or --json for all)" if others else "",
        )
        for w in most:
            costs = quantity(w.energy_J, "J"), quantity(w.time_s, "s")
            by_weight.add(w.weight, w.unit, f"{w.values:,}", *costs)
        sheets.append(by_weight)
    show(*sheets)
