"""Input drivers of a tile: what one row costs a pulse, whatever part of it holds weights.

A row has its converter and its word line; the line is as long as the tile has columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from cimsim.costs.components.component import NODE, Component, Entry, SuppliedEntry, supply_V
from cimsim.costs.components.counting import CountingEntry, refuse_faster_counts
from cimsim.costs.components.gates import (
    FLIP_FLOP_fF,
    FLIP_FLOP_um2,
    WIRE_fF_per_um,
    scaled_um2,
    switched_pJ,
)
from cimsim.costs.components.lines import driven_fJ, driver_um2


def word_line_fF(columns: float, cell_um2: float) -> float:
    """Capacitance (fF) of a word line over `columns` square cells: 0.2 fF/um of wire.

    Source: assumed, 0.2 fF/um of local wire at every node (see `gates`); gates of cells left out.
    """
    return columns * math.sqrt(cell_um2) * WIRE_fF_per_um


def word_line_pJ(columns: float, cell_um2: float, volts: float) -> float:
    """Energy (pJ) to charge a word line and the stages of its driver.

    Source: `word_line_fF` and `lines.driven_fJ`.
    """
    return driven_fJ(word_line_fF(columns, cell_um2), volts) * 1e-3


def binary_pJ(bits: float, node_nm: float, volts: float) -> float:
    """Energy (pJ) of a capacitive multi-bit converter: 50 fF a bit at 28 nm.

    Source: ZigZag IMC cost model.
    """
    return switched_pJ(50.0 * bits, node_nm, volts)


def binary_um2(bits: float, node_nm: float) -> float:
    """Area (um2): 0.166 um2 of a 1-bit driver at 32 nm, doubled for each bit more.

    Source: MNSIM 2.0 DAC choices; 1 bit is that of Shafiee et al., ISAAC, ISCA 2016.
    """
    return 0.166 * math.pow(2.0, bits - 1.0) * (node_nm / 32.0) ** 2


def one_bit_pJ(node_nm: float, volts: float) -> float:
    """Energy (pJ) of a register bit that toggles; what it drives is the word line.

    Source: ZigZag IMC cost model, flip-flop of 28 nm.
    """
    return switched_pJ(FLIP_FLOP_fF, node_nm, volts)


def pulse_width_pJ(bits: float, node_nm: float, volts: float) -> float:
    """Energy (pJ) of a modulator: a comparator of `bits` sees 2^bits counts, two bits change each.

    Source: counted, with the gates of the ZigZag IMC cost model; the counter is shared by all rows.
    """
    return switched_pJ(2.0 * FLIP_FLOP_fF * math.pow(2.0, bits), node_nm, volts)


def pulse_width_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of a register and a comparator of `bits`, each bit as a flip-flop.

    Source: counted, with the gates of the ZigZag IMC cost model.
    """
    return scaled_um2(2.0 * FLIP_FLOP_um2 * bits, node_nm)


def _line(entry: Entry, at: Mapping[str, float]) -> float:
    return word_line_pJ(at["columns"], at["cell_area_um2"], supply_V(entry))


def _driver(at: Mapping[str, float]) -> float:
    return driver_um2(word_line_fF(at["columns"], at["cell_area_um2"]), at[NODE])


def _binary(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    bits, node = at["dac_bits"], at[NODE]
    energy = binary_pJ(bits, node, supply_V(entry)) + _line(entry, at)
    return {"dac_energy_pJ": energy, "dac_area_um2": binary_um2(bits, node) + _driver(at)}


def _one_bit(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    energy = one_bit_pJ(at[NODE], supply_V(entry)) + _line(entry, at)
    return {"dac_energy_pJ": energy, "dac_area_um2": binary_um2(1.0, at[NODE]) + _driver(at)}


def _pulse_width(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    bits, node = at["dac_bits"], at[NODE]
    energy = pulse_width_pJ(bits, node, supply_V(entry)) + _line(entry, at)
    return {"dac_energy_pJ": energy, "dac_area_um2": pulse_width_um2(bits, node) + _driver(at)}


READS = ("dac_bits", "columns", "cell_area_um2", NODE)
GIVES = ("dac_energy_pJ", "dac_area_um2")
# choice: nodes of the gates that were fitted, widened to published chips
NODES = {NODE: (14.0, 130.0)}

BINARY = Component(
    law=_binary,
    reads=READS,
    gives=GIVES,
    source="ZigZag IMC cost model, 50 fF a bit; area: MNSIM 2.0 DAC choices, doubled a bit; word "
    "line of 0.2 fF/um, assumed",
    entry=SuppliedEntry,
    # choice: up to 8 bits, what MNSIM lists
    fitted={"dac_bits": (1.0, 8.0), **NODES},
)
"""Capacitive converter: one voltage a value."""
ONE_BIT = Component(
    law=_one_bit,
    reads=READS,
    gives=GIVES,
    source="ZigZag IMC cost model, a flip-flop; area: Shafiee et al., ISAAC, ISCA 2016; word line "
    "of 0.2 fF/um, assumed",
    entry=SuppliedEntry,
    fitted=NODES,
    limits={"dac_bits": (1.0, 1.0)},
)
"""A driver that is on or off: one bit a pulse."""
PWM = Component(
    law=_pulse_width,
    reads=(*READS, "integration_ns"),
    gives=GIVES,
    source="counted: register and comparator of ZigZag's 28 nm gates over 2^bits counts; word line "
    "of 0.2 fF/um, assumed",
    entry=CountingEntry,
    # choice: up to 10 bits, 1,024 counts a pulse
    fitted={"dac_bits": (1.0, 10.0), **NODES},
    refuse=partial(refuse_faster_counts, field="dac_bits"),
)
"""Pulse width: the value is how long the row is on."""
