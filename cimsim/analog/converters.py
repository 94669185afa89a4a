"""Converters around a crossbar: what a DAC can express, what an ADC can tell apart.

Codes of b bits, over a full scale on either side of 0 or, unipolar, above it:

    symmetric        -(2^(b-1) - 1) .. 2^(b-1) - 1   step full scale / (2^(b-1) - 1)
    twos_complement  -2^(b-1) .. 2^(b-1) - 1         step full scale / 2^(b-1)
    unipolar         0 .. 2^b - 1                    step full scale / (2^b - 1)

Symmetric ones (sign and magnitude) have the step 1 / (2^b - 2) of the span that the 8-bit
converters of AHWA-LoRA have; two's complement uses all 2^b levels and clips the largest inputs by
a step. ADC ranges are given at the column in units of g_max at full input (all of one device on,
one row at the largest input).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from cimsim.errors import SpecError
from cimsim.values.display import shown
from cimsim.values.ranges import LARGEST, require_number

F32 = npt.NDArray[np.float32]
DacRange = Literal["token", "tile", "fixed", "calibrated"]
AdcRange = Literal["fixed", "calibrated", "worst_case"]
DacCodes = Literal["symmetric", "twos_complement"]
AdcCodes = Literal["symmetric", "twos_complement", "unipolar"]
MAX_BITS = 22
"""Codes of more bits are not exact in float32 rounding (see kernels.mvm)."""
PERCENTILES = (50.0, 100.0)
"""Choice: a range that clips more than half of what it is calibrated on is none."""
SIGMAS = (0.1, 1000.0)
"""Choice: from clipping nearly all to a range far beyond anything."""
FULL_SCALES = (1e-3, 1e6)
"""Choice: of full scales, in units of the input or of g_max."""
NOISE_MAX = 100.0
"""Noise of a hundred full cells, more than the ADCs of any published tile can express."""


def code_ends(bits: int | None, codes: AdcCodes) -> tuple[int, int]:
    """Least and largest code; 0 and 0 stand for an ideal converter."""
    if bits is None:
        return 0, 0
    half = int(2 ** (bits - 1))
    ends = {
        "symmetric": (1 - half, half - 1),
        "twos_complement": (-half, half - 1),
        "unipolar": (0, 2 * half - 1),
    }
    return ends[codes]


def code_steps(bits: int | None, codes: AdcCodes) -> int:
    """Steps of a full scale; 0 stands for an ideal converter."""
    low, high = code_ends(bits, codes)
    return max(-low, high)


def range_of(samples: F32, percentile: float, sigmas: float | None) -> float:
    """Full scale that samples ask for: so many of their standard deviations, or a percentile.

    Standard deviations are about 0 (root mean square), percentiles of magnitudes. 0 for zeros.
    """
    if sigmas is not None:
        return sigmas * float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return float(np.percentile(np.abs(samples), percentile))


def _check(
    owner: str, bits: int | None, range_: str, ranges: tuple[str, ...], codes: str,
    known: tuple[str, ...],
) -> None:  # fmt: skip
    if bits is not None:
        require_number(owner, "bits", bits, 2, MAX_BITS, whole=True, why="None is an ideal one")
    if range_ not in ranges:
        raise SpecError(f"{owner}: range is one of {', '.join(ranges)}, got {shown(range_)}.")
    if codes not in known:
        raise SpecError(f"{owner}: codes are one of {', '.join(known)}, got {shown(codes)}.")


def _check_rule(owner: str, range_: str, percentile: float, sigmas: float | None) -> None:
    require_number(owner, "percentile", percentile, *PERCENTILES)
    if sigmas is None:
        return
    require_number(owner, "sigmas", sigmas, *SIGMAS)
    if range_ != "calibrated":
        raise SpecError(f"{owner}: sigmas belong to range `calibrated`, and only to it.")


@dataclass(frozen=True)
class Dac:
    """Inputs to codes, and codes to pulses.

    range: `token` scales each vector by its largest magnitude (needs a digital maximum search),
    `tile` the part of each vector that a row of tiles takes by the largest of that part (as
    aihwkit does), `fixed` by `full_scale`, `calibrated` by the `percentile` of the magnitudes of
    sample inputs, or by `sigmas` of their standard deviations about 0 (`calibrated` returns the
    fixed DAC). Larger inputs are clipped and counted. `bits` None is an ideal DAC. `pulse_bits`
    None applies the whole code in one pulse (amplitude or width); 1 applies the bits of its two's
    complement one after another, the sign bit weighing -2^(bits - 1).
    """

    bits: int | None = 8  # arXiv 2411.17367: 8-bit DACs and ADCs
    range: DacRange = "token"
    full_scale: float | None = None
    percentile: float = 99.99  # choice: one value in ten thousand is clipped
    pulse_bits: int | None = None
    codes: DacCodes = "symmetric"
    sigmas: float | None = None

    def __post_init__(self) -> None:
        ranges, codes = ("token", "tile", "fixed", "calibrated"), ("symmetric", "twos_complement")
        _check("DAC", self.bits, self.range, ranges, self.codes, codes)
        if self.full_scale is not None:
            require_number("DAC", "full_scale", self.full_scale, 1.0 / LARGEST, LARGEST)
        if self.range == "fixed" and self.full_scale is None:
            raise SpecError(
                "DAC: a fixed range needs full_scale; or calibrate, or scale by token or tile."
            )
        if self.range != "fixed" and self.full_scale is not None:
            raise SpecError("DAC: full_scale belongs to range `fixed`, and only to it.")
        _check_rule("DAC", self.range, self.percentile, self.sigmas)
        if self.pulse_bits is None:
            return
        if self.bits is None:
            raise SpecError("DAC: bit-serial pulses need a number of bits.")
        require_number("DAC", "pulse_bits", self.pulse_bits, 1, self.bits, whole=True)

    @property
    def ends(self) -> tuple[int, int]:
        """Least and largest code."""
        return code_ends(self.bits, self.codes)

    @property
    def steps(self) -> int:
        """Steps of a full scale."""
        return code_steps(self.bits, self.codes)

    @property
    def pulses(self) -> int:
        """Pulses a vector."""
        if self.pulse_bits is None or self.bits is None:
            return 1
        return -(-self.bits // self.pulse_bits)

    @property
    def pulse_max(self) -> int:
        """Largest magnitude of one pulse, in code steps; 1 for an ideal DAC."""
        if self.pulse_bits is None or self.bits is None or self.pulses == 1:
            return max(1, self.steps)
        return int(2**self.pulse_bits - 1)

    def calibrated(self, samples_BK: F32) -> Dac:
        """The same DAC with the range that samples ask for (`range_of`), 1 for zeros."""
        value = range_of(samples_BK, self.percentile, self.sigmas)
        full_scale = max(value, 1.0 / LARGEST) if value > 0.0 else 1.0
        return replace(self, range="fixed", full_scale=full_scale, sigmas=None)


def digits(code_BK: F32, dac: Dac) -> F32:
    """Pulses [B, P, K] of two's-complement codes, least significant first.

    All but the last are 0 .. 2^m - 1 (m = pulse_bits); the last carries the sign, except with
    one-bit pulses, where it is 0 or 1 as well and its weight is negative.
    """
    if dac.pulse_bits is None or dac.bits is None:
        return code_BK[:, None, :]
    width, pulses = dac.pulse_bits, dac.pulses
    whole = code_BK.astype(np.int64)
    parts = [(whole >> (width * p)) & (2**width - 1) for p in range(pulses - 1)]
    last = whole >> (width * (pulses - 1))
    parts.append(-last if width == 1 else last)
    return np.stack(parts, axis=1).astype(np.float32)


def pulse_weights(dac: Dac) -> F32:
    """Digital weight of each pulse, [P]."""
    if dac.pulse_bits is None:
        return np.ones(1, np.float32)
    weights = np.float32(2.0) ** (dac.pulse_bits * np.arange(dac.pulses, dtype=np.float32))
    if dac.pulse_bits == 1:
        weights[-1] = -weights[-1]
    return weights


@dataclass(frozen=True)
class Adc:
    """Column sums to codes; what exceeds the range saturates and is counted.

    range: `fixed` is `full_scale_ratio` (units of g_max at full input; aihwkit's default is 12),
    `worst_case` can never saturate (rows times g_max), `calibrated` takes the `percentile` of the
    magnitudes of the column sums that sample inputs cause in each tile and slice, or `sigmas` of
    their standard deviations about 0. `codes`: unipolar ones have all 2^b levels above 0, for
    column sums that are never negative. `noise_ratio` is the standard deviation of noise before
    conversion, in units of g_max at full input (AHWA-LoRA trains with 0.04). `bits` None is an
    ideal ADC.
    """

    bits: int | None = 8  # arXiv 2411.17367: 8-bit DACs and ADCs
    range: AdcRange = "calibrated"
    full_scale_ratio: float | None = None
    percentile: float = 99.99  # choice: one value in ten thousand is clipped
    noise_ratio: float = 0.0
    codes: AdcCodes = "symmetric"
    sigmas: float | None = None

    def __post_init__(self) -> None:
        codes = ("symmetric", "twos_complement", "unipolar")
        ranges = ("fixed", "calibrated", "worst_case")
        _check("ADC", self.bits, self.range, ranges, self.codes, codes)
        if self.full_scale_ratio is not None:
            ratio = self.full_scale_ratio
            require_number("ADC", "full_scale_ratio", ratio, *FULL_SCALES, why="units of g_max")
        if (self.range == "fixed") != (self.full_scale_ratio is not None):
            raise SpecError("ADC: full_scale_ratio belongs to range `fixed`, and only to it.")
        _check_rule("ADC", self.range, self.percentile, self.sigmas)
        require_number("ADC", "noise_ratio", self.noise_ratio, 0.0, NOISE_MAX, why="units of g_max")

    @property
    def ends(self) -> tuple[int, int]:
        """Least and largest code."""
        return code_ends(self.bits, self.codes)

    @property
    def steps(self) -> int:
        """Steps of a full scale."""
        return code_steps(self.bits, self.codes)
