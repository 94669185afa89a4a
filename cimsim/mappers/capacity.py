"""Does a workload fit? Every wall of a machine as a closed-form sum, before anything is laid out.

Walls: analog tiles, SRAM units (weights, K and V), the DRAM that holds embedding tables, and the
TCDM of the cluster that runs a LoRA branch. What is short is told at once, in one error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from cimsim.adaptation import Adaptation
from cimsim.blocks import PmcaClusters
from cimsim.costs import least_lora_bytes, lora_tiles, tile_step
from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Branches, Embedding, Workload, branches_of
from cimsim.mappers.packing import DensePacking, Mapper, demand_of, rows_of_a_matrix
from cimsim.mappers.turns import Stored, check_one_array, least_units, ranks, turns_of
from cimsim.mapping import KvStore
from cimsim.spec import Architecture
from cimsim.unit_kinds import PMCA, kind_named

_NAMED = 3
"""Choice: so many of the largest weights are named where a machine is too small."""
UNITS_MAX = 2**26
"""Most tiles and SRAM units of one mapping: the index of each is kept in memory (8 bytes)."""


def check_capacity(
    workload: Workload,
    architecture: Architecture,
    adaptation: Adaptation,
    mapper: Mapper,
    stored: dict[str, list[Stored]],
    kv: dict[str, KvStore],
) -> None:
    """Raise CapacityError with every shortage of the machine, MappingError beyond memory."""
    shortages: list[CapacityError] = []
    reloaded: Counter[str] = Counter()
    total = 0
    for unit, weights in stored.items():
        stores = {name: store for name, store in kv.items() if store.unit == unit}
        tiers = architecture.arrays(unit).tiers
        kept = tiers * sum(store.units for store in stores.values())
        demand = weight_demand(mapper, weights) + kept
        if weights and (in_turns := turns_of(mapper)) is not None:
            check_one_array(unit, architecture, mapper)
            if demand > architecture.arrays(unit).count:
                demand = least_units(weights, in_turns.groups) + kept
                bits = architecture.arrays(unit).value_bits
                reloaded.update(
                    {w.name: math.ceil(w.grid.weights * bits / 8)
                     for w in weights if w.rank is not None}
                )  # fmt: skip
        total += demand
        if unit_shortage(unit, demand, architecture, mapper, weights, stores):
            order = ranks(workload)
            ranked = [replace(w, rank=order.get(w.name)) for w in weights]
            short = unit_shortage(unit, demand, architecture, mapper, ranked, stores)
            shortages += [short] if short else []
    shortages += [*_dram_shortage(workload, architecture, reloaded)]
    shortages += [*_tcdm_shortage(workload, architecture, adaptation)]
    if shortages:
        raise CapacityError.together(shortages)
    if total > UNITS_MAX:
        raise MappingError(
            f"mapping takes {total} tiles and SRAM units, cimsim lays out at most {UNITS_MAX}: "
            "lower --replicate or take larger tiles"
        )


def weight_demand(mapper: Mapper, weights: list[Stored]) -> int:
    """Units, or arrays where they have tiers, that weights take all at a time."""
    kinds = ([w for w in weights if (w.grid.narrow is None) is wide] for wide in (True, False))
    return sum(demand_of(mapper, [(w.grid, w.copies) for w in kind]) for kind in kinds if kind)


def unit_shortage(
    unit: str,
    demand: int,
    architecture: Architecture,
    mapper: Mapper,
    stored: list[Stored],
    kv: dict[str, KvStore],
) -> CapacityError | None:
    """The error for `demand` units, or arrays where they have tiers, if the machine has fewer."""
    field, arrays = kind_named(unit).field, architecture.arrays(unit)
    bound, raised, what = arrays.count * arrays.tiers, field, "units"
    if arrays.tiers > 1:
        raised, field, what = f"{field} or {unit}.tiers", f"{field} x {unit}.tiers", "arrays"
    if demand <= bound:
        return None
    parts = Counter({w.name: w.blocks for w in stored})
    parts.update({f"{name} (K/V)": store.units * arrays.tiers for name, store in kv.items()})
    levers = [f"Raise {raised} of {architecture.name!r}"]
    dense = DensePacking().demand([(w.grid, w.copies) for w in stored])
    if mapper.name != "dense" and dense < sum(w.blocks for w in stored):
        levers.append("use --mapper dense")
    rows = arrays.shape[0]
    if rows_of_a_matrix(mapper, unit, rows) < rows:
        levers.append("let a matrix use more rows of a unit (--mapper)")
    if any(w.copies > 1 for w in stored):
        levers.append("lower --replicate")
    if kv:
        levers.append("shorten the context")
    kept = sum(store.units for store in kv.values())
    if arrays.tiers == 1 and least_units(stored, 1) + kept <= bound:
        levers.append(
            f"rewrite {kind_named(unit).noun} while the model runs (--mapper reload)"
            if turns_of(mapper) is None
            else "take fewer groups (--mapper reload:1)"
        )
    return CapacityError(
        f"mapping needs {demand} {what}, {field} is {bound} ({demand - bound} short).",
        unit=field,
        demand=demand,
        bound=bound,
        largest=tuple(parts.most_common(_NAMED)),
        levers=tuple(levers),
    )


def _dram_shortage(
    workload: Workload, architecture: Architecture, reloaded: Counter[str]
) -> Iterator[CapacityError]:
    """Embedding tables, tied ones once, in DRAM at the clusters' width of a value, and bytes of the
    weights that are `reloaded`.
    """
    known = {parameter.name: parameter for parameter in workload.parameters}
    used = {op.weight for _, op in workload.ops() if isinstance(op, Embedding)}
    owners = {known[name].tied_to or name for name in used if name in known}
    value_bytes = math.ceil(architecture.pmca.value_bits / 8)
    parts = Counter({name: known[name].size * value_bytes for name in sorted(owners)})
    parts.update(reloaded)
    demand, bound = parts.total(), math.floor(architecture.dram.capacity_GiB * 2**30)
    if demand > bound:
        yield CapacityError(
            f"embedding tables{' and reloaded weights' * bool(reloaded)} need {demand} bytes of "
            f"DRAM, dram.capacity_GiB gives {bound} ({demand - bound} short).",
            unit="bytes of DRAM",
            demand=demand,
            bound=bound,
            largest=tuple(parts.most_common(_NAMED)),
            levers=(f"Raise dram.capacity_GiB of {architecture.name!r}",),
        )


def _tcdm_shortage(
    workload: Workload, architecture: Architecture, adaptation: Adaptation
) -> Iterator[CapacityError]:
    """LoRA of the layer on clusters that needs most TCDM for a token, where no tile of it fits."""
    branches = branches_of(op for _, op in workload.ops()).values()
    on_clusters = (
        its for its in branches
        if {adaptation.home(op) for op in (*its.down, *its.up)} == {PMCA.name}
    )  # fmt: skip
    found = [
        tcdm_error(architecture.pmca, *sizes)
        for sizes in dict.fromkeys(map(_of_a_token, on_clusters))
        if lora_tiles(architecture.pmca, *sizes) is None
    ]
    if found:
        yield max(found, key=lambda short: short.demand)


def _of_a_token(its: Branches) -> tuple[int, int, int, int]:
    """Rows of X that a token brings, inputs, outputs and rank of all branches of a layer."""
    return its.vectors, its.down[0].in_features, its.up[0].out_features, its.rank


def tcdm_error(
    pmca: PmcaClusters, rows: int, in_features: int, out_features: int, rank: int
) -> CapacityError:
    """The error for a LoRA branch of which not even the smallest tiles for `rows` of X fit."""
    need = least_lora_bytes(pmca, rows, in_features, out_features, rank)
    held = pmca.tcdm_bytes
    return CapacityError(
        f"LoRA of a {in_features}x{out_features} layer at rank {rank} needs {need} bytes of TCDM "
        f"for a block of {rows} rows in tiles of {tile_step(pmca)} columns, pmca.tcdm_KiB gives "
        f"{held} ({need - held} short).",
        unit="bytes of TCDM",
        demand=need,
        bound=held,
        levers=(
            f"Raise pmca.tcdm_KiB to {math.ceil(need / 1024)}",
            "take smaller blocks",
            "lower the rank",
        ),
    )
