"""ADC of a tile: energy, area and time of one conversion by architecture, bits, rate and node.

Bits are effective ones: the accuracy path counts with a converter that loses none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from pydantic import Field

from cimsim.costs.components.component import NODE, Component, Entry, SuppliedEntry, supply_V
from cimsim.costs.components.counting import CountingEntry, refuse_faster_counts
from cimsim.costs.components.gates import (
    NODE_NM,
    SUPPLY_V,
    FLIP_FLOP_fF,
    FLIP_FLOP_um2,
    scaled_um2,
    switched_pJ,
)
from cimsim.values.bounds import Positive


class ClockedAdcEntry(SuppliedEntry):
    """Parameters of a converter that decides its own time."""

    clock_GHz: Positive = Field(description="clock of its counter or comparators")


def schreier_pJ(bits: float, rate_Hz: float) -> float:
    """Energy (pJ) that noise asks of a conversion: 10^((SNDR - FOM)/10) / 2 J.

    SNDR = 6.02 bits + 1.76 dB; FOM = min(180.14, 302.74 - 6.461 ln(rate/Hz)) dB, the envelope
    (95 %) of the ADC survey: four times the energy a bit, and rising with the rate above 0.17 GS/s.
    Source: Schreier's rule; Accelergy ADC plug-in, regression of Murmann's ADC survey.
    """
    sndr_dB = 6.02 * bits + 1.76
    merit_dB = min(180.14159, 302.73870 - 6.4607909 * math.log(rate_Hz))
    return math.pow(10.0, (sndr_dB - merit_dB) / 10.0) / 2.0 * 1e12


def steps_pJ(bits: float, node_nm: float, volts: float) -> float:
    """Energy (pJ) of the decisions of a SAR converter: 100 fF a bit.

    Source: ZigZag IMC cost model, fitted to 28 nm macros; its noise term is Schreier's here.
    """
    return switched_pJ(100.0 * bits, node_nm, volts)


def decisions_pJ(bits: float, volts: float) -> float:
    """Least energy (pJ) of a SAR conversion: comparator, logic and reference of each decision.

    174 fJ a bit at 0.9 V, the same at every node: published converters of few bits are of 90, 40
    and 28 nm and take 127, 197 and 210 fJ a bit, geometric mean. Source: Van der Plas and
    Verbruggen, JSSC 43(12), 2008 (7 bits, 150 MS/s, 133 uW); Verbruggen et al., JSSC 45(10), 2010
    (6 bits, 2.2 GS/s, 2.6 mW); MNSIM 2.0 ADC choice 4 (6 bits, 1 GS/s, 1.26 mW).
    """
    return 0.174 * bits * (volts / SUPPLY_V) ** 2


def array_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of 2^bits unit elements: 10^(1.206 - 0.0369 bits) 2^bits at 28 nm.

    Source: ZigZag IMC cost model, fitted to published macros; node squared.
    """
    return scaled_um2(math.pow(10.0, 1.206 - 0.0369 * bits) * math.pow(2.0, bits), node_nm)


def counting_pJ(bits: float, node_nm: float, volts: float) -> float:
    """Energy (pJ) of counting 2^bits steps: two flip-flops a step toggle in a binary counter.

    Source: counted, with the gates of the ZigZag IMC cost model; comparator and oscillator are
    left out, so that an anchor should give the size.
    """
    return switched_pJ(2.0 * FLIP_FLOP_fF * math.pow(2.0, bits), node_nm, volts)


def counter_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of a counter and a result register of `bits`.

    Source: counted, with the gates of the ZigZag IMC cost model.
    """
    return scaled_um2(2.0 * FLIP_FLOP_um2 * bits, node_nm)


def walden_pJ(bits: float) -> float:
    """Energy (pJ) of a flash conversion: 2^bits comparators at 39.4 fJ each.

    Source: Walden's rule; 1.26 pJ at 5 bits and 0.2 to 3 GS/s, tenth percentile of Murmann's ADC
    survey.
    """
    return math.pow(2.0, bits) * 39.4e-3


def _sar(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    bits, node = at["adc_bits"], at[NODE]
    noise, volts = schreier_pJ(bits, 1e9 / at["adc_time_ns"]), supply_V(entry)
    energy = max(steps_pJ(bits, node, volts) + noise, decisions_pJ(bits, volts))
    return {
        "adc_energy_pJ": energy,
        "adc_area_um2": array_um2(bits, node),
    }


def _flash(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(entry, ClockedAdcEntry)
    bits, node = at["adc_bits"], at[NODE]
    return {
        "adc_energy_pJ": walden_pJ(bits) * node / NODE_NM,
        "adc_area_um2": array_um2(bits, node),
        "adc_time_ns": 1.0 / entry.clock_GHz,
    }


def _ramp(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(entry, ClockedAdcEntry)
    return _counted(entry, at) | {"adc_time_ns": math.pow(2.0, at["adc_bits"]) / entry.clock_GHz}


def _counted(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    bits, node = at["adc_bits"], at[NODE]
    return {
        "adc_energy_pJ": counting_pJ(bits, node, supply_V(entry)),
        "adc_area_um2": counter_um2(bits, node),
    }


COSTS = ("adc_energy_pJ", "adc_area_um2")
# choice: nodes and bits of the converters that the laws were fitted on
FITTED = {"adc_bits": (4.0, 12.0), NODE: (14.0, 65.0)}
# choice: a converter of more bits is no part of a tile
LIMITS = {"adc_bits": (1.0, 16.0)}

SAR = Component(
    law=_sar,
    reads=("adc_bits", "adc_time_ns", NODE),
    gives=COSTS,
    source="steps and area: ZigZag IMC cost model, 28 nm macros; noise: Schreier's rule on the "
    "envelope of Murmann's ADC survey (Accelergy ADC plug-in)",
    entry=SuppliedEntry,
    fitted=FITTED,
    # choice: 0.1 MS/s to 10 GS/s, what the survey holds
    limits=LIMITS | {"adc_time_ns": (0.1, 1e4)},
)
"""Successive approximation; `adc_time_ns` is the user's, and a faster one costs energy."""
FLASH = Component(
    law=_flash,
    reads=("adc_bits", NODE),
    gives=(*COSTS, "adc_time_ns"),
    source="Walden's rule at 39.4 fJ a step (Murmann's ADC survey, 5 bits, tenth percentile); "
    "area: ZigZag IMC cost model",
    entry=ClockedAdcEntry,
    # choice: flash converters of the survey have 3 to 7 bits
    fitted=FITTED | {"adc_bits": (3.0, 7.0)},
    limits=LIMITS,
)
"""A comparator a level, one clock a conversion."""
RAMP = Component(
    law=_ramp,
    reads=("adc_bits", NODE),
    gives=(*COSTS, "adc_time_ns"),
    source="counted: a ramp passes 2^bits levels, one a clock; counter of ZigZag's 28 nm gates",
    entry=ClockedAdcEntry,
    fitted=FITTED,
    limits=LIMITS,
)
"""One slope for all columns, a counter stops where the comparator of a column turns."""
CCO = Component(
    law=_counted,
    reads=("adc_bits", "integration_ns", NODE),
    gives=COSTS,
    source="counted: an oscillator's 2^bits counts while the cells are read; counter of ZigZag's "
    "28 nm gates",
    entry=CountingEntry,
    fitted=FITTED,
    limits=LIMITS,
    refuse=partial(refuse_faster_counts, field="adc_bits"),
)
"""Current-controlled oscillator with a counter; counts within `integration_ns`."""
