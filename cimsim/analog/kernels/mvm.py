"""The two passes around a product: inputs to codes (DAC), column sums to outputs (noise, ADC).

Shapes: B vectors, K rows, P input pulses, S slices, N columns padded to whole groups of 64.
Column sums come in blocks [S N / 64, M, 64]: slice and group of columns, vector and pulse, column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cimsim.analog.kernels.philox import GROUP, normal_group
from cimsim.runtime.jit import njit
from cimsim.values.ranges import LARGEST, SMALLEST

# Adding and taking away 1.5 * 2**23 rounds a float32 below 2**22 to the nearest even integer.
_ROUND = np.float32(12582912.0)
LARGEST_CODE = 1 << 21
"""Codes up to this magnitude are rounded exactly."""
_LARGEST = np.float32(LARGEST)
_SMALLEST = np.float32(SMALLEST)
_HALF = np.float32(0.5)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@njit(cache=True, nogil=True)
def count_not_finite(x_BK: Any) -> int:
    """How many entries are NaN, infinite or too large to compute with (`cimsim.values.ranges`)."""
    count = 0
    for b in range(x_BK.shape[0]):
        for k in range(x_BK.shape[1]):
            count += 0 if abs(x_BK[b, k]) <= _LARGEST else 1
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def token_full_scale(x_BK: Any, full_scale_B: Any) -> None:
    """Largest magnitude of each vector; 1 for one of zeros, or as good as. Inputs are finite."""
    for b in range(x_BK.shape[0]):
        largest = _ZERO
        for k in range(x_BK.shape[1]):
            largest = max(largest, abs(x_BK[b, k]))
        full_scale_B[b] = largest if largest > _SMALLEST else np.float32(1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def quantise(
    x_BK: Any, full_scale_B: Any, steps: Any, low: Any, high: Any, code_BK: Any
) -> int:  # fmt: skip
    """Codes rint(x steps / full_scale) clipped to low .. high; returns how many were clipped.

    `full_scale_B` becomes the value of one code step. `steps` 0 leaves inputs as they are (an ideal
    DAC, step 1).
    """
    clipped = 0
    scale, least, most = np.float32(steps), np.float32(low), np.float32(high)
    for b in range(x_BK.shape[0]):
        if steps == 0:
            full_scale_B[b] = np.float32(1.0)
            for k in range(x_BK.shape[1]):
                code_BK[b, k] = x_BK[b, k]
            continue
        inverse = scale / full_scale_B[b]
        over = 0
        for k in range(x_BK.shape[1]):
            value = x_BK[b, k] * inverse
            over += 1 if value > most + _HALF or value < least - _HALF else 0
            value = min(max(value, least), most)
            code_BK[b, k] = (value + _ROUND) - _ROUND
        clipped += over
        full_scale_B[b] = full_scale_B[b] / scale
    return clipped


@njit(inline="always")
def _gather(source: Any, first_block: Any, row: Any, out: Any) -> None:
    for group in range(out.shape[0] // GROUP):
        part = out[group * GROUP : (group + 1) * GROUP]
        for j in range(GROUP):
            part[j] = source[first_block + group, row, j]


@njit(inline="always")
def _draw(z: Any, key: Any, stream: Any, vector: Any) -> None:
    for group in range(z.shape[0] // GROUP):
        part = z[group * GROUP : (group + 1) * GROUP]
        normal_group(part, key[0], key[1], key[2], stream, vector, group)


@njit(nogil=True, error_model="numpy")
def _add_noise(value_N: Any, spread_N: Any, sigma_N: Any, z_N: Any) -> None:
    for n in range(value_N.size):
        value_N[n] += np.sqrt(spread_N[n] + sigma_N[n] * sigma_N[n]) * z_N[n]


@njit(nogil=True, error_model="numpy")
def _add_even_noise(value_N: Any, sigma_N: Any, z_N: Any) -> None:
    for n in range(value_N.size):
        value_N[n] += sigma_N[n] * z_N[n]


@njit(nogil=True, error_model="numpy", fastmath={"reassoc", "nnan"})
def _scale_and_count(value_N: Any, inverse_lsb_N: Any, low: Any, high: Any) -> int:
    # Counts in float32, which vector units add as they are (exact to 2**24 columns).
    over = _ZERO
    for n in range(value_N.size):
        value_N[n] *= inverse_lsb_N[n]
        over += _ONE if (value_N[n] > high) | (value_N[n] < low) else _ZERO
    return int(over)


@njit(nogil=True, error_model="numpy")
def _add_codes(
    out_N: Any, value_N: Any, gain_N: Any, weight: Any, low: Any, high: Any
) -> None:  # fmt: skip
    for n in range(value_N.size):
        code = (min(max(value_N[n], low), high) + _ROUND) - _ROUND
        out_N[n] += code * (gain_N[n] * weight)


@njit(nogil=True, error_model="numpy")
def _add_shifted(
    out_N: Any, value_N: Any, gain_N: Any, weight: Any, low: Any, high: Any, factor_N: Any,
    word_min: Any,
) -> tuple[int, int]:  # fmt: skip
    over, short = 0, 0
    for n in range(value_N.size):
        code = (min(max(value_N[n], low), high) + _ROUND) - _ROUND
        shifted = code * factor_N[n]
        whole = np.floor(shifted)
        word = min(max(whole, word_min), -word_min - _ONE)
        over += 1 if word != whole else 0
        short += 1 if whole != shifted else 0
        out_N[n] += word * (gain_N[n] * weight)
    return over, short


@njit(nogil=True, error_model="numpy")
def _add_values(out_N: Any, value_N: Any, gain_N: Any, weight: Any) -> None:
    for n in range(value_N.size):
        out_N[n] += value_N[n] * (gain_N[n] * weight)


@njit(cache=True, nogil=True, error_model="numpy")
def accumulate(
    out_BN: Any,
    sums: Any,
    variance: Any,
    sigma_SN: Any,
    inverse_lsb_SN: Any,
    gain_SN: Any,
    pulse_weight_P: Any,
    step_B: Any,
    code_low: Any,
    code_high: Any,
    noisy: Any,
    key: Any,
    first_vector: Any,
    factor_N: Any,
    word_min: Any,
) -> tuple[int, int, int]:
    """Add noise to column sums, convert, scale and accumulate.

    Returns the saturated conversions, shifted words that overflowed and those that lost bits.

    For vector b, pulse p, slice s and column n, with v = sum + sqrt(variance + sigma^2) z:
    out[b, n] += round(clip(v inverse_lsb)) gain pulse_weight[p] step[b]. With `code_high` 0 (an
    ideal ADC) v takes the place of the code. z is the normal of (seed, tile, stream p S + s,
    vector, column); `key` is (seed low, seed high, tile) as uint32. A `variance` without blocks
    is zero. Rows of `sums` beyond the vectors of `out_BN` are not looked at. Where `factor_N` has
    values a code becomes floor(code factor_N), clipped to word_min .. -word_min - 1.
    """
    pulses, slices, columns = pulse_weight_P.size, gain_SN.shape[0], gain_SN.shape[1]
    low, high = np.float32(code_low), np.float32(code_high)
    value, spread = np.empty(columns, np.float32), np.empty(columns, np.float32)
    z = np.empty(columns, np.float32)
    saturated, overflowed, shortened = 0, 0, 0
    for b in range(out_BN.shape[0]):
        out = out_BN[b]
        vector = np.uint32(first_vector + b)
        for s in range(slices):
            block = s * (columns // GROUP)
            for p in range(pulses):
                row = b * pulses + p
                weight = pulse_weight_P[p] * step_B[b]
                _gather(sums, block, row, value)
                if noisy:
                    _draw(z, key, np.uint32(p * slices + s), vector)
                    if variance.shape[0] > 0:
                        _gather(variance, block, row, spread)
                        _add_noise(value, spread, sigma_SN[s], z)
                    else:
                        _add_even_noise(value, sigma_SN[s], z)
                if high == _ZERO:
                    _add_values(out, value, gain_SN[s], weight)
                else:
                    saturated += _scale_and_count(
                        value, inverse_lsb_SN[s], low - _HALF, high + _HALF
                    )
                    if factor_N.size > 0:
                        over, short = _add_shifted(
                            out, value, gain_SN[s], weight, low, high, factor_N, word_min
                        )
                        overflowed += over
                        shortened += short
                    else:
                        _add_codes(out, value, gain_SN[s], weight, low, high)
    return saturated, overflowed, shortened
