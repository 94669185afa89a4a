"""What fitting scale and offset of every column once costs, from the mapping that is timed.

Vectors go through every tile as they do in a run; partial sums of row blocks come out one by one.
A cluster beside the tiles sums three products a partial sum; exact results come from DRAM.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from cimsim.costs import elementwise_busy
from cimsim.costs.cluster_energy import cluster_energy
from cimsim.costs.columns import memory_um2
from cimsim.costs.loading import fetch_energy_J
from cimsim.costs.tile import link_energy_J
from cimsim.mapping import Mapping, Placement
from cimsim.report.accuracy import Recalibration
from cimsim.schedule.stages_array import ArrayTally
from cimsim.spec import Architecture
from cimsim.unit_kinds import kind_named
from cimsim.units import UM2_PER_MM2, cycles_to_ps, ps_to_seconds

NUMBER_BITS = 16
"""assumed: half precision, as clusters compute"""
NUMBERS = 2
"""counted: scale and offset"""
SUMS = 3
"""counted: of a partial sum, of its square, and of its product with the exact one; sums of the
exact ones and of their squares are known with them"""


def recalibration(architecture: Architecture, mapping: Mapping, vectors: int) -> Recalibration:
    """The cost for `vectors` of every layer on analog tiles, each copy of a weight by itself."""
    energy: defaultdict[str, float] = defaultdict(float)
    columns = time_ps = 0
    for placement in _analog(mapping):
        results = _results(architecture, placement) * placement.replicas
        columns += results
        for part, joule in _energy_J(architecture, placement, vectors).items():
            energy[part] += joule
        time_ps += placement.replicas * _time_ps(architecture, placement, vectors)
    stored = NUMBERS * NUMBER_BITS * columns
    return Recalibration(
        vectors=vectors,
        columns=columns,
        conversions=columns * vectors,
        stored_bits=stored,
        reference_bytes=columns * vectors * NUMBER_BITS // 8,
        area_mm2=memory_um2(stored, architecture.technology_nm) / UM2_PER_MM2,
        energy_by_part_J=dict(sorted(energy.items())),
        energy_J=sum(energy.values()),
        time_s=ps_to_seconds(time_ps),
    )


def _analog(mapping: Mapping) -> Iterator[Placement]:
    placed = mapping.placements.values()
    return (p for p in placed if kind_named(p.unit).exactness == "analog")


def _results(architecture: Architecture, placement: Placement) -> int:
    """Partial sums of one vector: outputs of every row block."""
    grid = placement.grid
    return grid.columns * grid.row_blocks


def _energy_J(architecture: Architecture, placement: Placement, vectors: int) -> dict[str, float]:
    grid, pmca = placement.grid, architecture.pmca
    runs = float(vectors * placement.replicas)
    found: defaultdict[str, float] = defaultdict(float)
    tally = ArrayTally(placement.unit, grid, None, (runs,), frozenset({0}))
    for part in tally.priced(architecture):
        found[part.unit] += sum(part.energy_J)
    results = runs * _results(architecture, placement)
    bits = architecture.arrays(placement.unit).vector(grid, architecture.tile_link).output_bits
    apart = runs * grid.columns * (grid.row_blocks - 1) * bits
    found["link"] += link_energy_J(architecture.tile_link, apart)
    busy = elementwise_busy(pmca, int(results), {"axpy": SUMS})
    parts = cluster_energy(pmca)
    for each in (
        parts.computed_J(busy.core_cycles, 0.0, busy.tcdm_bytes),
        parts.on_J(cycles_to_ps(busy.cycles, pmca.clock_MHz)),
    ):
        found["pmca"] += sum(each.values())
    exact_bits = int(results) * NUMBER_BITS
    found["references"] += fetch_energy_J(architecture.buffer, architecture.dram, exact_bits)
    found["references"] += link_energy_J(architecture.cluster_link, exact_bits)
    return dict(found)


def _time_ps(architecture: Architecture, placement: Placement, vectors: int) -> int:
    """One copy: its tiles together, vectors behind each other; then the sums on its clusters.

    The slowest of loading, integrating, converting, sending and fetching exact results sets the
    pace.
    """
    grid, pmca, link = placement.grid, architecture.pmca, architecture.cluster_link
    arrays = architecture.arrays(placement.unit)
    cost = arrays.vector(grid, architecture.tile_link)
    through = arrays.passage_ps(grid.block, 1)
    steps = (cost.load_ps, *through, cost.send_ps * grid.row_blocks)
    results = _results(architecture, placement)
    summed = elementwise_busy(pmca, vectors * results, {"axpy": SUMS}).cycles
    # counted: bytes over GB/s are ns, 1000 ps each
    fetched_ps = int(vectors * results * NUMBER_BITS / 8 / link.bandwidth_GBps * 1000)
    piped_ps = sum(steps) + (vectors - 1) * max(steps)
    return max(piped_ps, fetched_ps) + cycles_to_ps(summed, pmca.clock_MHz)
