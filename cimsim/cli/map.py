"""cimsim map: where the weights go."""

from __future__ import annotations

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


def map_weights(
    architecture: ArchitectureArg,
    workload: WorkloadArg,
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Show which units each weight and each K/V store of WORKLOAD takes on ARCH."""
    from cimsim.adaptation import adaptation_for
    from cimsim.ir import load_workload
    from cimsim.mappers import build_mapping

    machine = machine_of(architecture, settings)
    adaptation = adaptation_for(machine, adapt)
    mapping = build_mapping(
        adaptation.apply(load_workload(workload)),
        machine,
        adaptation,
        mapper_of(mapper, replicate),
    )
    if json:
        import json as encoder

        from cimsim.cli.fit import units_used

        rows = [
            {
                "weight": p.weight,
                "role": p.role,
                "unit": p.unit,
                "rows": p.grid.rows,
                "columns": p.grid.columns,
                "groups": p.grid.groups,
                "row_blocks": p.grid.row_blocks,
                "column_blocks": p.grid.column_blocks,
                "replicas": p.replicas,
                "first_unit": int(p.units.min()) if p.units.size else None,
                "units": int(p.units.size),
                "first_tier": None if p.tier is None else int(p.tier.min()),
                "last_tier": None if p.tier is None else int(p.tier.max()),
                "turn": None if p.turn is None else p.turn.number,
                "group": None if p.turn is None else p.turn.group,
            }
            for p in mapping.placements.values()
        ]
        emit(
            encoder.dumps(
                {
                    **units_used(mapping),
                    "sha256": mapping.digest(),
                    "weights": rows,
                },
                indent=2,
            )
            + "\n"
        )
        return
    from cimsim.cli.tables import print_mapping

    print_mapping(mapping)
