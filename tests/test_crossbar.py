"""A programmed crossbar through its converters: laws of the whole accuracy path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.crossbar import Crossbar, Cuts, program
from cimsim.analog.kernels.irdrop import effective_conductances
from cimsim.analog.mvm import BLOCK, Mvm
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.noise import PCM, Gaussian, Ideal, NeuRRAM, ReadNoise, StuckAt

EXACT_DAC, EXACT_ADC = Dac(None), Adc(None)
SERIAL = Dac(8, pulse_bits=1)
SLICED = Coding(cells_per_weight=4, bits_per_cell=2)


def data(vectors=100, rows=150, columns=90, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((rows, columns)).astype(np.float32)
    return w, rng.standard_normal((vectors, rows)).astype(np.float32)


def bar_of(w, coding=Coding(), device=Ideal(), tile=(64, 32), seed=1, **more):  # noqa: B008
    return program(w, Cuts.of(w.shape, tile), coding, device, seed=seed, **more)


def relative(y, want):
    return float(np.abs(y - want).max() / np.abs(want).max())


# Zero noise and enough bits: the digital result.


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["differential", "offset", "signed"]),
    st.sampled_from(["column", "tile", "tensor"]),
    st.tuples(st.integers(1, 90), st.integers(1, 70)),
    st.tuples(st.integers(5, 100), st.integers(5, 64)),
    st.integers(1, 3),
)
def test_without_noise_the_result_is_digital(scheme, scaling, shape, tile, cells):
    w, x = data(9, *shape)
    low = 0.0 if scheme == "signed" else 1.5
    readout = bar_of(w, Coding(scheme, low, 25.0, cells, None, scaling), tile=tile).read(1e6)
    assert relative(readout.weights(), w) < 3e-6
    result = Mvm.build(readout, EXACT_DAC, EXACT_ADC)(x)
    assert np.abs(result.y_BN - x @ w).max() < 3e-5 * np.abs(x).max() * np.abs(w).sum(0).max()
    assert (result.conversion_count, result.saturated_count, result.clipped_count) == (0, 0, 0)


@pytest.mark.parametrize("coding", [Coding(), SLICED, Coding("offset", 1.0)])
@pytest.mark.parametrize("pulse_bits", [None, 1, 2, 3])
def test_error_falls_with_bits(coding, pulse_bits):
    """Each two bits more of the ADC divide the error by about four."""
    w, x = data()
    readout = bar_of(w, coding).read()
    want = x.astype(np.float64) @ readout.weights()
    errors = []
    for bits in (8, 10, 12):
        mvm = Mvm.build(readout, Dac(14, pulse_bits=pulse_bits), Adc(bits, "worst_case"))
        errors.append(float(np.sqrt(np.mean((mvm(x).y_BN - want) ** 2))))
    assert 3.0 < errors[0] / errors[1] < 5.5
    assert 3.0 < errors[1] / errors[2] < 5.5


@pytest.mark.parametrize("scheme", ["differential", "signed"])
def test_integer_pulses_are_exact(scheme):
    """Ideal sliced cells with an ADC that resolves single steps: integer arithmetic, exactly."""
    rng = np.random.default_rng(0)
    w = rng.integers(-255, 256, (60, 40)).astype(np.float32)
    w[0, 0] = 255.0
    x = rng.integers(-127, 128, (20, 60)).astype(np.float32)
    readout = bar_of(w, Coding(scheme, 0.0, 30.0, 4, 2, "tensor"), tile=(32, 40)).read()
    adc = Adc(12, "fixed", 2047 / 3)
    result = Mvm.build(readout, Dac(8, "fixed", 127.0, pulse_bits=1), adc)(x)
    assert result.y_BN == pytest.approx(x @ w, rel=1e-6, abs=0.05)
    assert result.saturated_count == 0
    assert result.conversion_count == 20 * 40 * 8 * 4 * 2


# Converters alone: signal over quantisation noise. A symmetric b-bit converter has steps of
# 2 A / (2^b - 2) over a full scale of +-A, error variance step^2 / 12. A full-scale sine has power
# A^2 / 2: 1.5 (2^b - 2)^2, that is 6.02 b + 1.76 dB for large b (0.28 dB less at 6 bits); a
# uniform input has power A^2 / 3: 6.02 b dB.


def snr_dB(signal, y):
    return 10 * np.log10(np.mean(signal**2) / np.mean((y - signal) ** 2))


@pytest.mark.parametrize("bits", [6, 8, 10])
@pytest.mark.parametrize("converter", ["dac", "adc"])
@pytest.mark.parametrize("shape", ["sine", "uniform"])
def test_textbook_snr(bits, converter, shape):
    t = np.arange(40_000) * (np.sqrt(5.0) - 1) / 2
    signal = np.sin(2 * np.pi * t) if shape == "sine" else 2 * (t % 1.0) - 1
    signal = signal[:, None].astype(np.float32)
    readout = bar_of(np.ones((1, 1), np.float32)).read()
    dac = Dac(bits if converter == "dac" else None, "fixed", 1.0)
    adc = Adc(bits if converter == "adc" else None, "fixed", 1.0)
    y = Mvm.build(readout, dac, adc)(signal).y_BN.astype(np.float64)
    assert snr_dB(signal, y) == pytest.approx(6.02 * bits + 1.76 * (shape == "sine"), abs=0.5)


def test_saturation_and_clipping_are_counted():
    w, x = np.ones((4, 3), np.float32), np.full((5, 4), 1.0, np.float32)
    readout = bar_of(w).read()
    tight = Mvm.build(readout, Dac(8, "fixed", 0.5), Adc(8, "fixed", 2.0))(x)
    assert tight.clipped_count == x.size
    assert tight.saturated_count == tight.conversion_count == 15
    assert tight.y_BN == pytest.approx(1.0)
    wide = Mvm.build(readout, Dac(8), Adc(8, "worst_case"))(x)
    assert (wide.clipped_count, wide.saturated_count) == (0, 0)
    assert wide.y_BN == pytest.approx(4.0)


def test_calibrated_ranges_follow_the_samples():
    w, x = data(256, 64, 30)
    readout = bar_of(w).read()
    mvm = Mvm.build(readout, Dac(8, "calibrated"), Adc(8, percentile=90.0), x)
    assert mvm.dac.full_scale == pytest.approx(np.percentile(np.abs(x), 99.99))
    result = mvm(x)
    assert result.saturated_count / result.conversion_count == pytest.approx(0.1, abs=0.01)
    for dac, adc in ((Dac(8, "calibrated"), Adc(None)), (Dac(8), Adc(8))):
        with pytest.raises(SpecError, match=r"C: a calibrated range needs sample inputs; pass sam"):
            Mvm.build(readout, dac, adc)


@pytest.mark.parametrize("device", [Ideal(), Gaussian(0.01)])
def test_calibration_of_pulses_sees_every_slice(device):
    w, x = data(64, 64, 10)
    readout = bar_of(w, SLICED, device).read()
    serial = Mvm.build(readout, SERIAL, Adc(8, percentile=100.0), x)
    assert serial(x).saturated_count == 0
    assert relative(serial(x).y_BN, x @ w) < 0.08
    assert serial.full_scale_TS.shape == (1, 4)


# Noise of reads: exact per output, equal in distribution to a draw for every cell.


@pytest.mark.parametrize("dac", [Dac(None), Dac(8, "fixed", 1.0), SERIAL])
def test_output_noise_equals_cell_noise(dac):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((40, 64)).astype(np.float32)
    x = np.repeat(rng.uniform(-1, 1, (1, 40)).astype(np.float32), 384, axis=0)
    bar = bar_of(w, device=ReadNoise(0.05, "cell"), tile=(25, 64))
    still = Mvm.build(bar.read(read_noise="none"), dac, EXACT_ADC)(x[:1]).y_BN
    mvm = Mvm.build(bar.read(read_noise="each_mvm"), dac, EXACT_ADC)
    ours = mvm(x, seed=3).y_BN - still
    cells = mvm(x, seed=3, per_cell=True).y_BN - still
    assert not np.allclose(ours, cells)
    spread = ours.std(axis=0)
    assert (ours / spread).std() == pytest.approx((cells / spread).std(), rel=0.02)
    assert stats.ks_2samp((ours / spread).ravel(), (cells / spread).ravel()).pvalue > 0.01
    if dac.bits is None:
        sigma = 0.05 * np.sqrt((x[0] ** 2) @ (w.astype(np.float64) ** 2))
        assert np.mean(spread / sigma) == pytest.approx(1.0, abs=0.02)
        assert abs(np.corrcoef(ours.T) - np.eye(64)).max() < 0.3


@pytest.mark.parametrize(("scheme", "devices"), [("differential", 2), ("signed", 1)])
@pytest.mark.parametrize("cells", [1, 3])
def test_every_device_adds_its_variance(scheme, devices, cells):
    w = data()[0]
    coding = Coding(scheme, cells_per_weight=cells)
    bar = bar_of(w, coding, ReadNoise(0.0, "absolute", 0.5))
    variance = bar.read(read_noise="each_mvm").variance_SKN
    assert variance == pytest.approx(np.full((cells, *w.shape), devices * 0.25))
    assert bar.read(read_noise="none").variance_SKN is None
    if scheme == "differential":
        return  # a frozen read stops at 0 uS, where one device of every pair is
    frozen = bar.read().steps_SKN - bar.read(read_noise="none").steps_SKN
    assert frozen.std() == pytest.approx(0.5 * np.sqrt(devices), rel=0.03)


def test_converter_noise_is_in_units_of_g_max():
    w, x = np.zeros((8, 64), np.float32), np.ones((500, 8), np.float32)
    w[0] = 2.0
    readout = bar_of(w).read()
    y = Mvm.build(readout, Dac(8), Adc(None, noise_ratio=0.04))(x, seed=1).y_BN
    assert y.mean() == pytest.approx(2.0, abs=0.003)
    assert y.std() == pytest.approx(0.04 * 2.0, rel=0.02)


# Same bits however the work is divided.


@pytest.mark.parametrize(
    ("coding", "device", "dac"),
    [
        (Coding(), ReadNoise(0.02), Dac(8)),
        (SLICED, Ideal(), SERIAL),
        (SLICED, ReadNoise(0.02), SERIAL),
        (SLICED, ReadNoise(0.02), Dac(8, pulse_bits=2)),
        (Coding("offset", 1.0), Gaussian(0.02), Dac(None)),
    ],
)
def test_same_bits_for_any_split_and_thread_count(coding, device, dac):
    w, x = data(2 * BLOCK + 37, 96, 70)
    adc = Adc(8, "fixed", 12.0, noise_ratio=0.04)
    mvm = Mvm.build(bar_of(w, coding, device).read(read_noise="each_mvm"), dac, adc)
    whole = mvm(x, seed=5, first_vector=11)
    two = mvm(x, seed=5, first_vector=11, threads=2)
    assert np.array_equal(whole.y_BN, two.y_BN)
    assert whole.saturated_count == two.saturated_count
    for cut in (1, 63, 64, 100):
        parts = [
            mvm(x[:cut], seed=5, first_vector=11).y_BN,
            mvm(x[cut:], seed=5, first_vector=11 + cut).y_BN,
        ]
        assert np.array_equal(whole.y_BN, np.concatenate(parts))
    assert not np.array_equal(whole.y_BN, mvm(x, seed=6, first_vector=11).y_BN)
    assert not np.array_equal(whole.y_BN, mvm(x, seed=5, first_vector=12).y_BN)


# One chip: programmed once, read at any time.


def test_a_chip_is_its_seed():
    w, _ = data()
    stored = bar_of(w, device=PCM())
    lean = bar_of(w, device=PCM(), keep_cells=False)
    other = bar_of(w, device=PCM(), seed=2)
    for t_s in (0.0, 3600.0):
        a, b = stored.read(t_s), lean.read(t_s)
        assert np.array_equal(a.steps_SKN, b.steps_SKN)
        assert np.array_equal(a.steps_SKN, stored.read(t_s).steps_SKN)
        assert not np.array_equal(a.steps_SKN, stored.read(t_s, read_index=1).steps_SKN)
        assert not np.array_equal(a.steps_SKN, other.read(t_s).steps_SKN)
    assert lean.cells is None
    assert isinstance(stored, Crossbar)


def test_pcm_fades_and_compensation_restores_the_level():
    w, _ = data(rows=128, columns=128)
    bar = bar_of(w, device=PCM(), tile=(64, 64))
    year = 31_536_000.0
    plain, restored = bar.read(year), bar.read(year, compensate=True)
    assert np.abs(plain.weights()).mean() < 0.6 * np.abs(w).mean()
    assert np.abs(restored.weights()).mean() == pytest.approx(np.abs(w).mean(), rel=0.03)
    assert restored.compensation.shape == (4,)
    assert (restored.compensation > 1.5).all()
    errors = [np.abs(r.weights() - w).std() for r in (restored, plain)]
    assert errors[0] < errors[1]


def test_gaussian_on_weights_is_relative_to_the_tile_maximum():
    """HaLoRA's noise: one signed cell a weight, sigma of the largest weight of each 64x64 tile."""
    w, _ = data(rows=128, columns=128)
    w[:64, :64] *= 4
    read = bar_of(w, Coding("signed", scaling="tile"), Gaussian(0.02), tile=(64, 64)).read()
    error = read.weights() - w
    for rows in (slice(0, 64), slice(64, 128)):
        largest = np.abs(w[rows, :64]).max()
        assert error[rows, :64].std() == pytest.approx(0.02 * largest, rel=0.05)
    tensor = bar_of(w, Coding("signed", scaling="tensor"), Gaussian(0.02, "tensor"), tile=(64, 64))
    error = tensor.read().weights() - w
    assert error[64:, 64:].std() == pytest.approx(0.02 * np.abs(w).max(), rel=0.05)


def test_stuck_cells_reach_the_product():
    w, x = data(4, 64, 64)
    read = bar_of(w, Coding("signed"), StuckAt(off_rate=0.3), tile=(64, 64)).read()
    dead = read.weights() == 0.0
    assert dead.mean() == pytest.approx(0.3, abs=0.03)
    y = Mvm.build(read, EXACT_DAC, EXACT_ADC)(x).y_BN
    assert y == pytest.approx(x @ np.where(dead, 0, w), abs=1e-4)


def test_wires_weaken_far_cells():
    w = np.ones((32, 32), np.float32)
    bar = bar_of(w, Coding("offset", 0.0, 100.0), tile=(32, 32), wires=Wires(5.0, 5.0))
    steps = bar.read().steps_SKN[0]
    assert steps == pytest.approx(effective_conductances(np.full((32, 32), 100.0), Wires(5.0, 5.0)))
    assert steps[-1, 0] > steps[0, -1]


def test_neurram_programmed_through_a_grid():
    w, x = data()
    readout = bar_of(w, Coding(g_max_uS=40.0), NeuRRAM()).read(86_400.0)
    y = Mvm.build(readout, Dac(8), Adc(10, percentile=100.0), x)(x).y_BN
    assert relative(y, x @ readout.weights()) < 0.05
    assert 0.05 < relative(readout.weights(), w) < 1.0


@pytest.mark.parametrize(
    ("tile", "cuts"), [((64, 32), (0, 64, 128, 150)), ((150, 90), (0, 150)), ((999, 9), (0, 150))]
)
def test_grid_cuts(tile, cuts):
    grid = Cuts.of((150, 90), tile)
    assert grid.row_cuts == cuts
    assert grid.shape == (150, 90)
    area = sum((r.stop - r.start) * (c.stop - c.start) for _, _, r, c in grid.tiles())
    assert area == 150 * 90


def test_errors():
    w, x = data()
    with pytest.raises(
        SpecError, match=r"^a weight of 150x90 does not fit a grid cut for 10x10\.$"
    ):
        program(w, Cuts((0, 10), (0, 10)), Coding(), Ideal(), seed=0)
    with pytest.raises(SpecError, match=r"^grid: row_cuts must rise from 0, got \(0, 5, 5\)\.$"):
        Cuts((0, 5, 5), (0, 1))
    with pytest.raises(SpecError, match=r"^a seed is a whole number of at least 0, got -1\.$"):
        bar_of(w, seed=-1)
    with pytest.raises(SpecError, match=r"^read_noise is frozen, each_mvm or none, got 'off'\.$"):
        bar_of(w).read(read_noise="off")
    mvm = Mvm.build(bar_of(w).read(), Dac(8), Adc(None))
    with pytest.raises(SpecError, match=r"^inputs are vectors x 150 rows, got shape \(100, 149\)"):
        mvm(x[:, 1:])
    x[3, 3] = np.nan
    with pytest.raises(SpecError, match=r"^inputs must be finite"):
        mvm(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dac(1), r"^DAC: bits must lie in 2 \.\. 22, got 1 \(None is an ideal one\)\.$"),
        (
            lambda: Dac(8, "auto"),
            r"^DAC: range is one of token, tile, fixed, calibrated, got 'auto'\.$",
        ),
        (lambda: Dac(8, "fixed"), r"^DAC: a fixed range needs full_scale"),
        (lambda: Dac(8, "fixed", 0.0), r"^DAC: full_scale must lie in 1e-12 \.\. 1e\+12, got 0\.$"),
        (lambda: Dac(8, percentile=0.0), r"^DAC: percentile must lie in 50 \.\. 100"),
        (lambda: Dac(None, pulse_bits=1), r"^DAC: bit-serial pulses need a number of bits\.$"),
        (lambda: Dac(4, pulse_bits=5), r"^DAC: pulse_bits must lie in 1 \.\. 4, got 5\.$"),
        (lambda: Dac(8, full_scale=2.0), r"^DAC: full_scale belongs to range `fixed`, and only"),
        (lambda: Dac(8, "fixed", float("nan")), r"^DAC: full_scale must lie in .* got nan\.$"),
        (lambda: Dac(True), r"^DAC: bits must lie in 2 \.\. 22, got True"),
        (lambda: Dac("8"), r"^DAC: bits must lie in 2 \.\. 22, got '8'"),
        (lambda: Adc(30), r"^ADC: bits must lie in 2 \.\. 22"),
        (lambda: Adc(40), r"got 40 \("),
        (lambda: Adc(0), r"got 0 \("),
        (lambda: Adc(-1), r"got -1 \("),
        (lambda: Adc(7.5), r"^ADC: bits is a whole number, got 7\.5\.$"),
        (lambda: Adc(8, "fixed", float("inf")), r"^ADC: full_scale_ratio must lie in .* got inf"),
        (lambda: Adc(8, "fixed"), r"^ADC: full_scale_ratio belongs to range `fixed`, and only"),
        (lambda: Adc(8, "calibrated", 3.0), r"^ADC: full_scale_ratio belongs to range `fixed`"),
        (lambda: Adc(8, noise_ratio=-1.0), r"^ADC: noise_ratio must lie in 0 \.\. 100, got -1 "),
        (lambda: Adc(8, percentile=200.0), r"^ADC: percentile must lie in 50 \.\. 100"),
    ],
)
def test_bad_converters_are_named(make, message):
    with pytest.raises(SpecError, match=message):
        make()
