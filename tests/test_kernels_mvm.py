"""Compiled passes against loops in numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.analog.converters import Dac, digits, pulse_weights
from cimsim.analog.kernels.lookup import pulse_index, subset_sums
from cimsim.analog.kernels.mvm import accumulate, count_not_finite, quantise, token_full_scale
from cimsim.analog.kernels.packed import byte_sums, packable
from cimsim.analog.kernels.philox import normals, padded
from cimsim.analog.kernels.product import pack_panels, products

F = np.float32


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("code_max", [1, 7, 127, 32767])
@pytest.mark.parametrize("lowest", [-1, 0])
def test_quantise_equals_numpy(code_max, lowest):
    low, steps = lowest - code_max, code_max - lowest
    x = rng().standard_normal((5, 333)).astype(F)
    step = np.full(5, 1.5, F)
    code = np.empty_like(x)
    clipped = quantise(x, step, steps, low, code_max, code)
    scaled = x * (F(steps) / F(1.5))
    assert np.array_equal(code, np.rint(np.clip(scaled, low, code_max)))
    assert clipped == np.count_nonzero((scaled > code_max + 0.5) | (scaled < low - 0.5))
    assert step == pytest.approx(1.5 / steps)


def test_ideal_dac_passes_inputs():
    x = rng().standard_normal((2, 5)).astype(F)
    step, code = np.full(2, 3.0, F), np.empty((2, 5), F)
    assert quantise(x, step, 0, 0, 0, code) == 0
    assert np.array_equal(code, x)
    assert np.array_equal(step, [1.0, 1.0])


def test_token_full_scale_and_zero_vector():
    x = np.array([[0.5, -3.0, 2.0], [0.0, 0.0, 0.0]], F)
    largest = np.empty(2, F)
    token_full_scale(x, largest)
    assert largest.tolist() == [3.0, 1.0]


def test_not_finite_is_counted():
    x = np.array([[1.0, np.nan, np.inf], [-np.inf, 0.0, 3e38]], F)
    assert count_not_finite(x) == 4
    assert count_not_finite(np.array([[1e12, -1e12, 1e-44]], F)) == 0


def reference_accumulate(
    sums_BPSN, variance, sigma_SN, inverse, gain, weight_P, step_B, low, top, key
):
    vectors, pulses, slices, columns = sums_BPSN.shape
    out = np.zeros((vectors, columns), F)
    saturated = 0
    for b in range(vectors):
        for s in range(slices):
            for p in range(pulses):
                z = normals(key[0], key[2], 1, columns, stream=p * slices + s, first_vector=7 + b)
                value = sums_BPSN[b, p, s].astype(F)
                if key[1]:
                    value = value + np.sqrt(variance[b, p, s] + sigma_SN[s] ** 2) * z[0]
                if top:
                    value = value * inverse[s]
                    saturated += np.count_nonzero((value > top + 0.5) | (value < low - 0.5))
                    value = np.rint(np.clip(value, low, top))
                out[b] += value * (gain[s] * (weight_P[p] * step_B[b]))
    return out, saturated


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize(("low", "top"), [(0, 0), (-15, 15), (-16, 15), (0, 15)])
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_accumulate_equals_the_loop(whole, noisy, low, top, spread):
    r = rng(1)
    vectors, pulses, slices, columns = 3, 2, 2, 128
    sums = (r.standard_normal((vectors, pulses, slices, columns)) * 9).astype(F)
    sums = np.rint(sums) if whole else sums
    variance = (r.random(sums.shape) * spread).astype(F)
    sigma, inverse, gain = (r.random((slices, columns), F) + F(0.5) for _ in range(3))
    weight, step = np.array([1.0, -2.0], F), r.random(vectors, F)

    def blocks(values):
        rows = values.reshape(vectors * pulses, slices * columns // 64, 64)
        return np.pad(rows.transpose(1, 0, 2), ((0, 0), (0, 5), (0, 0)), constant_values=99)

    out = np.zeros((vectors, columns), F)
    seen = accumulate(
        out,
        blocks(sums).astype(np.int16 if whole else F),
        blocks(variance) if spread else np.empty((0, 0, 0), F),
        sigma,
        inverse,
        gain,
        weight,
        step,
        low,
        top,
        noisy,
        np.array([11, 0, 5], np.uint32),
        7,
        np.empty(0, F),
        F(0),
    )
    want, saturated = reference_accumulate(
        sums, variance, sigma, inverse, gain, weight, step, low, top, (11, noisy, 5)
    )
    assert seen == (saturated, 0, 0)
    assert out == pytest.approx(want, abs=1e-4 if not top else 1e-3)
    assert not top or 0 < saturated < sums.size


@pytest.mark.parametrize(("vectors", "rows", "columns"), [(6, 1, 64), (12, 33, 128), (30, 200, 64)])
def test_products_equal_numpy(vectors, rows, columns):
    r = rng(2)
    drive = r.standard_normal((vectors, rows + 7)).astype(F)
    g = r.standard_normal((rows, columns)).astype(F)
    sums = products(drive, 4, pack_panels(g))
    assert sums.shape == (columns // 64, vectors, 64)
    want = drive[:, 4 : 4 + rows].astype(np.float64) @ g
    assert unblocked(sums, columns) == pytest.approx(want, abs=1e-5 * rows)


def test_products_do_not_depend_on_the_batch():
    drive = rng(3).standard_normal((48, 100)).astype(F)
    panels = pack_panels(rng(4).standard_normal((100, 64)).astype(F))
    whole = products(drive, 0, panels)
    for row in (0, 5, 17, 42):
        alone = products(np.ascontiguousarray(np.roll(drive, -row, axis=0)[:6]), 0, panels)
        assert np.array_equal(alone[:, 0], whole[:, row])


def test_product_is_one_chain_of_fused_steps():
    """A chain keeps what rounding every product would lose: 1 + 2^-12 squared, less 1."""
    x = F(1 + 2.0**-12)
    drive = np.zeros((6, 2), F)
    drive[0] = -1.0, x
    g = np.zeros((2, 64), F)
    g[:, 0] = 1.0, x
    total = products(drive, 0, pack_panels(g))[0, 0, 0]
    assert total == F(float(x) * float(x) - 1.0)
    assert total != F(x * x) - F(1.0)


def pulses_of(code, bits):
    return digits(code, Dac(bits, pulse_bits=1)).reshape(-1, code.shape[1])


def unblocked(sums, columns):
    return sums.swapaxes(0, 1).reshape(sums.shape[1], -1)[:, :columns]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(1, 100), st.integers(1, 130), st.integers(0, 99))
def test_pulse_sums_equal_the_loop(vectors, rows, columns, seed):
    r = rng(seed)
    code = r.integers(-127, 128, (vectors, rows)).astype(F)
    index = pulse_index(code, 8)
    cells = np.zeros((index.shape[1] * 4, padded(columns)), F)
    cells[:rows, :columns] = r.integers(-3, 4, (rows, columns))
    used = cells[:rows, :columns]
    want = np.stack([used[pulse > 0].sum(axis=0) for pulse in pulses_of(code, 8)])
    assert packable(cells)
    assert np.array_equal(unblocked(byte_sums(index, cells.astype(np.int8)), columns), want)
    assert np.array_equal(unblocked(subset_sums(index, cells), columns), want)


def test_pulse_sums_of_real_conductances():
    r = rng(3)
    code = r.integers(-127, 128, (6, 96)).astype(F)
    g = r.random((96, 64)).astype(F) * 25
    sums = unblocked(subset_sums(pulse_index(code, 8), g), 64)
    want = pulses_of(code, 8).astype(np.float64) @ g
    assert sums == pytest.approx(want, rel=1e-6)
    weights = pulse_weights(Dac(8, pulse_bits=1))
    whole = np.einsum("bpn,p->bn", want.reshape(6, 8, 64), weights)
    assert whole == pytest.approx(code @ g.astype(np.float64), rel=1e-9)


def test_worst_case_bytes_do_not_overflow():
    code = np.full((1, 512), -1.0, F)
    for level in (3, -3):
        cells = np.full((512, 64), level, np.int8)
        assert (byte_sums(pulse_index(code, 8), cells) == 512 * level).all()


@pytest.mark.parametrize("cells", [[[0.5]], [[4.0]], [[-4.0]]])
def test_not_packable(cells):
    assert not packable(np.array(cells, F))


@pytest.mark.parametrize(("bits", "pulse_bits"), [(8, 1), (8, 2), (8, 3), (8, 8), (5, 4)])
def test_pulses_add_up_to_the_code(bits, pulse_bits):
    dac = Dac(bits, pulse_bits=pulse_bits)
    top = 2 ** (bits - 1) - 1
    code = np.arange(-top, top + 1, dtype=F)[None]
    parts = digits(code, dac)
    assert parts.shape == (1, dac.pulses, code.size)
    assert np.array_equal(np.einsum("bpk,p->bk", parts, pulse_weights(dac)), code)
    assert np.abs(parts).max() <= dac.pulse_max
