"""Matrix-vector products of one read-out through its converters: the accuracy path of a tile.

DAC, product, noise, ADC, digital scaling, accumulation over the rows of tiles; the partial sum of
every tile is digitised before it is accumulated. Shapes as in `cimsim.analog.kernels.mvm`, with T
rows of tiles. Column sums are in units of DAC code times `Coding.step_uS`.

The noise of one read of a column is drawn once, with the exact variance sum over rows of
x^2 sigma^2(g): the same distribution as a draw for every cell, for Gaussian read noise, with R
times fewer draws. `per_cell` draws for every cell, for comparison.

A result depends on the seed, the vector and its number alone: not on how a batch was split, on
the number of threads or on a mathematics library.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cimsim.analog.converters import Adc, Dac, digits, pulse_weights, range_of
from cimsim.analog.crossbar import Readout
from cimsim.analog.kernels.mvm import accumulate, count_not_finite, quantise, token_full_scale
from cimsim.analog.kernels.philox import GROUP, padded, seed_words
from cimsim.analog.layout import NO_VARIANCE, Sums, TileRow, tile_row, vectors_padded
from cimsim.errors import SpecError
from cimsim.ir import WORD_BITS
from cimsim.values.display import brief
from cimsim.values.ranges import LARGEST, SMALLEST

F32 = npt.NDArray[np.float32]
BLOCK = 132
"""Choice: vectors worked on at a time, a multiple of the kernel's six that fits caches."""
SERIAL_BLOCK = 66
"""Choice: the same with several pulses a vector."""


@brief
@dataclass(frozen=True, eq=False)
class MvmResult:
    """Outputs [B, N], how often converters ran out of range, and shifted words that overflowed the
    ends of a word (`overflowed_count`) or lost bits that were not 0 (`shortened_count`).
    """

    y_BN: F32
    conversion_count: int
    saturated_count: int
    clipped_count: int
    overflowed_count: int = 0
    shortened_count: int = 0


@dataclass(frozen=True, eq=False)
class _Converter:
    """ADC of one row of tiles by slice and padded column: noise, range, and value of a code."""

    sigma_SN: F32
    inverse_lsb_SN: F32
    gain_SN: F32


@brief
@dataclass(frozen=True, eq=False)
class ColumnNumbers:
    """Numbers on the columns of each row of tiles, applied to codes before they are accumulated.

    `numbers_TN` are 0 where a column is not converted. With `word_bits` they are powers of two: a
    code is shifted, dropping low bits (towards minus infinity) and saturating at the ends of a word
    in two's complement; without an ADC, and without `word_bits`, it is multiplied.
    """

    numbers_TN: F32
    word_bits: int | None = None

    def __post_init__(self) -> None:
        if self.word_bits is not None and not WORD_BITS[0] <= self.word_bits <= WORD_BITS[1]:
            raise SpecError(
                f"a shifted word has {WORD_BITS[0]} to {WORD_BITS[1]} bits, got {self.word_bits}."
            )

    def on(self, converter: _Converter, t: int, ideal: bool) -> tuple[_Converter, F32, np.float32]:
        """The converter of row of tiles `t` with them; factors of codes and the least word."""
        width = converter.gain_SN.shape[1]
        numbers = np.zeros(width, np.float32)
        numbers[: self.numbers_TN.shape[1]] = self.numbers_TN[t]
        inverse = converter.inverse_lsb_SN * (numbers != 0.0)
        if ideal or self.word_bits is None:
            made = _Converter(converter.sigma_SN, inverse, converter.gain_SN * numbers)
            return made, NO_FACTOR, np.float32(0.0)
        made = _Converter(converter.sigma_SN, inverse, converter.gain_SN)
        return made, numbers, np.float32(-(2.0 ** (self.word_bits - 1)))


NO_FACTOR: F32 = np.empty(0, np.float32)


@brief
@dataclass(frozen=True, eq=False)
class Mvm:
    """A read-out with its converters, ready to multiply; make it with `Mvm.build`.

    `full_scale_TS` is the range of the ADCs by row of tiles and slice, in DAC codes times steps.
    """

    readout: Readout
    dac: Dac
    adc: Adc
    tiles: tuple[TileRow, ...]
    full_scale_TS: F32
    converters: tuple[_Converter, ...]

    @staticmethod
    def build(readout: Readout, dac: Dac, adc: Adc, samples_BK: F32 | None = None) -> Mvm:
        """Prepare operands and converter ranges.

        `samples_BK` are typical inputs; ranges that are `calibrated` need them (SpecError says
        so).
        """
        dac = _calibrated_dac(dac, samples_BK)
        tiles = tuple(tile_row(readout, dac, t) for t in range(len(readout.gain_TN)))
        plain = Mvm(readout, dac, adc, tiles, np.ones((len(tiles), 1), np.float32), ())
        full_scale = adc_full_scale(plain, samples_BK)
        converters = tuple(row_converter(plain, t, row) for t, row in enumerate(full_scale))
        return replace(plain, full_scale_TS=full_scale, converters=converters)

    def __call__(
        self,
        x_BK: F32,
        *,
        seed: int = 0,
        first_vector: int = 0,
        threads: int = 1,
        per_cell: bool = False,
        numbers: ColumnNumbers | None = None,
    ) -> MvmResult:
        """Outputs x W as the hardware computes it, for finite float32 inputs [B, K].

        `numbers` are those on its columns.

        Row b is vector number `first_vector` + b, which together with `seed` decides its noise.
        `threads` blocks of vectors are worked on at a time. Raises SpecError for inputs of
        another shape or that are not finite.
        """
        x = self.inputs(x_BK)
        batch = _Batch(self, x, seed, first_vector, per_cell, numbers)
        out = np.zeros((len(x), padded(self.columns)), np.float32)
        limit = BLOCK if self.dac.pulses == 1 else SERIAL_BLOCK
        size = min(limit, max(1, -(-len(x) // max(1, threads))))
        starts = range(0, len(x), size)
        if threads > 1 and len(starts) > 1:
            with ThreadPoolExecutor(threads) as pool:
                counts = list(pool.map(lambda start: batch.run(out, start, size), starts))
        else:
            counts = [batch.run(out, start, size) for start in starts]
        kept = self.columns * len(self.tiles)
        if numbers is not None:
            kept = int(np.count_nonzero(numbers.numbers_TN))
        conversions = len(x) * kept * self.dac.pulses * self.slices
        return MvmResult(
            out[:, : self.columns],
            conversions if self.adc.bits is not None else 0,
            *(sum(part) for part in zip((0, 0, 0, 0), *counts, strict=True)),
        )

    def converted(self, adc: Adc) -> Mvm:
        """The same cells with other ADCs, whose range is that of those that they replace."""
        other = replace(self, adc=adc)
        converters = tuple(row_converter(other, t, row) for t, row in enumerate(self.full_scale_TS))
        return replace(other, converters=converters)

    @property
    def rows(self) -> tuple[slice, ...]:
        """The rows of each row of tiles."""
        return tuple(tile.rows for tile in self.tiles)

    @property
    def columns(self) -> int:
        """Outputs N."""
        return self.readout.grid.shape[1]

    @property
    def slices(self) -> int:
        """Cells of different significance a weight."""
        return len(self.readout.significance_S)

    @property
    def unit(self) -> float:
        """A full input on one cell at g_max, in DAC codes times steps."""
        coding = self.readout.coding
        return coding.g_max_uS / coding.step_uS * self.dac.pulse_max

    def inputs(self, x_BK: F32) -> F32:
        """The inputs as contiguous float32; raises SpecError if they do not fit."""
        x = np.ascontiguousarray(x_BK, np.float32)
        rows = self.readout.grid.shape[0]
        if x.ndim != 2 or x.shape[1] != rows:
            raise SpecError(f"inputs are vectors x {rows} rows, got shape {x_BK.shape}.")
        if count_not_finite(x):
            raise SpecError(not_computable("", float(np.abs(x).max())))
        return x


@dataclass(frozen=True, eq=False)
class _Batch:
    mvm: Mvm
    x_BK: F32
    seed: int
    first_vector: int
    per_cell: bool
    numbers: ColumnNumbers | None

    def run(self, out_BN: F32, start: int, size: int) -> tuple[int, int, int, int]:
        """Fill rows from `start` on.

        Returns how many conversions saturated, inputs were clipped, words overflowed and lost bits.
        """
        mvm = self.mvm
        x, out = self.x_BK[start : start + size], out_BN[start : start + size]
        code, steps, clipped = _to_codes(mvm.dac, x, mvm.rows)
        saturated, overflowed, shortened = 0, 0, 0
        ideal = mvm.adc.bits is None
        for t, (tile, adc) in enumerate(zip(mvm.tiles, mvm.converters, strict=True)):
            factor, least, offset = NO_FACTOR, np.float32(0.0), mvm.readout.offset_TN[t]
            step = steps[t]
            if self.numbers is not None:
                adc, factor, least = self.numbers.on(adc, t, ideal)
                offset = offset * self.numbers.numbers_TN[t]
            sums, variance = tile.sums(code, mvm.dac), NO_VARIANCE
            if self.per_cell:
                sums = self._with_cell_noise(sums, t, start, code)
            else:
                variance = tile.variances(code, mvm.dac)
            over, beyond, short = accumulate(
                out,
                sums,
                variance,
                adc.sigma_SN,
                adc.inverse_lsb_SN,
                adc.gain_SN,
                pulse_weights(mvm.dac),
                step,
                *mvm.adc.ends,
                mvm.adc.noise_ratio > 0.0 or len(variance) > 0,
                np.array([*seed_words(self.seed), t], np.uint32),
                self.first_vector + start,
                factor,
                least,
            )
            saturated += over
            overflowed += beyond
            shortened += short
            _subtract_offset(out, offset, code[: len(x), tile.rows], step)
        return saturated, clipped, overflowed, shortened

    def _with_cell_noise(self, sums: Sums, t: int, start: int, code_BK: F32) -> F32:
        """Column sums plus a draw for each of their cells (the slow reference)."""
        mvm = self.mvm
        rows = mvm.tiles[t].rows
        noisy = sums.astype(np.float32)
        if mvm.readout.variance_SKN is None:
            return noisy
        sigma = np.sqrt(mvm.readout.variance_SKN[:, rows])
        width = padded(mvm.columns)
        for b, vector in enumerate(digits(code_BK[:, rows], mvm.dac)):
            key = (self.seed, t, self.first_vector + start + b)
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
            for p, pulse in enumerate(vector):
                draw = np.zeros((mvm.slices, width), np.float32)
                draw[:, : mvm.columns] = pulse @ (
                    sigma * rng.standard_normal(sigma.shape, np.float32)
                )
                noisy[:, b * mvm.dac.pulses + p] += draw.reshape(-1, GROUP)
        return noisy


def not_computable(owner: str, largest: float) -> str:
    """The message for inputs of which the largest magnitude is `largest`, or NaN."""
    if math.isfinite(largest):
        return (
            f"{owner}inputs must be finite and at most {LARGEST:g}, the largest magnitude is "
            f"{largest:g}."
        )
    return f"{owner}inputs must be finite, some are NaN or infinite."


def _to_codes(dac: Dac, x_BK: F32, rows: tuple[slice, ...]) -> tuple[F32, list[F32], int]:
    """Codes (rows padded with zeros for the product kernel), value of a code by row of tiles [B],
    inputs clipped.
    """
    code = np.empty((vectors_padded(len(x_BK)), x_BK.shape[1]), np.float32)
    code[len(x_BK) :] = 0.0
    if dac.range == "tile" and len(rows) > 1:
        steps, clipped = [], 0
        for part in rows:
            own, (step,), over = _to_codes(dac, np.ascontiguousarray(x_BK[:, part]), (part,))
            code[:, part] = own
            steps.append(step)
            clipped += over
        return code, steps, clipped
    step = np.full(len(x_BK), dac.full_scale or 1.0, np.float32)
    if dac.range in ("token", "tile"):
        token_full_scale(x_BK, step)
    clipped = int(quantise(x_BK, step, dac.steps, *dac.ends, code))
    return code, [step] * len(rows), clipped


def _subtract_offset(out_BN: F32, offset_N: F32, code_BK: F32, step_B: F32) -> None:
    if offset_N.any():
        total = code_BK.sum(axis=1) * step_B
        out_BN[:, : offset_N.size] -= total[:, None] * offset_N


def _calibrated_dac(dac: Dac, samples_BK: F32 | None) -> Dac:
    if dac.range != "calibrated":
        return dac
    if samples_BK is None:
        raise SpecError("DAC: a calibrated range needs sample inputs; pass samples_BK.")
    return dac.calibrated(samples_BK)


def adc_full_scale(mvm: Mvm, samples_BK: F32 | None) -> F32:
    """Range of the ADC in DAC codes times steps, by row of tiles and slice [T, S].

    Raises SpecError for a calibrated range without samples.
    """
    adc, shape = mvm.adc, (len(mvm.tiles), mvm.slices)
    if adc.full_scale_ratio is not None:
        return np.full(shape, adc.full_scale_ratio * mvm.unit, np.float32)
    if adc.range == "worst_case":
        heights = np.array([tile.rows.stop - tile.rows.start for tile in mvm.tiles], np.float32)
        return np.repeat(heights[:, None] * np.float32(mvm.unit), mvm.slices, axis=1)
    if adc.bits is None:
        return np.ones(shape, np.float32)
    if samples_BK is None:
        raise SpecError("ADC: a calibrated range needs sample inputs; pass samples_BK.")
    return _observed(mvm, mvm.inputs(samples_BK))


def _observed(mvm: Mvm, samples_BK: F32) -> F32:
    """Range that the column sums of the samples ask for; 1 where all are zero."""
    code, _, _ = _to_codes(mvm.dac, samples_BK, mvm.rows)
    used = len(samples_BK) * mvm.dac.pulses
    found = np.ones((len(mvm.tiles), mvm.slices), np.float32)
    for t, tile in enumerate(mvm.tiles):
        sums = tile.sums(code, mvm.dac)[:, :used]
        by_slice = sums.reshape(mvm.slices, -1, used, GROUP).swapaxes(1, 2)
        for s, seen in enumerate(by_slice.reshape(mvm.slices, used, -1)[:, :, : mvm.columns]):
            value = range_of(seen, mvm.adc.percentile, mvm.adc.sigmas)
            found[t, s] = value if value > SMALLEST else 1.0
    return found


def row_converter(mvm: Mvm, t: int, full_scale_S: F32) -> _Converter:
    """Converter settings of row of tiles `t` for the ADC ranges `full_scale_S` [S]."""
    readout, steps = mvm.readout, mvm.adc.steps
    shape = (mvm.slices, padded(mvm.columns))
    lsb = full_scale_S / np.float32(steps) if steps else np.ones_like(full_scale_S)
    # Padding columns get no gain and no code, so that they cannot saturate.
    gain, inverse = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    gain[:, : mvm.columns] = (lsb * readout.significance_S)[:, None] * readout.gain_TN[t]
    inverse[:, : mvm.columns] = (np.float32(1.0) / lsb)[:, None]
    return _Converter(np.full(shape, mvm.adc.noise_ratio * mvm.unit, np.float32), inverse, gain)
