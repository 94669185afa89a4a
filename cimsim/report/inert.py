"""Changed numbers of a machine that no cost follows, each said in one line.

A cost is a number of the machine file in joules, watts or square metres, or an area or leakage
summed from them. Hardware that is made larger, faster or wider has a price: by a count that areas
multiply, or by a component model that reads it. Numbers that a run pays for by itself, cycles and
pulses that energy follows as work or time, and choices of layout have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from cimsim.costs.cluster_energy import supply_voltage_V
from cimsim.costs.components import COMPONENTS, NODE
from cimsim.errors import CimsimError
from cimsim.spec import Architecture

COST = re.compile(r"_(f|p|n|u|m)?(J|W)(_per_\w+)?$|_(u|m)m2$")
"""Names of costs end in an energy, a power or an area."""

PAID_IN_THE_RUN = re.compile(r"_cycles(_per_\w+)?$|_pulses$|\.pulses_per_cell$|_ratio$")
"""Names of numbers that change how much work a run does."""
CHOICES = (
    "format",
    "activation_bits",
    "interleave_bytes",
    "least_part_elements",
    "pool_clusters",
    "weights_per_cluster",
)
"""Fields that say how data and work are laid out, not what is built."""

LINES = tuple(f"rram.accuracy.{name}_ohm" for name in ("word", "bit", "driver", "sense"))
"""Resistances of lines: wider wires and stronger drivers would cost area and energy."""


def inert_changes(machine: Architecture) -> tuple[str, ...]:
    """One line for every changed number of `machine` that no cost of it follows."""
    return tuple(
        line
        for change in machine.changes
        if change.of == "architecture"
        for line in _told(machine, change.field, change.old)
    )


def inert_knobs(machine: Architecture) -> dict[str, str]:
    """Field -> why, for every number of hardware that no cost of the machine follows.

    Each is tried at twice and at half its value; one that the machine refuses at both is left out.
    """
    data = machine.model_dump(mode="json", exclude_none=True)
    found = {}
    for field, value in _numbers(data, ""):
        whole = float(value).is_integer()
        others = [int(2 * value), int(value) // 2] if whole else [2 * value, value / 2]
        moves = [_moves(machine, field, other) for other in others if is_knob(field, other)]
        if False in moves and True not in moves:
            found[field] = _why(machine, field)
    return found


def _told(machine: Architecture, field: str, old: Any) -> Iterator[str]:
    if field in LINES:
        yield (
            f"{field} was changed: accuracy follows it, and no time, energy or area does "
            "(docs/irdrop.md)"
        )
        return
    if not is_knob(field, old) or follows(machine, field, old):
        return
    yield f"{field} was changed and no energy, leakage or area follows it: {_why(machine, field)}"


def is_knob(field: str, value: Any) -> bool:
    """Whether a field is a number of hardware that should have a price."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    free = field.startswith(("rram.accuracy.", "paper_accounting.")) or ".models." in field
    chosen = field.rpartition(".")[2] in CHOICES or PAID_IN_THE_RUN.search(field) is not None
    free = (free and field not in LINES) or chosen
    return number and not free and COST.search(field) is None


def follows(machine: Architecture, field: str, other: Any) -> bool:
    """Whether a cost of `machine` is another with `other` at `field`; True if that is refused."""
    return _moves(machine, field, other) is not False


def _moves(machine: Architecture, field: str, other: Any) -> bool | None:
    """Whether a cost is another with `other` at `field`; None where the machine refuses it."""
    try:
        beside = machine.with_values({field: other})
    except CimsimError:
        return None
    return costs_of(machine) != costs_of(beside)


def costs_of(machine: Architecture) -> dict[str, float]:
    """Every energy, power and area of the file, and areas and leakage of all that is built."""
    data = machine.model_dump(mode="json", exclude_none=True)
    found = {path: value for path, value in _numbers(data, "") if COST.search(path)}
    units = machine.units.items()
    return (
        found
        | {f"area {kind}": area for kind, area in machine.area_mm2().items()}
        | {"energy of clusters, by the square of V": supply_voltage_V(machine.pmca)}
        | {f"leakage {kind}": unit.leakage_W(unit.count) for kind, unit in units}
    )


def _numbers(data: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(data, dict):
        for name, value in data.items():
            if name not in ("sources", "models", "ranges"):
                yield from _numbers(value, f"{path}.{name}" if path else name)
    elif isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data):
        yield path, float(data)


def _why(machine: Architecture, field: str) -> str:
    """Which model would follow, or that none does."""
    block, _, name = field.rpartition(".")
    reads = NODE if field == NODE else name
    able = [
        f"{held}.models.{component}"
        for held, known in COMPONENTS.items()
        if held in machine.blocks and (field == NODE or held == block)
        for component, kinds in known.items()
        if any(reads in kind.reads for kind in kinds.values())
    ]
    if able:
        return f"the machine has no model that reads it; {', '.join(able)} can (docs/components.md)"
    if field in LINES:
        return "accuracy alone does (docs/irdrop.md)"
    return "no component model reads it (docs/components.md)"
