"""Energy of a cluster by its parts, and the supply voltage that its clock needs.

Dynamic energy of a cycle or byte grows with the square of the voltage, and more clock needs more
voltage: f = k (V - V_threshold)^1.3 / V, the alpha-power law with the exponent of transistors
whose carriers are fast (Sakurai and Newton, IEEE JSSC 25(2), 1990). `pmca.supply` gives one clock
and its voltage, which is k. Slower clocks need less, down to the voltage that memories need.
Leakage follows the voltage (`cimsim.costs.leakage`), and is not part of these energies.
"""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.blocks import ClusterSupply, PmcaClusters
from cimsim.costs.leakage import voltage_ratio
from cimsim.costs.tile import PJ

_EXPONENT = 1.3
"""Of the overdrive: Sakurai et al., alpha-power law, IEEE JSSC 25(2), 1990."""
_TOLERANCE = 1e-12
"""Choice: relative width at which the search for a voltage ends."""


@dataclass(frozen=True, slots=True)
class ClusterEnergy:
    """Energies (J) of the parts of a cluster at its voltage; the shared part by its time (W)."""

    core_J: float
    engine_J: float
    shared_W: float
    tcdm_J: float
    dma_J: float

    def computed_J(
        self, core_cycles: float, engine_cycles: float, tcdm_bytes: float
    ) -> dict[str, float]:
        """Energy of computing by part, from numbers of `Busy`."""
        return {
            "cores": core_cycles * self.core_J,
            "engine": engine_cycles * self.engine_J,
            "tcdm": tcdm_bytes * self.tcdm_J,
        }

    def on_J(self, at_work_ps: float) -> dict[str, float]:
        """Energy of what clusters share, for as long as they work or wait for each other."""
        return {"shared": at_work_ps * 1e-12 * self.shared_W}

    def moved_J(self, moved_bytes: float) -> dict[str, float]:
        """Energy of what the DMA engine moves, by part: each byte passes the TCDM."""
        return {"dma": moved_bytes * self.dma_J, "tcdm": moved_bytes * self.tcdm_J}


def cluster_energy(pmca: PmcaClusters) -> ClusterEnergy:
    """Energies of the parts of a cluster at its voltage, those of the file times (V / V_file)^2."""
    scale = (supply_voltage_V(pmca) / pmca.supply.energy_voltage_V) ** 2 * PJ
    return ClusterEnergy(
        core_J=pmca.core_energy_pJ_per_cycle * scale,
        engine_J=pmca.engine_energy_pJ_per_cycle * scale,
        shared_W=pmca.shared_energy_pJ_per_cycle * scale * pmca.clock_MHz * 1e6,
        tcdm_J=pmca.tcdm_energy_pJ_per_byte * scale,
        dma_J=pmca.dma_energy_pJ_per_byte * scale,
    )


def leakage_W(pmca: PmcaClusters) -> float:
    """Leakage (W) of one cluster that is on, at its supply; `leakage_mW` is at `energy_voltage_V`.

    Source: `cimsim.costs.leakage`.
    """
    supply = supply_voltage_V(pmca)
    return pmca.leakage_mW * 1e-3 * voltage_ratio(supply, pmca.supply.energy_voltage_V)


def supply_voltage_V(pmca: PmcaClusters) -> float:
    """Voltage (V) of the clusters: as given, else what the clock needs."""
    return least_voltage_V(pmca) if pmca.voltage_V is None else pmca.voltage_V


def least_voltage_V(pmca: PmcaClusters) -> float:
    """Voltage (V) without which the clusters do not reach their clock."""
    return _voltage_V(pmca.supply, pmca.clock_MHz)


def _voltage_V(supply: ClusterSupply, clock_MHz: float) -> float:
    """The voltage of a clock by the law: what `_clock_MHz` inverts, by bisection."""
    low, high = supply.lowest_voltage_V, supply.reference_voltage_V
    if clock_MHz == supply.reference_clock_MHz:
        return max(low, high)
    if _clock_MHz(supply, low) >= clock_MHz:
        return low
    while _clock_MHz(supply, high) < clock_MHz:
        high *= 2
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        if _clock_MHz(supply, middle) < clock_MHz:
            low = middle
        else:
            high = middle
    return high


def _clock_MHz(supply: ClusterSupply, voltage_V: float) -> float:
    """The fastest clock at a voltage."""
    reference_V = supply.reference_voltage_V
    overdrive = voltage_V - supply.threshold_voltage_V
    ratio: float = (overdrive / (reference_V - supply.threshold_voltage_V)) ** _EXPONENT
    return supply.reference_clock_MHz * ratio * reference_V / voltage_V
