"""Tables on a machine: areas, where its numbers come from, what differs, what nothing follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cimsim.cli.sheet import Sheet, show
from cimsim.cli.tables import note
from cimsim.costs.components import Modelled
from cimsim.costs.floorplan import RETICLE_MM2, Floorplan
from cimsim.report.origins import Difference, Origins


def print_areas(
    built: dict[str, float], used: dict[str, float] | None, plan: Floorplan, dies: int
) -> None:
    """Areas of what is built and, where known, used; the floorplan of a die and its distances."""
    columns = ("unit", "area built", *(() if used is None else ("area used",)))
    table = Sheet("Area", columns)
    found = (built,) if used is None else (built, used)
    for name in built:
        table.add(name, *(f"{by[name]:.4g} mm2" for by in found))
    table.add("total", *(f"{sum(by.values()):.4g} mm2" for by in found), total=True)
    die = "die" if dies == 1 else "dies"
    table.caption = (
        f"{dies} {die} of {plan.area_mm2:.4g} mm2, {plan.edge_mm:.4g} mm a side, "
        f"{plan.side} x {plan.side} blocks of a cluster each"
    )
    if plan.area_mm2 > RETICLE_MM2:
        table.caption += f"; one exposure has room for {RETICLE_MM2:g} mm2"
    ways = Sheet("Mean distances on a die (assumed floorplan)", ("from and to", "mm"), texts=(0,))
    for name, length_mm in plan.distances_mm.items():
        ways.add(name, f"{length_mm:.4g}")
    show(table, ways)


def print_models(models: Sequence[Modelled]) -> None:
    """Component models with what they read, the numbers that they came to, and whence."""
    if not models:
        return
    columns = ("gives", "value", "model", "reads", "source")
    table = Sheet("Component models", columns, texts=(0, 2, 3, 4))
    for found in models:
        reads = ", ".join(f"{name} {value:.5g}" for name, value in found.inputs.items())
        for name, value in found.outputs.items():
            model = f"{found.component} ({found.kind})"
            table.add(f"{found.block}.{name}", f"{value:.5g}", model, reads, found.sources[name])
    show(table)
    show(
        *(
            note(f"{found.path} extrapolates: {', '.join(found.outside)}")
            for found in models
            if found.outside
        )
    )


def print_assumed(assumed: dict[str, str]) -> None:
    """Assumed numbers with their reasons."""
    table = Sheet(f"{len(assumed)} assumed numbers", ("field", "why"), texts=(0, 1))
    for field, why in assumed.items():
        table.add(field, why)
    show(table)


def print_inert(inert: dict[str, str], silent: dict[str, str]) -> None:
    """Numbers that no cost follows, and those that no result follows, with the reason."""
    for what, fields in (("cost", inert), ("result", silent)):
        title = f"{len(fields)} numbers that no {what} follows"
        table = Sheet(title, ("field", "why"), texts=(0, 1))
        for field, why in fields.items():
            table.add(field, why)
        show(table)


def print_origins(origins: Mapping[str, Origins]) -> None:
    """How many numbers of each block are published, modelled and assumed."""
    columns = ("block", "numbers", "published", "by models", "assumed", "with a range")
    table = Sheet("Where the numbers come from", columns)
    total = [0] * (len(columns) - 1)
    for block, found in origins.items():
        counts = (
            found.numbers, found.published, found.modelled, found.assumed, found.ranged,
        )  # fmt: skip
        total = [a + b for a, b in zip(total, counts, strict=True)]
        table.add(block, *map(str, counts))
    table.add("total", *map(str, total), total=True)
    show(table)


def print_differences(differences: Sequence[Difference]) -> None:
    """Values that differ from what the machine extends, or from its file."""
    if not differences:
        return
    count = len(differences)
    title = "1 value differs" if count == 1 else f"{count} values differ"
    table = Sheet(title, ("field", "was", "is", "source"), texts=(0, 1, 2, 3))
    for found in differences:
        values = ("-" if value is None else f"{value}" for value in (found.old, found.new))
        table.add(found.field, *values, found.source or "-")
    show(table)
