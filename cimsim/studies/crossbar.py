"""One crossbar under a magnifying glass: error of its products, effect by effect and swept.

Weights and inputs are normal, so that results of machines compare; a model's own layers are
looked at by `cimsim.functional.diagnosis`. The signal-to-noise ratio is that of powers, in dB,
against exact arithmetic on the same weights and inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cimsim.analog.crossbar import Cuts, program
from cimsim.analog.hardware import Hardware, with_bits, without_errors
from cimsim.analog.mvm import Mvm
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.noise import Device

if TYPE_CHECKING:
    pass

FINE_BITS = 16
CELLS_MAX = 2**26
"""Weights programmed for one point of a sweep: 4096 x 4096, four times; about a second."""
AXES = ("effect", "bits", "noise", "rows", "ir_drop_ohm")


@dataclass(frozen=True)
class Bench:
    """What is measured: size of the crossbar, vectors, programmings averaged, age of the cells."""

    rows: int
    columns: int
    vectors: int = 256
    draws: int = 3
    seed: int = 0
    t_s: float = 0.0

    def __post_init__(self) -> None:
        for field in ("rows", "columns", "vectors", "draws"):
            if getattr(self, field) < 1:
                raise SpecError(
                    f"{field} of a crossbar sweep count from 1, got {getattr(self, field)}."
                )
        cells = self.rows * self.columns * self.draws
        if cells > CELLS_MAX:
            raise SpecError(
                f"a crossbar of {self.rows} x {self.columns}, programmed {self.draws} times, has "
                f"{cells} weights to program, a sweep {CELLS_MAX} at most: lower rows, columns or "
                "draws."
            )


@dataclass(frozen=True)
class CrossbarPoint:
    """One measured setting; `snr_dB` is None where there is no error at all."""

    axis: str
    value: str
    snr_dB: float | None
    saturated_ratio: float
    clipped_ratio: float

    def as_json(self) -> dict[str, Any]:
        """Fields by name."""
        return asdict(self)


def measure(hardware: Hardware, bench: Bench, axis: str, value: str) -> CrossbarPoint:
    """Error of one setting, over all programmings of the bench."""
    rng = np.random.Generator(np.random.PCG64(bench.seed))
    weight = rng.standard_normal((bench.rows, bench.columns), np.float32)
    x = rng.standard_normal((bench.vectors, bench.rows), np.float32)
    wanted = x.astype(np.float64) @ weight
    error, saturated, clipped, conversions = 0.0, 0, 0, 0
    for draw in range(bench.draws):
        seed = bench.seed + draw
        grid = Cuts.of(weight.shape, weight.shape)
        bar = program(
            weight, grid, hardware.coding, hardware.device, seed=seed, wires=hardware.wires
        )
        readout = bar.read(bench.t_s, read_noise=hardware.read_noise)
        result = Mvm.build(readout, hardware.dac, hardware.adc, x)(x, seed=seed)
        error += float(np.square(result.y_BN - wanted).sum())
        saturated += result.saturated_count
        clipped += result.clipped_count
        conversions += result.conversion_count
    signal = bench.draws * float(np.square(wanted).sum())
    return CrossbarPoint(
        axis,
        value,
        10.0 * math.log10(signal / error) if error > 0.0 else None,
        saturated / max(1, conversions),
        clipped / (bench.draws * x.size),
    )


def effects(hardware: Hardware, bench: Bench) -> list[CrossbarPoint]:
    """Each effect alone on an otherwise exact crossbar, then all together."""
    exact = without_errors(hardware)
    alone = {
        "coding of weights": replace(exact, coding=hardware.coding),
        "device": replace(exact, device=hardware.device, read_noise=hardware.read_noise),
        "DAC": replace(exact, dac=hardware.dac),
        # An ADC range belongs to inputs that a DAC has scaled: one too fine to matter does that.
        "ADC": replace(exact, dac=replace(hardware.dac, bits=FINE_BITS), adc=hardware.adc),
    }
    if hardware.wires is not None:
        alone["IR drop"] = replace(exact, wires=hardware.wires)
    alone["all"] = hardware
    return [measure(each, bench, "effect", name) for name, each in alone.items()]


def sweep_bits(hardware: Hardware, bench: Bench, bits: Sequence[int]) -> list[CrossbarPoint]:
    """DAC and ADC of so many bits each; a DAC's pulses stay as wide as they are."""
    return [
        measure(with_bits(hardware, dac_bits=n, adc_bits=n), bench, "bits", str(n)) for n in bits
    ]


def sweep_noise(
    hardware: Hardware, bench: Bench, devices: Sequence[tuple[str, Device]]
) -> list[CrossbarPoint]:
    """Other device models in the same crossbar."""
    return [
        measure(replace(hardware, device=device), bench, "noise", name) for name, device in devices
    ]


def sweep_rows(hardware: Hardware, bench: Bench, rows: Sequence[int]) -> list[CrossbarPoint]:
    """Crossbars of other heights."""
    return [measure(hardware, replace(bench, rows=n), "rows", str(n)) for n in rows]


def sweep_ir_drop(hardware: Hardware, bench: Bench, ohms: Sequence[float]) -> list[CrossbarPoint]:
    """Wires with so many ohms between neighbouring cells, along both lines; 0 for none.

    Ends of lines and rows that are not used stay as the hardware has them.
    """
    points = []
    for ohm in ohms:
        base = hardware.wires or Wires(0.0, 0.0)
        wires = None if ohm == 0.0 else replace(base, word_ohm=ohm, bit_ohm=ohm)
        points.append(measure(replace(hardware, wires=wires), bench, "ir_drop_ohm", f"{ohm:g}"))
    return points
