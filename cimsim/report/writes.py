"""Reprogramming: what writing a model's cells, or an adapter's memory, costs.

Each kind of unit prices its own writes (see `cimsim.unit_kinds`); one kind is written after the
other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cimsim.adaptation import moved_bits, programmed, switched, two_tasks, whole
from cimsim.costs.loading import fetch_energy_J, loaded_s
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Workload
from cimsim.mapping import Mapping, Registers, Written
from cimsim.report.parts import ModelWrite, Reprogramming
from cimsim.spec import Architecture
from cimsim.unit_kinds import WriteCost


def first_programming(
    workload: Workload, architecture: Architecture, mapping: Mapping
) -> Reprogramming:
    """Writing every weight of the mapping once, adapter included.

    What is written comes over the link; where the model comes from is no part of the machine.
    """
    del workload
    return reprogramming(architecture, programmed(mapping))


def whole_reload(architecture: Architecture, mapping: Mapping) -> Reprogramming:
    """Writing every weight of the mapping over others that have nothing to do with it."""
    return reprogramming(architecture, whole(mapping, mapping.placements))


def adapter_switch(
    workload: Workload, architecture: Architecture, mapping: Mapping
) -> Reprogramming:
    """Putting another adapter of the same shape, with the weights saved with it, in its place.

    `workload` is the one before adaptation; what is written is for its adaptation to say. It is
    brought from where the machine keeps adapters (`adapters_in`). Weights that take turns on their
    units are brought by every run and cost nothing more. Raises CapacityError where adapters do not
    fit.
    """
    written = tuple(
        part
        for part in switched(mapping, *two_tasks(workload))
        if isinstance(part, Registers) or mapping.placements[part.weight].turn is None
    )
    found = reprogramming(architecture, written)
    bits = sum(moved_bits(architecture, part) for part in written)
    if not bits:
        return found
    buffer, dram = architecture.buffer, architecture.dram
    _fits(architecture, bits)
    source = None if architecture.adapters_in == "buffer" else dram
    fetched = fetch_energy_J(buffer, source, bits)
    overlapped = architecture.adapter_loading == "overlapped"
    return found.model_copy(
        update={
            "energy_J": found.energy_J + fetched,
            "time_s": loaded_s(buffer, source, bits, found.time_s, overlapped=overlapped),
            "loaded_from": architecture.adapters_in,
            "loaded_bytes": -(-bits // 8),
            "load_energy_J": fetched,
        }
    )


def _fits(architecture: Architecture, bits: int) -> None:
    """Refuse an adapter that is larger than the memory that keeps it."""
    memory = architecture.adapters_in
    # counted: bytes of a KiB and of a GiB
    room = (
        int(architecture.buffer.capacity_KiB * 1024)
        if memory == "buffer"
        else int(architecture.dram.capacity_GiB * 1024**3)
    )
    if (demand := -(-bits // 8)) > room:
        field = {"buffer": "buffer.capacity_KiB", "dram": "dram.capacity_GiB"}[memory]
        raise CapacityError(
            f"a switch of adapter loads {demand} bytes from {memory} (adapters_in), which holds "
            f"{room}.",
            unit="bytes", demand=demand, bound=room,
            levers=(f"Raise {field}", "choose the other adapters_in"),
        )  # fmt: skip


def model_write(workload: Workload, architecture: Architecture, mapping: Mapping) -> ModelWrite:
    """The first programming and a switch of adapter; `workload` is the one before adaptation."""
    return ModelWrite(
        **dict(first_programming(workload, architecture, mapping)),
        adapter_switch=adapter_switch(workload, architecture, mapping),
    )


def reprogramming(
    architecture: Architecture, written: Iterable[Written | Registers]
) -> Reprogramming:
    """What it costs to write all of `written`, one after the other where they share a unit.

    Raises MappingError for units that the machine lacks.
    """
    return Reprogramming.of(
        [cost for costs in write_costs(architecture, written).values() for cost in costs]
    )


def write_costs(
    architecture: Architecture, written: Iterable[Written | Registers]
) -> dict[str, list[WriteCost]]:
    """The same by kind of unit: its arrays, then its registers, where either is written."""
    units, by_unit = architecture.units, dict[str, list[Written]]()
    register_bits: Counter[str] = Counter()
    for part in written:
        if part.unit not in units:
            raise MappingError(
                f"{part.weight!r} is to be written into {part.unit!r} units, which architecture "
                f"{architecture.name!r} lacks: write what units hold that it has."
            )
        if isinstance(part, Registers):
            register_bits[part.unit] += part.bits
        else:
            by_unit.setdefault(part.unit, []).append(part)
    link = architecture.cluster_link
    costs: dict[str, list[WriteCost]] = {}
    for name, unit in units.items():
        if name in by_unit:
            costs.setdefault(name, []).append(unit.write(by_unit[name], link))
        if bits := register_bits[name]:
            costs.setdefault(name, []).append(unit.write_registers(bits, link))
    return costs
