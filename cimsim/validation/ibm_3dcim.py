"""IBM's 3D-CiM: its public simulator on the example that comes with it, at 100, 8 and 1 tiles.

The costs are the placeholders of the public code, no constant is fitted. At
100 tiles every array has a tile of its own. At 8 and 1 tiles what shares a tile is served in the
order of arrival here, earliest token first there, and its mapper fills tiles in another order.
Energies follow the times: 5 W for as long as it takes, and 40.9 uJ of work.
"""

from __future__ import annotations

from cimsim import shipped
from cimsim.simulation import simulate
from cimsim.validation.judged import Judged

CODE = (
    "IBM/3D-CiM-LLM-Inference-Simulator (Büchel et al., Nature Computational Science 2025), its "
    "README example run unchanged"
)
EXAMPLE = {100: (45_739.0, 269_552.36), 8: (60_477.0, 343_242.36), 1: (251_529.0, 1_298_502.36)}
"""Tiles -> time (ns) and energy (nJ) that the code prints."""
# the code's accelerator.py: AcceleratorConfig, its defaults
PLACEHOLDERS: dict[str, float] = {
    "tile_link.hop_ns": 10,
    "rram.accumulate_ns": 10,
    "rram.accumulate_energy_pJ": 10_000 / 512,
    "dram.background_mW": 0,
    **{
        f"op_units.digital.ops.{op}.{size}.{field}": value
        for op, size, *costs in (
            ("layer_norm", "512", 50, 10), ("relu", "2048", 1, 10), ("add", "512", 10, 10),
            ("argmax", "1024", 10, 0),
        )
        for field, value in zip(("time_ns", "energy_nJ"), costs, strict=True)
    },
    "op_units.digital.unit_count": 4,
    "op_units.digital.leakage_mW": 1000,
    "op_units.attention.ops.attention.64x512.time_ns": 2,
    "op_units.attention.ops.attention.64x512.energy_nJ": 2,
    "op_units.attention.unit_count": 1,
    "op_units.attention.leakage_mW": 1000,
}  # fmt: skip
"""Field -> cost of the public example in place of the published table."""

OWN_TILES, SHARED_TILES = 0.005, 0.05
"""Tolerances: every array on a tile of its own; tiles whose arrays take turns in another order."""


def rows() -> list[Judged]:
    """Time and energy of the example."""
    found = []
    workload = shipped.workload("ibm_3dcim_example")
    for tiles, (time_ns, energy_nJ) in EXAMPLE.items():
        machine = shipped.machine("ibm_3dcim").with_values(
            PLACEHOLDERS | {"rram.tile_count": tiles}
        )
        report = simulate(workload, machine, pipeline="layer:block_tokens=1").report
        name = f"3D-CiM, 1 token to 12 without KV cache, {tiles} tile{'s' * (tiles > 1)}: "
        tolerance = OWN_TILES if report.tiles_used < tiles else SHARED_TILES
        found += [
            _row(name + "time", "ns", time_ns, report.latency_s * 1e9, tolerance),
            _row(name + "energy", "nJ", energy_nJ, report.energy_J * 1e9, tolerance),
        ]
    return found


def _row(quantity: str, unit: str, published: float, simulated: float, tolerance: float) -> Judged:
    return Judged("3d-cim", quantity, unit, published, simulated, tolerance, False, CODE)
