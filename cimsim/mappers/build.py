"""From workload, architecture and adaptation to a Mapping, or a CapacityError that says why not."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np

from cimsim.adaptation import Adaptation, adaptation_named
from cimsim.errors import MappingError
from cimsim.ir import Linear, MatMul, Narrow, Workload
from cimsim.mappers.capacity import check_capacity, unit_shortage, weight_demand
from cimsim.mappers.packing import MAPPER_CODEC, Arrangement, Mapper, mapper_named, rows_of_a_matrix
from cimsim.mappers.turns import Stored, arranged_in_turns, ranks, turns_of
from cimsim.mapping import Grid, IntArray, KvStore, Mapping, Placement, held_by
from cimsim.spec import Architecture
from cimsim.unit_kinds import Arrays, are_arrays, holding, kind_named
from cimsim.values.arguments import checked

ROWS_IN_FLIGHT = 2
"""Rows of K or V beside those of a sliding window: one being written, one not yet used."""


@checked(MappingError)
def build_mapping(
    workload: Workload,
    architecture: Architecture,
    adaptation: Adaptation | str,
    mapper: Mapper | str | None = None,
) -> Mapping:
    """Place every weight and attention operand of `workload` (as adapted) on `architecture`.

    Raises MappingError when the machine lacks a unit that the workload needs, CapacityError when
    it has too few.
    """
    adaptation, mapper = adaptation_named(adaptation), mapper_named(mapper)
    weights = _weights(workload, architecture, adaptation)
    units = architecture.units
    arrays = {unit: found for unit, found in units.items() if are_arrays(found)}
    order = {} if turns_of(mapper) is None else ranks(workload)
    stored = {unit: _stored(unit, weights, arrays[unit], mapper, order) for unit in arrays}
    kv = _kv_stores(workload, architecture, mapper, 0)
    check_capacity(workload, architecture, adaptation, mapper, stored, kv)
    roles = {weight.name: weight.role for weight in weights}
    kept: Counter[str] = Counter()
    for store in kv.values():
        kept[store.unit] += store.units
    placements: dict[str, Placement] = {}
    nothing = np.zeros((1, 0, 0), np.int64)
    for unit in arrays:
        placements |= _place(unit, stored[unit], roles, architecture, mapper, kept[unit])
    for weight in weights:
        if weight.unit not in arrays:
            grid = weight.cut(weight.rows, weight.columns)
            placements[weight.name] = Placement(
                weight.name, weight.unit, weight.role, grid, nothing, nothing, nothing
            )
    end = _end(placements, architecture.attention_on)
    kv = _kv_stores(workload, architecture, mapper, end)
    return Mapping(
        architecture=architecture.name,
        workload=workload.name,
        adaptation=adaptation,
        mapper=MAPPER_CODEC.label(mapper),
        placements=placements,
        kv=kv,
        units_used={unit: _used(placements, unit) + kept[unit] for unit in arrays},
        clusters=_clusters(placements, architecture),
    )


@dataclass(frozen=True, slots=True)
class _Weight:
    name: str
    role: str
    rows: int
    columns: int
    groups: int
    unit: str
    narrow: Narrow | None = None
    nonzeros: int | None = None

    def cut(self, block_rows: int, block_columns: int) -> Grid:
        sizes = self.rows, self.columns, block_rows, block_columns
        return _grid(*sizes, self.groups, self.narrow, self.nonzeros)


@lru_cache(maxsize=1024)  # choice: more grids than a model has
def _grid(
    rows: int, columns: int, block_rows: int, block_columns: int, groups: int,
    narrow: Narrow | None, nonzeros: int | None,
) -> Grid:  # fmt: skip
    """One grid for equal matrices: what follows from its sizes is worked out once."""
    return Grid(rows, columns, block_rows, block_columns, groups, narrow, nonzeros)


def _weights(
    workload: Workload, architecture: Architecture, adaptation: Adaptation
) -> list[_Weight]:
    found: dict[str, _Weight] = {}
    present = architecture.units
    for _, op in workload.ops():
        if not isinstance(op, Linear) or op.weight in found:
            continue
        home = adaptation.home(op)
        if home is None and op.role != "base":
            raise MappingError(
                f"op {op.name!r} is LoRA, but adaptation {adaptation.name!r} has no place for "
                "it: apply the adaptation to the workload first"
            )
        unit = home or architecture.weights_on
        role: str = "saved" if op.saved and home is not None else op.role
        if unit not in present:
            raise MappingError(
                f"{adaptation.name!r} needs a `{kind_named(unit).name}` block for {op.name!r}, "
                f"which architecture {architecture.name!r} lacks: choose another --adapt or add "
                "the block"
            )
        _check_columns(op, unit, architecture)
        _check_nonzeros(op, unit, architecture)
        sizes = op.in_features, op.out_features, op.groups
        if op.narrow is not None:
            role = "narrow"
        if op.nonzeros is not None:
            role = "outliers"
        for name in names_beside(op):
            found[name] = _Weight(name, role, *sizes, unit, op.narrow, op.nonzeros)
    return list(found.values())


def _check_nonzeros(op: Linear, unit: str, architecture: Architecture) -> None:
    """Values with their places are read by cores; an array would hold all the zeros."""
    if op.nonzeros is not None and are_arrays(architecture.units[unit]):
        raise MappingError(
            f"op {op.name!r} has {op.nonzeros} nonzeros with their places, which cores read; "
            f"`{unit}` of architecture {architecture.name!r} are arrays of whole weights: keep it "
            "on the clusters (pmca)"
        )


def names_beside(op: Linear) -> list[str]:
    """The weight of `op`, and those that stand beside it for other tasks."""
    beside = 1 if op.narrow is None else op.narrow.beside
    return [op.weight, *(f"{op.weight}.{number}" for number in range(2, beside + 1))]


def _check_columns(op: Linear, unit: str, architecture: Architecture) -> None:
    """Numbers on columns need arrays, and as many slices as their weights have."""
    if op.columns is None:
        return
    slices = architecture.arrays(unit).slices
    if op.columns.slices not in (1, slices):
        raise MappingError(
            f"op {op.name!r} has {op.columns.slices} numbers on each column, but a weight of "
            f"architecture {architecture.name!r} takes {slices} columns of {unit}: choose 1 or "
            f"{slices} slices"
        )


def _stored(
    unit: str, weights: list[_Weight], arrays: Arrays, mapper: Mapper, order: dict[str, int]
) -> list[Stored]:
    """Weights of this kind of unit, those with fewer cells behind the others.

    `order` has the rank of those that may take turns.
    """
    found = []
    blocks: dict[Narrow | None, tuple[int, int]] = {}
    for weight in sorted(
        (w for w in weights if w.unit == unit), key=lambda w: w.narrow is not None
    ):
        if weight.narrow not in blocks:
            here = holding(arrays, weight.narrow)
            assert are_arrays(here)
            blocks[weight.narrow] = _block(unit, here, mapper)
        grid = weight.cut(*blocks[weight.narrow])
        copies = mapper.copies(weight.name)
        found.append(Stored(weight.name, grid, copies, order.get(weight.name)))
    return found


def _block(unit: str, arrays: Arrays, mapper: Mapper) -> tuple[int, int]:
    """Rows and columns of an array that one matrix may use."""
    rows, columns = arrays.shape
    return rows_of_a_matrix(mapper, unit, rows), columns


def _place(
    unit: str, stored: list[Stored], roles: dict[str, str], architecture: Architecture,
    mapper: Mapper, kept: int,
) -> dict[str, Placement]:  # fmt: skip
    """Placements on one kind of unit, of which `kept` go to K and V; the mapper has the last word.

    Raises CapacityError where a mapper takes more units than it counted.
    """
    if not stored:
        return {}
    arrays = architecture.arrays(unit)
    units = arrays.count - kept
    room = units * arrays.tiers
    if (turns := turns_of(mapper)) is not None and weight_demand(mapper, stored) > room:
        in_turns = zip(stored, *arranged_in_turns(stored, turns, room), strict=True)
        return {
            w.name: Placement(w.name, unit, roles[w.name], w.grid, *found, turn=turn)
            for w, found, turn in in_turns
        }
    arranged = _arranged(mapper, stored, max(1, int(arrays.per_cluster(architecture.pmca))))
    if _last(arranged) >= room:
        arranged = _arranged(mapper, stored, 1)  # the gaps before whole clusters do not fit
    demand = _last(arranged) + 1 + kept * arrays.tiers
    if short := unit_shortage(unit, demand, architecture, mapper, stored, {}):
        raise short
    return {
        w.name: Placement(w.name, unit, roles[w.name], w.grid, *_over_tiers(found, units, arrays))
        for w, found in zip(stored, arranged, strict=True)
    }


def _arranged(mapper: Mapper, stored: list[Stored], group: int) -> list[Arrangement]:
    """Arrays of weights with as many cells each, one kind behind the other."""
    found: list[Arrangement] = []
    first = 0
    for alike in (list(part) for _, part in groupby(stored, key=lambda w: w.grid.narrow is None)):
        made = mapper.arrange([(w.grid, w.copies) for w in alike], group)
        found += (
            [(units + first, rows, columns) for units, rows, columns in made] if first else made
        )
        first = -(-(_last(found) + 1) // group) * group
    return found


def _over_tiers(
    arranged: Arrangement, units: int, arrays: Arrays
) -> tuple[IntArray, IntArray, IntArray, IntArray | None]:
    """Arrays as units and tiers: a tier of every unit is filled before the next.

    So blocks share a unit only where there are more than units, and further tiers move nothing.
    """
    if arrays.tiers == 1:
        return *arranged, None
    index, rows, columns = arranged
    return index % units, rows, columns, index // units


def _last(arranged: list[Arrangement]) -> int:
    return max(int(units.max()) for units, _, _ in arranged)


def _used(placements: dict[str, Placement], unit: str) -> int:
    return held_by(placements.values(), unit)[0].size


def _end(placements: dict[str, Placement], unit: str) -> int:
    """One past the highest unit index in use."""
    held = [p.units for p in placements.values() if p.unit == unit and p.units.size]
    return max((int(units.max()) + 1 for units in held), default=0)


def _kv_stores(
    workload: Workload, architecture: Architecture, mapper: Mapper, first_unit: int
) -> dict[str, KvStore]:
    unit = architecture.attention_on
    arrays = architecture.units_of(unit)
    if not are_arrays(arrays):
        return {}
    longest: dict[str, tuple[int, int, int]] = {}
    for phase, op in workload.ops():
        if isinstance(op, MatMul) and op.stationary_token_axis != "none":
            k, n = _kept(op.at(phase.steps - 1))
            _, longest_k, longest_n = longest.get(op.name, (0, 0, 0))
            longest[op.name] = (op.stationary_batch, max(longest_k, k), max(longest_n, n))
    stores: dict[str, KvStore] = {}
    for name, (heads, k, n) in longest.items():
        grid = Grid(k, n, *_block(unit, arrays, mapper))
        stores[name] = KvStore(name, unit, grid, heads, first_unit, workload.sequences)
        first_unit += stores[name].units
    return stores


def _kept(op: MatMul) -> tuple[int, int]:
    """K and n of the stationary operand as far as it is held at once."""
    if op.window is None or not op.causal:
        return op.k, op.n
    most = op.window + ROWS_IN_FLIGHT
    if op.stationary_token_axis == "n":
        return op.k, min(op.n, most)
    return min(op.k, most), op.n


def _clusters(
    placements: dict[str, Placement], architecture: Architecture
) -> dict[str, tuple[int, int]]:
    clusters: dict[str, tuple[int, int]] = {}
    last = architecture.pmca.cluster_count - 1
    beside = {
        unit: architecture.arrays(unit).per_cluster(architecture.pmca)
        for unit in {p.unit for p in placements.values() if p.units.size}
    }
    for name, placement in placements.items():
        if placement.units.size == 0:
            continue
        per = beside[placement.unit]
        low = min(math.floor(int(placement.units.min()) / per), last)
        high = min(math.ceil((int(placement.units.max()) + 1) / per) - 1, last)
        clusters[name] = (low, high - low + 1)
    return clusters
