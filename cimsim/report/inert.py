"""Numbers of a machine that no cost follows, or no result, each with why.

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
from cimsim.costs.programming.levels import LEVEL_BITS
from cimsim.errors import CimsimError
from cimsim.spec import Architecture
from cimsim.values.history import value_at

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

WHY = {
    "rram.weight_bits": "what a weight costs is cells_per_weight, adc_bits and output_bits",
    "rram.bits_per_cell": "levels of a cell cost accuracy and, up to 8 bits, pulses of a write",
    **dict.fromkeys(
        ("rram.load_ns", "rram.shift_add_ns", "rram.affine_ns", "rram.accumulate_ns"),
        "logic has the speed of its node: slower saves nothing, faster than its gates is doubted",
    ),
    **dict.fromkeys(
        (f"{block}.power_states.{name}"
         for block in ("rram", "sram", "pmca") for name in ("wake_up_ns", "clock_wake_up_ns")),
        "paid for as time; switches of a supply or a clock are no component",
    ),
    "rram.write.pulse_ns": "the energy of a pulse is given; with write.pulse_voltage_V it follows",
    "rram.write.verify_ns": "the energy of a verifying read is given",
    "rram.write.cells_in_parallel": "drivers that write are no component",
    "rram.write.tiles_in_parallel": "the supply of writes is no component; see current_limit_mA",
    "sram.clock_MHz": "slower saves nothing, and faster than the adder tree is refused",
    "pmca.supply.threshold_voltage_V": "the clock is the one whose voltage is known",
    "pmca.supply.highest_voltage_V": "it bounds what is noted",
    "dram.access_ns": "a kind of DRAM has its time; another kind has another energy",
}  # fmt: skip
"""Why no cost follows a number that no component model reads."""

LINES = tuple(f"rram.accuracy.{name}_ohm" for name in ("word", "bit", "driver", "sense"))
"""Resistances of lines: wider wires and stronger drivers would cost area and energy."""


SILENT = {
    "pmca.supply.highest_voltage_V": WHY["pmca.supply.highest_voltage_V"],
    "paper_accounting.rram_transistors": "the area of the paper's table (cimsim validate) does",
    "paper_accounting.sram_transistors": "the area of the paper's table (cimsim validate) does",
}
"""Numbers that no report holds anything of, and who follows them."""

OF_CLOCK = (
    "reference_clock_MHz", "reference_voltage_V", "threshold_voltage_V", "lowest_voltage_V",
)  # fmt: skip
"""Numbers of `pmca.supply` that give the voltage of a clock."""

OF_STATES = {
    "on": ("clock_uW",),
    "clock_gated": ("clock_wake_up_ns",),
    "power_gated": ("gated_leakage_uW", "wake_up_ns", "wake_up_energy_pJ"),
}
"""Numbers that a state of units without work reads (docs/power.md)."""


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


def silent_fields(machine: Architecture) -> dict[str, str]:
    """Field -> why, for every number of the machine that no result of any workload follows.

    Results are times, energies, areas, writes and counts of a report, true or by paper accounting.
    """
    data = machine.model_dump(mode="json", exclude_none=True)
    read_by_accuracy = (f for f, _ in _numbers(data, "") if f.startswith("rram.accuracy."))
    found = dict.fromkeys(read_by_accuracy, "accuracy alone does (cimsim accuracy)")
    found |= {field: why for field, why in SILENT.items() if value_at(data, field) is not None}
    found |= _silent_cells(machine) | _silent_unread(machine) | _silent_without_tiles(machine)
    return found | _silent_voltages(machine) | _silent_states(machine)


def _silent_cells(machine: Architecture) -> dict[str, str]:
    """Bits of a cell, where fewer do not hold the weight and more levels are not told apart."""
    tiles, field = machine.rram, "rram.bits_per_cell"
    if tiles is None or tiles.bits_per_cell < LEVEL_BITS:
        return {}
    fewer = tiles.cells_per_weight * (LEVEL_BITS - 1) + (tiles.coding == "differential")
    return {field: WHY[field]} if fewer < tiles.weight_bits else {}


def _silent_unread(machine: Architecture) -> dict[str, str]:
    """Conductances and bits of a DAC whose cells and drivers have given energies."""
    tiles = machine.rram
    if tiles is None:
        return {}
    read = {f"{model.block}.{name}" for model in machine.modelled() for name in model.inputs}
    fields = ["rram.dac_bits"]
    if tiles.write.window_uS is None:
        fields += ["rram.g_min_uS", "rram.g_max_uS"]
    why = "accuracy alone does: the machine has no model that reads it"
    return {field: why for field in fields if field not in read}


def _silent_without_tiles(machine: Architecture) -> dict[str, str]:
    """What deals tiles over clusters, and what is paid for their periphery."""
    if machine.rram is not None:
        return {}
    found = {"pmca.weights_per_cluster": "it deals tiles over clusters, the machine has none"}
    if machine.paper_accounting is not None:
        found["paper_accounting.periphery_energy_pJ"] = "that of tiles, the machine has none"
    return found


def _silent_voltages(machine: Architecture) -> dict[str, str]:
    supply, given = machine.pmca.supply, machine.pmca.voltage_V
    if given is not None:
        why = "pmca.voltage_V is given, they bound the clock"
        return dict.fromkeys((f"pmca.supply.{name}" for name in OF_CLOCK), why)
    field = "pmca.supply.threshold_voltage_V"
    known = machine.pmca.clock_MHz == supply.reference_clock_MHz
    return {field: WHY[field]} if known else {}


def _silent_states(machine: Architecture) -> dict[str, str]:
    found: dict[str, str] = {}
    for block, unit in machine.units.items():
        if (states := unit.power_states) is None:
            continue
        why = f"units without work are {states.idle} (power_states.idle)"
        others = (names for state, names in OF_STATES.items() if state != states.idle)
        found |= {f"{block}.power_states.{name}": why for names in others for name in names}
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
        | {"energy of clusters, by the square of V": _cluster_scale(machine)}
        | {f"leakage {kind}": unit.leakage_W(unit.count) for kind, unit in units}
    )


def _cluster_scale(machine: Architecture) -> float:
    return (supply_voltage_V(machine.pmca) / machine.pmca.supply.energy_voltage_V) ** 2


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
    if able and field not in WHY:
        return f"the machine has no model that reads it; {', '.join(able)} can (docs/components.md)"
    if field in LINES:
        return "accuracy alone does (docs/irdrop.md)"
    if field in WHY:
        return WHY[field]
    return "no component model reads it (docs/components.md)"
