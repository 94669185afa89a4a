"""First-time programming of a model in detail: by kind of unit, and weight by weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cimsim.adaptation import Adaptation, adaptation_for, adaptation_text, programmed
from cimsim.errors import MappingError
from cimsim.ir import Workload, load_workload
from cimsim.mappers import Mapper, build_mapping, mapper_named
from cimsim.report.writes import write_costs
from cimsim.spec import Architecture, load_architecture
from cimsim.unit_kinds import WriteCost
from cimsim.values.arguments import checked
from cimsim.values.bounds import Name, Number, Whole
from cimsim.values.frozen import Frozen

MOST = 0.99
"""Choice: the share of cells whose pulses are told."""


class CellPulses(Frozen):
    """Write pulses of analog cells, expected: of a cell in the mean, of 99 % of the cells at most,
    of the one that takes most.

    `changed` are cells whose level differs from an erased one, `unconverged` those outside their
    window at the end. `writes_left` is how often the hottest cell bears such a write before its
    endurance is used up; None where no cell is pulsed.
    """

    cells: Whole
    changed: Number
    pulses: Number
    mean: Number
    most: Whole
    hottest: Number
    unconverged: Number
    endurance_pulses: Number
    writes_left: Number | None


class UnitProgramming(Frozen):
    """What is written into all units of one kind, and what sets the time.

    `limit` is `rows` (of the fullest tile, in series), `tiles` (more than are written at a time),
    `current`, `link` or `port`; empty where nothing is written.
    """

    unit: Name
    amounts: dict[Name, Whole]
    energy_by_part_J: dict[Name, Number]
    time_s: Number
    limit: str
    cells: CellPulses | None

    @property
    def energy_J(self) -> float:
        """All parts together."""
        return sum(self.energy_by_part_J.values())


class WeightProgramming(Frozen):
    """What is written of one weight; `time_s` is that of the weight alone, others beside it."""

    weight: Name
    unit: Name
    values: Whole
    energy_J: Number
    time_s: Number
    pulses: Number


class Programming(Frozen):
    """The first programming of a mapped model; kinds of unit are written one after the other."""

    workload: Name
    architecture: Name
    adaptation: Name
    mapper: Name
    units: tuple[UnitProgramming, ...]
    weights: tuple[WeightProgramming, ...]

    @property
    def energy_J(self) -> float:
        """All units together."""
        return sum(unit.energy_J for unit in self.units)

    @property
    def time_s(self) -> float:
        """One kind after the other."""
        return sum(unit.time_s for unit in self.units)


@checked(MappingError)
def program(
    workload: Workload | str | Path,
    architecture: Architecture | str | Path,
    *,
    adaptation: Adaptation | str | None = None,
    mapper: Mapper | str | None = None,
) -> Programming:
    """Write every weight of `workload`, adapter included, into the erased units of `architecture`.

    Raises MappingError or CapacityError where the model does not fit, and SpecError or
    WorkloadError for files that are not valid.
    """
    workload = workload if isinstance(workload, Workload) else load_workload(workload)
    where = None
    if not isinstance(architecture, Architecture):
        where, architecture = architecture, load_architecture(architecture)
    adaptation, mapper = adaptation_for(architecture, adaptation, where), mapper_named(mapper)
    mapping = build_mapping(adaptation.apply(workload), architecture, adaptation, mapper)
    written = programmed(mapping)
    alone = (write_costs(architecture, [part])[part.unit] for part in written)
    return Programming(
        workload=workload.name,
        architecture=architecture.name,
        adaptation=adaptation_text(adaptation),
        mapper=mapper.name,
        units=tuple(
            _unit(name, cost)
            for name, costs in write_costs(architecture, written).items()
            for cost in costs
        ),
        weights=tuple(
            WeightProgramming(
                weight=part.weight, unit=part.unit, values=part.count,
                energy_J=sum(cost.energy_J for cost in costs),
                time_s=sum(cost.time_s for cost in costs),
                pulses=_pulses(costs),
            )
            for part, costs in zip(written, alone, strict=True)
        ),
    )  # fmt: skip


def _pulses(costs: Sequence[WriteCost]) -> float:
    return sum(cost.cells.pulses for cost in costs if cost.cells is not None)


def _unit(name: str, cost: WriteCost) -> UnitProgramming:
    return UnitProgramming(
        unit=name,
        amounts=cost.amounts,
        energy_by_part_J=cost.energy_by_part_J,
        time_s=cost.time_s,
        limit=cost.limit,
        cells=_cells(cost),
    )


def _cells(cost: WriteCost) -> CellPulses | None:
    if cost.cells is None:
        return None
    counts = cost.cells.counts
    hottest = counts.hottest(cost.cells.cells)
    return CellPulses(
        cells=cost.cells.cells,
        changed=cost.cells.changed,
        pulses=cost.cells.pulses,
        mean=counts.mean,
        most=counts.quantile(MOST),
        hottest=hottest,
        unconverged=cost.cells.unconverged,
        endurance_pulses=cost.endurance_pulses,
        writes_left=cost.endurance_pulses / hottest if hottest else None,
    )
