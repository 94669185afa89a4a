"""What an architect would doubt: limits that a machine or a run exceeds, each with its source.

Notes, no errors: whoever explores may cross a limit, and is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from cimsim.costs.components.lines import END_ohm, SEGMENT_ohm, line_fF, settling_ns
from cimsim.costs.components.tile_logic import addition_ns, latch_ns
from cimsim.costs.floorplan import RETICLE_MM2
from cimsim.spec import Architecture

POWER_DENSITY_W_per_mm2 = 1.0
"""Choice: twice the mean of an A100 (400 W on 826 mm2, NVIDIA Ampere notes)."""
TERA_OPS_PER_W = 195.7
"""Source: 22 nm 4 Mb ReRAM macro, ISSCC 2021, its best point; at 8 bits macros of 4 nm reach 96."""
LEAST_SHARE = 0.05
"""Choice: a machine of which a run uses less than a twentieth is the wrong size for it."""


def doubts_on_machine(machine: Architecture) -> tuple[str, ...]:
    """Notes on what no run decides: size of a die, pace of converters, lines and logic."""
    return (*_die(machine), *_converters(machine), *_lines(machine), *_logic(machine))


def doubts_on_run(
    machine: Architecture,
    *,
    macs: int,
    energy_J: float,
    latency_s: float,
    used_mm2: float,
    used: dict[str, int],
) -> tuple[str, ...]:
    """Notes on a run of `macs` multiply-accumulates; `used` counts units in use by kind."""
    return (
        *_heat(energy_J, latency_s, used_mm2),
        *_efficiency(macs, energy_J),
        *_idle(machine, used),
    )


def _die(machine: Architecture) -> Iterator[str]:
    area = machine.die_area_mm2
    if area > RETICLE_MM2:
        yield (
            f"a die of {area:.0f} mm2 is larger than a reticle ({RETICLE_MM2:.0f} mm2): build "
            "fewer units, or give a `package` of several dies"
        )


def _converters(machine: Architecture) -> Iterator[str]:
    tile = machine.rram
    if tile is None:
        return
    reading = tile.columns_per_adc * tile.adc_time_ns
    if reading > tile.integration_ns:
        yield (
            f"converters set the pace of tiles: {tile.columns_per_adc} columns of "
            f"{tile.adc_time_ns:g} ns take {reading:g} ns a pulse, the cells "
            f"{tile.integration_ns:g} ns; lower rram.columns_per_adc or rram.adc_time_ns"
        )


def _lines(machine: Architecture) -> Iterator[str]:
    tile = machine.rram
    if tile is None:
        return
    found = tile.accuracy
    word, bit = (found.word_ohm, found.bit_ohm) if found else (None, None)
    driver, sense = (found.driver_ohm, found.sense_ohm) if found else (None, None)
    ends = (
        ("word line", tile.columns, "columns", tile.dac_bits, word, driver),
        ("bit line", tile.rows, "rows", tile.adc_bits, bit, sense),
    )
    for line, cells, field, bits, segment_ohm, end_ohm in ends:
        load = line_fF(cells, tile.cell_area_um2, machine.technology_nm)
        ohm = cells * (SEGMENT_ohm if segment_ohm is None else segment_ohm)
        needed = settling_ns(load, ohm, END_ohm if end_ohm is None else end_ohm, bits)
        if needed > tile.integration_ns:
            yield (
                f"a {line} over {cells} cells takes {needed:.3g} ns to settle to {bits} bits, "
                f"rram.integration_ns is {tile.integration_ns:g}: raise it, or lower rram.{field}"
            )


def _logic(machine: Architecture) -> Iterator[str]:
    tile = machine.rram
    if tile is None:
        return
    node = machine.technology_nm
    adding, latching = addition_ns(tile.output_bits, node), latch_ns(node)
    least = {"load_ns": latching, "shift_add_ns": adding, "accumulate_ns": adding}
    for field, needed in least.items():
        # 0 says that a time is part of another one
        if 0.0 < getattr(tile, field) < needed:
            yield (
                f"rram.{field} {getattr(tile, field):g} is shorter than gates of {node:g} nm take "
                f"({needed:.2g} ns); raise it"
            )


def _heat(energy_J: float, latency_s: float, used_mm2: float) -> Iterator[str]:
    if latency_s <= 0.0 or used_mm2 <= 0.0:
        return
    density = energy_J / latency_s / used_mm2
    if density > POWER_DENSITY_W_per_mm2:
        yield (
            f"mean power of {energy_J / latency_s:.3g} W on {used_mm2:.3g} mm2 in use is "
            f"{density:.2g} W/mm2, above the {POWER_DENSITY_W_per_mm2:g} W/mm2 that can be cooled"
        )


def _efficiency(macs: int, energy_J: float) -> Iterator[str]:
    if energy_J <= 0.0:
        return
    rate = 2.0 * macs / energy_J * 1e-12
    if rate > TERA_OPS_PER_W:
        yield (
            f"{rate:.0f} TOPS/W in all is beyond any published macro ({TERA_OPS_PER_W:g} TOPS/W, "
            "22 nm ReRAM, ISSCC 2021): look at the energies of the machine file"
        )


def _idle(machine: Architecture, used: dict[str, int]) -> Iterator[str]:
    shares = {kind: used.get(kind, 0) / unit.count for kind, unit in machine.units.items()}
    small = {kind: share for kind, share in shares.items() if 0.0 < share < LEAST_SHARE}
    if small:
        told = ", ".join(f"{share:.1%} of {kind}" for kind, share in small.items())
        yield (
            f"the machine is much larger than the run needs, which uses {told}: read area used "
            "beside area built, or build fewer units"
        )
