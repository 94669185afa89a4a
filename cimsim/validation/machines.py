"""Machines of the literature: the tile model on their files beside what they published.

One MVM fills a tile. Its time is that of the pulses and the last conversion; throughput counts
the interval at which a tile takes vectors, power all tiles at that rate with their links and
buffers, so that ISAAC's totals test how its published components add up. Clusters, which replace
the fixed functions of these machines, are left out, and so are the off-chip links (10.4 W and
22.88 mm2 in ISAAC and PUMA), which are taken off their totals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cimsim import shipped
from cimsim.blocks import CrossbarTiles
from cimsim.costs.memory import access_energy_J
from cimsim.costs.tile import convert_ps, integrate_ps, link_energy_J, mvm_energy_J
from cimsim.report.leakage import leakage_W
from cimsim.spec import Architecture
from cimsim.units import ps_to_seconds
from cimsim.validation.judged import Judged
from cimsim.values.display import brief

ISAAC = "Shafiee et al., ISAAC, ISCA 2016"
PUMA = "Ankit et al., PUMA, ASPLOS 2019"
HERMES = "Le Gallo et al., HERMES project chip, Nature Electronics 2023, arXiv 2212.02872"
NEURRAM = "Wan et al., NeuRRAM, Nature 608, 2022, as in CiMLoop's reference values"
HYPER_TRANSPORT_W, HYPER_TRANSPORT_MM2 = 10.4, 22.88
"""Off-chip links of ISAAC and PUMA (PUMA simulator constants)."""

MVM, BITS, CHIP = 0.05, 0.12, 0.25
"""Tolerances: one MVM; one at other input widths than those fitted; totals of a chip whose control
and vector units are not in the model."""

CONVERTED = ("cells", "dac", "integrator", "sample", "adc", "shift_add")


@brief
@dataclass(frozen=True, slots=True)
class Full:
    """All tiles of a machine busy with full vectors."""

    machine: Architecture

    @property
    def rram(self) -> CrossbarTiles:
        """The tiles; every machine here has some."""
        assert self.machine.rram is not None
        return self.machine.rram

    @property
    def operations(self) -> int:
        """Operations of one MVM of one tile, two a multiply-accumulate."""
        return 2 * self.rram.rows * self.rram.weight_columns

    @property
    def mvm_s(self) -> float:
        """From the first pulse to converted results (s)."""
        return self.interval_s + ps_to_seconds(convert_ps(self.rram, self.rram.columns))

    @property
    def interval_s(self) -> float:
        """Between two vectors of one tile (s)."""
        return ps_to_seconds(integrate_ps(self.rram, self.rram.columns))

    @property
    def mvm_J(self) -> float:
        """Crossbar, DACs, integrators, ADCs and shift-and-add of one MVM (J)."""
        parts = self.parts_J
        return math.fsum(parts.get(key, 0.0) for key in CONVERTED)

    @property
    def parts_J(self) -> dict[str, float]:
        """Energy (J) of one MVM by part."""
        return mvm_energy_J(self.rram, self.rram.rows, self.rram.weight_columns, 1, 1)

    @property
    def tera_ops(self) -> float:
        """Peak throughput of all tiles (TOPS), a vector each interval."""
        return self.rram.tile_count * self.operations / self.interval_s * 1e-12

    @property
    def power_W(self) -> float:
        """Tiles, links and buffers at peak throughput, with their leakage (W)."""
        rram, machine = self.rram, self.machine
        bits = rram.rows * rram.input_bits + rram.weight_columns * rram.output_bits
        registers = self.parts_J["registers"]
        moved = link_energy_J(machine.tile_link, bits) + access_energy_J(machine.buffer, bits)
        leakage = leakage_W(machine, {"rram": rram.tile_count})
        idle = leakage["rram"] + leakage["link"] + leakage["buffer"]
        return rram.tile_count * (self.mvm_J + registers + moved) / self.interval_s + idle

    @property
    def area(self) -> float:
        """Tiles, their links and the buffers (mm2)."""
        return math.fsum(self.machine.area_mm2({"rram": self.rram.tile_count}).values())


def rows() -> list[Judged]:
    """ISAAC-CE, PUMA, HERMES and NeuRRAM."""
    return _isaac() + _puma() + _hermes() + _neurram()


def full(name: str, **values: float) -> Full:
    """The shipped machine `name`, with other values of tile fields where given."""
    machine = shipped.machine(name)
    return Full(machine.with_values({f"rram.{key}": value for key, value in values.items()}))


def _row(
    quantity: str, unit: str, source: str, published: float, simulated: float,
    tolerance: float | None, fitted: bool = False,
) -> Judged:  # fmt: skip
    return Judged("machines", quantity, unit, published, simulated, tolerance, fitted, source)


def _isaac() -> list[Judged]:
    chip = full("isaac_rram")
    peak = 479e-3 * 85.4
    power = chip.power_W + HYPER_TRANSPORT_W
    recalled = f"{ISAAC}, recalled, not re-verified; 479 GOP/s/mm2, 85.4 mm2 and 65.8 W give 622"
    return [
        _row("ISAAC-CE: peak throughput", "TOPS", ISAAC, peak, chip.tera_ops, MVM),
        _row("ISAAC-CE: power without off-chip links", "W", ISAAC, 65.8 - HYPER_TRANSPORT_W,
             chip.power_W, CHIP),
        _row("ISAAC-CE: area without off-chip links", "mm2", ISAAC, 85.4 - HYPER_TRANSPORT_MM2,
             chip.area, CHIP),
        _row("ISAAC-CE: throughput an area", "GOP/s/mm2", ISAAC, 479,
             1e3 * chip.tera_ops / (chip.area + HYPER_TRANSPORT_MM2), CHIP),
        _row("ISAAC-CE: throughput a watt, from its totals", "GOP/s/W", ISAAC, 1e3 * peak / 65.8,
             1e3 * chip.tera_ops / power, CHIP),
        _row("ISAAC-CE: throughput a watt, as printed", "GOP/s/W", recalled, 380,
             1e3 * chip.tera_ops / power, None),
    ]  # fmt: skip


def _puma() -> list[Judged]:
    node = full("puma")
    implied = node.rram.tile_count * node.operations / 2304e-9 * 1e-12
    note = f"{PUMA}; its own 2304 ns an MVM on 69 MB of weights are {implied:.1f} TOPS"
    power = node.power_W + HYPER_TRANSPORT_W
    return [
        _row("PUMA: 16-bit MVM of 128x128, time", "ns", PUMA, 2304, node.mvm_s * 1e9, MVM, True),
        _row("PUMA: 16-bit MVM of 128x128, energy", "nJ", PUMA, 43.97, node.mvm_J * 1e9, MVM),
        _row("PUMA: power without off-chip links", "W", PUMA, 62.5 - HYPER_TRANSPORT_W,
             node.power_W, CHIP),
        _row("PUMA: area without off-chip links", "mm2", PUMA, 90.6 - HYPER_TRANSPORT_MM2,
             node.area, CHIP),
        _row("PUMA: peak throughput, as printed", "TOPS", note, 52.31, node.tera_ops, None),
        _row("PUMA: throughput a watt, as printed", "TOPS/W", note, 0.84, node.tera_ops / power,
             None),
    ]  # fmt: skip


def _hermes() -> list[Judged]:
    found: list[Judged] = []
    figures = ((1, 133.0, 13.4, 63.1, 9.76), (4, 520.0, 52.8, 16.1, 2.48))
    for phases, time_ns, energy_nJ, tera_ops, efficiency in figures:
        chip = full("hermes_pcm", input_pulses=phases)
        rate = chip.rram.tile_count * chip.operations / chip.mvm_s * 1e-12
        per_W = chip.operations / chip.mvm_J * 1e-12
        name, fitted = f"HERMES: {phases}-phase ", phases == 1
        found += [
            _row(name + "MVM of 256x256, time", "ns", HERMES, time_ns, chip.mvm_s * 1e9, MVM,
                 fitted),
            _row(name + "MVM of 256x256, energy", "nJ", HERMES, energy_nJ, chip.mvm_J * 1e9, MVM,
                 fitted),
            _row(name + "throughput of 64 cores", "TOPS", HERMES, tera_ops, rate, MVM, fitted),
            _row(name + "throughput a watt", "TOPS/W", HERMES, efficiency, per_W, MVM, fitted),
        ]  # fmt: skip
    core_mm2 = full("hermes_pcm").rram.tile_area_um2 * 1e-6
    return [*found, _row("HERMES: area of a core", "mm2", HERMES, 1.392, core_mm2, MVM, True)]


NEURRAM_RUNS = (
    (1, 3, 1, 2.122, 43.08), (2, 4, 1, 1.793, 40.33), (3, 5, 1, 1.165, 23.09),
    (4, 6, 1, 0.7439, 15.95), (5, 7, 1, 0.4516, 11.33), (6, 8, 1, 0.2608, 9.122),
    (5, 7, 2, 0.5254, 11.03), (6, 8, 2, 0.4177, 8.257), (7, 9, 2, 0.3439, 7.750),
    (8, 10, 2, 0.2639, 6.437),
)  # fmt: skip
"""Input bits, output bits, phases; TOPS of 48 cores, TOPS/W (Extended Data Fig. 12d and e)."""

NEURRAM_SHARES = {"word lines": 32.8, "neurons": 49.3, "input pulses": 17.9}
NEURRAM_CORE = {"neurons": 28.0, "array drivers": 21.0, "RRAMs": 12.0}
"""Energy of 8-bit input (Extended Data Fig. 12b) and area of a core (11f), in %."""

TIMED = {(1, 1), (6, 1), (8, 2)}
SPENT = {(1, 1), (8, 2)}
"""Input bits and phases of the runs that times and energies are calibrated on."""


def neurram(bits: int, outputs: int, phases: int) -> Full:
    """All cores with signed inputs of `bits` in `phases`; a conversion goes with its bits.

    A ternary pulse carries one magnitude bit, so that one-bit inputs take a pulse too.
    """
    shipped_ = full("neurram").rram
    share = outputs / shipped_.adc_bits
    values: dict[str, float] = {
        "input_bits": bits, "input_pulses": max(1, bits - 1), "integrator.phases": phases,
        "adc_bits": outputs, "adc_time_ns": share * shipped_.adc_time_ns,
        "adc_energy_pJ": share * shipped_.adc_energy_pJ,
    }  # fmt: skip
    return full("neurram", **values)


def _neurram() -> list[Judged]:
    """Ten input widths, of which three are fitted in time and two in energy; shares and areas."""
    found: list[Judged] = []
    for bits, outputs, phases, tera_ops, efficiency in NEURRAM_RUNS:
        chip = neurram(bits, outputs, phases)
        rate = chip.rram.tile_count * chip.operations / chip.mvm_s * 1e-12
        per_W = chip.operations / chip.mvm_J * 1e-12
        timed, spent = (bits, phases) in TIMED, (bits, phases) in SPENT
        name = f"NeuRRAM: {bits}-bit input, {outputs}-bit output, {('one', 'two')[phases - 1]}"
        found += [
            _row(f"{name}-phase, throughput", "TOPS", NEURRAM, tera_ops, rate,
                 MVM if timed else BITS, timed),
            _row(f"{name}-phase, throughput a watt", "TOPS/W", NEURRAM, efficiency, per_W,
                 MVM if spent else BITS, spent),
        ]  # fmt: skip
    chip = full("neurram")
    parts = chip.parts_J
    groups = {
        "word lines": parts["dac"], "input pulses": parts["cells"],
        "neurons": parts["adc"] + parts["integrator"] + parts["shift_add"],
    }  # fmt: skip
    rram, core = chip.rram, chip.rram.tile_area_um2
    areas = {
        "neurons": rram.adc_count * rram.adc_area_um2,
        "array drivers": rram.rows * rram.dac_area_um2,
        "RRAMs": rram.rows * rram.columns * rram.cell_area_um2,
    }  # fmt: skip
    name = "NeuRRAM: 8-bit input, energy of "
    found += [
        _row(name + part, "%", NEURRAM, share, 100 * groups[part] / chip.mvm_J, MVM, True)
        for part, share in NEURRAM_SHARES.items()
    ]
    return found + [
        _row(f"NeuRRAM: area of a core, {part}", "%", NEURRAM, share, 100 * areas[part] / core,
             MVM, True)
        for part, share in NEURRAM_CORE.items()
    ]  # fmt: skip
