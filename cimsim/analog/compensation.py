"""Drift compensation as a machine measures it: columns read through the converters.

Right after programming and again at a later time every row is driven alone at the full scale of the
DAC, and the digital magnitudes of all columns of a tile are averaged; their ratio is the factor.
Rounding of single cells to the codes of an ADC and its noise are in both, in unequal shares.

Shapes: T rows of tiles, K inputs, N outputs, S slices, P pulses.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cimsim.analog.converters import Adc, Dac, digits, pulse_weights
from cimsim.analog.crossbar import F32, Readout, require_amplifiable
from cimsim.analog.kernels.philox import normals


def compensated(
    now: Readout, before: Readout, dac: Dac, adc: Adc, full_scale_TS: F32, seeds: tuple[int, int]
) -> Readout:
    """`now` with one factor a tile, as its converters measure it against `before`.

    `seeds` are those of the noise of both measurements.
    """
    means = [
        _means(readout, dac, adc, full_scale_TS, seed)
        for readout, seed in zip((now, before), seeds, strict=True)
    ]
    gain, factors = now.gain_TN.copy(), []
    for (_, t, _, columns), later, first in zip(now.grid.tiles(), *means, strict=True):
        require_amplifiable(first, later)
        factors.append(1.0 if first == later else first / later)
        gain[t, columns] *= np.float32(factors[-1])
    return replace(now, gain_TN=gain, compensation=np.array(factors, np.float32))


def _means(readout: Readout, dac: Dac, adc: Adc, full_scale_TS: F32, seed: int) -> list[float]:
    """Mean magnitude of what every tile puts out for each of its rows alone."""
    coding = readout.coding
    full = np.array([[max(1, dac.ends[1])]], np.float32)
    pulses = digits(full, dac)[0, :, 0]
    output = adc.noise_ratio * coding.g_max_uS / coding.step_uS * dac.pulse_max
    found = []
    for t, rows in enumerate(readout.grid.row_tiles()):
        seen = np.zeros((rows.stop - rows.start, readout.grid.shape[1]), np.float32)
        for p, (pulse, weight) in enumerate(zip(pulses, pulse_weights(dac), strict=True)):
            for s, significance in enumerate(readout.significance_S):
                sums = readout.steps_SKN[s, rows] * pulse
                spread = readout.variance_SKN
                if output > 0.0 or spread is not None:
                    stream = p * len(readout.significance_S) + s
                    z = normals(seed, t, *sums.shape, stream=stream, first_vector=rows.start)
                    variance = np.float32(output * output)
                    if spread is not None:
                        variance = variance + spread[s, rows] * (pulse * pulse)
                    sums += z * np.sqrt(variance)
                if adc.bits is not None:
                    lsb = full_scale_TS[t, s] / np.float32(adc.steps)
                    sums = np.clip(np.rint(sums / lsb), *adc.ends) * lsb
                seen += weight * significance * sums
        found += [
            float(np.abs(seen[:, columns]).mean(dtype=np.float64))
            for _, row, _, columns in readout.grid.tiles()
            if row == t
        ]
    return found
