"""Area and leakage of a machine: sums over blocks, for all units built or for those in use."""

from __future__ import annotations

from cimsim.spec import Architecture

UM2_PER_MM2 = 1e6


def area_mm2(architecture: Architecture, used: dict[str, int] | None = None) -> dict[str, float]:
    """Area (mm2) by unit kind; `used` counts rram tiles, sram units and pmca clusters in use.

    Without `used`, everything that is built. DRAM is off the chip.
    """
    rram, sram, pmca = architecture.rram, architecture.sram, architecture.pmca
    tiles = 0 if rram is None else rram.tile_count
    units = 0 if sram is None else sram.unit_count
    clusters = pmca.cluster_count
    if used is not None:
        tiles, units, clusters = (used.get(k, 0) for k in ("rram", "sram", "pmca"))
    ports = (tiles + units) * architecture.tile_link.port_area_um2
    ports += clusters * architecture.cluster_link.port_area_um2
    return {
        "rram": 0.0 if rram is None else tiles * rram.tile_area_um2 / UM2_PER_MM2,
        "sram": 0.0 if sram is None else units * sram.unit_area_um2 / UM2_PER_MM2,
        "pmca": clusters * pmca.cluster_area_mm2,
        "link": ports / UM2_PER_MM2,
        "buffer": architecture.buffer.area_mm2,
    }


def leakage_W(architecture: Architecture, used: dict[str, int]) -> dict[str, float]:
    """Leakage (W) by unit kind of the units in use; units without work are powered down."""
    rram, sram = architecture.rram, architecture.sram
    tiles, units, clusters = (used.get(k, 0) for k in ("rram", "sram", "pmca"))
    return {
        "rram": 0.0 if rram is None else tiles * rram.leakage_uW * 1e-6,
        "sram": 0.0 if sram is None else units * sram.leakage_uW * 1e-6,
        "pmca": clusters * architecture.pmca.leakage_mW * 1e-3,
        "link": (
            (tiles + units) * architecture.tile_link.leakage_uW
            + clusters * architecture.cluster_link.leakage_uW
        )
        * 1e-6,
        "buffer": architecture.buffer.leakage_mW * 1e-3,
        "dram": architecture.dram.background_mW * 1e-3,
    }
