"""Numbers at the edge of what makes sense: computed to a finite result, or refused by name."""

from __future__ import annotations

import math

import analog
import numpy as np
import pytest
import torch
from analog import programmed
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.crossbar import Cuts, program
from cimsim.analog.hardware import hardware_of
from cimsim.analog.mvm import Mvm
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.functional import program_chip
from cimsim.noise import (
    PCM,
    Gaussian,
    Ideal,
    NeuRRAM,
    ReadNoise,
    Retention,
    StuckAt,
    Table,
    WriteVerify,
    device_from_json,
    device_to_json,
)

F = np.float32
CODINGS = (
    Coding(),
    Coding("differential", 1.0, 25.0, 2, 3, "tile"),
    Coding("offset", 1.0, 25.0, 2, 3),
    Coding("offset", 0.5, 25.0, scaling="tensor"),
    Coding("differential", clip_sigma=3.0),
    Coding("differential", clip_percentile=99.0),
)
DACS = (Dac(8), Dac(None), Dac(8, "calibrated"), Dac(8, pulse_bits=1), Dac(6, pulse_bits=2))
ADCS = (Adc(8), Adc(None, "worst_case"), Adc(8, "worst_case"), Adc(6, noise_ratio=0.04))
DEVICES = (Ideal(), Gaussian(0.05), PCM(), StuckAt(0.1, 0.1), ReadNoise(0.05))
MAGNITUDES = (0.0, 1e-45, 1e-40, 1e-38, 1e-31, 1e-20, 1.0, 1e6, 1e11)


def arrays(scale, x_scale, seed, zeros=0):
    rng = np.random.default_rng(seed)
    w = np.clip(rng.standard_normal((12, 9)), -3, 3) * scale
    x = np.clip(rng.standard_normal((4, 12)), -3, 3) * x_scale
    w[:, :zeros] = 0.0
    return w.astype(F), x.astype(F)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    scale=st.sampled_from(MAGNITUDES), x_scale=st.sampled_from(MAGNITUDES),
    coding=st.sampled_from(CODINGS), dac=st.sampled_from(DACS), adc=st.sampled_from(ADCS),
    device=st.sampled_from(DEVICES), zeros=st.integers(0, 9), t_s=st.sampled_from([0.0, 1e10]),
    compensate=st.booleans(), mode=st.sampled_from(["frozen", "each_mvm", "none"]),
)  # fmt: skip
def test_finite_weights_and_inputs_give_finite_results(
    scale, x_scale, coding, dac, adc, device, zeros, t_s, compensate, mode
):
    w, x = arrays(scale, x_scale, 3, zeros)
    bar = program(w, Cuts.of(w.shape, (8, 8)), coding, device, seed=1)
    readout = bar.read(t_s, compensate=compensate, read_noise=mode)
    with np.errstate(all="raise", under="ignore"):
        y = Mvm.build(readout, dac, adc, x)(x, seed=1).y_BN
    assert np.isfinite(y).all()
    assert np.isfinite(readout.weights()).all()


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("x_scale", [1e-45, 1e-38, 1.0])
def test_what_is_next_to_nothing_counts_as_zero(coding, x_scale):
    w, x = arrays(1.0, x_scale, 0)
    w[:, 2] = F(1e-44)
    y = Mvm.build(program(w, Cuts.of(w.shape, (8, 8)), coding, Ideal(), seed=0).read(),
                  Dac(8), Adc(None, "worst_case"))(x).y_BN  # fmt: skip
    exact = x.astype(np.float64) @ w
    assert np.abs(y[:, 2]).max() <= 1e-6 * max(1.0, x_scale)
    if x_scale == 1.0 and not (coding.clip_sigma or coding.clip_percentile):
        share = 0.2 if coding.bits_per_cell else 0.02
        assert np.abs(y - exact).max() < share * np.abs(exact).max()


def test_both_paths_take_vectors_next_to_nothing_for_zeros():
    machine, model = analog.machine(), analog.network(32, 16)
    x = torch.cat([analog.vectors(2, 32), torch.full((1, 32), 1e-44)])
    mapping = analog.of_module(model, machine, x)
    chip = programmed(model, mapping, machine, Ideal(), adc=Adc(8, "worst_case"))
    with torch.no_grad():
        kernel, plain = (chip.at(path=path)(x) for path in ("kernel", "torch"))
    assert torch.isfinite(kernel).all()
    assert torch.allclose(kernel, plain, atol=1e-5)
    assert torch.equal(kernel[2], model[0].bias)


@pytest.mark.parametrize("clip", [{"clip_sigma": 3.0}, {"clip_percentile": 80.0}])
@pytest.mark.parametrize("scaling", ["column", "tile", "tensor"])
def test_a_group_without_spread_is_not_clipped(clip, scaling):
    """Its standard deviation, or percentile, is 0: nothing to clip by."""
    coding = Coding(scaling=scaling, **clip)
    same = np.full((6, 2), 5.0, F)
    assert coding.scale(same) == pytest.approx([5.0, 5.0])
    if "clip_percentile" in clip:
        lone = np.zeros((20, 2), F)
        lone[0] = 5.0
        assert coding.scale(lone) == pytest.approx([5.0, 5.0])
    one_row = program(
        np.array([[5.0, -7.0]], F), Cuts.of((1, 2), (8, 8)), Coding(**clip), Ideal(), seed=0
    )
    assert one_row.read().weights()[0] == pytest.approx([5.0, -7.0])


@pytest.mark.parametrize("value", [3e38, 1e13, -1e13])
def test_weights_and_inputs_beyond_the_limit_are_refused(value):
    w, x = arrays(1.0, 1.0, 0)
    mvm = Mvm.build(program(w, Cuts.of(w.shape, (8, 8)), Coding(), Ideal(), seed=0).read(),
                    Dac(8), Adc(8, "worst_case"))  # fmt: skip
    x[1, 1] = value
    with pytest.raises(SpecError, match=r"^inputs must be finite and at most 1e\+12, the largest"):
        mvm(x)
    w[3, 3] = value
    with pytest.raises(SpecError, match=r"^a weight has the magnitude .* up to 1e\+12; repair"):
        program(w, Cuts.of(w.shape, (8, 8)), Coding(), Ideal(), seed=0)
    machine, model = analog.machine(), analog.network(32, 16)
    mapping = analog.of_module(model, machine, analog.vectors(1, 32))
    with torch.no_grad():
        model[0].weight[0, 0] = value
    with pytest.raises(SpecError, match=r"^0\.weight: a weight has the magnitude"):
        program_chip(model, mapping, machine, Ideal())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Gaussian(5.0),
            r"sigma_ratio must lie in 0 \.\. 1, got 5 \(a share: 0\.05 is 5 %\)",
        ),
        (lambda: Gaussian(math.nan), "got nan"),
        (lambda: Gaussian(math.inf), "got inf"),
        (lambda: Gaussian(10**400), "got <a large number>"),
        (lambda: Gaussian("0.1"), "got '0.1'"),
        (lambda: Gaussian(0.0, "absolute", 1e9), "sigma_uS must lie in"),
        (lambda: ReadNoise(2.0), r"^read_noise: sigma_ratio must lie in 0 \.\. 1"),
        (lambda: ReadNoise(0.1, inner=None), "^read_noise: inner is a device model, got None"),
        (lambda: StuckAt(0.1, inner=5), "^stuck_at: inner is a device model, got 5"),
        (lambda: StuckAt(g_off_uS=math.inf), "g_off_uS must lie in"),
        (lambda: Retention(0.1, t0_s=math.inf), "t0_s must lie in"),
        (lambda: Retention(0.1, temperature_K=1.0), r"temperature_K must lie in 4 \.\. 1000"),
        (lambda: Retention(0.1, reference_K=5000.0), "reference_K must lie in"),
        (lambda: Retention(0.1, activation_eV=-1.0), "activation_eV must lie in"),
        (lambda: PCM(drift_scale=1e30), r"drift_scale must lie in 0 \.\. 10"),
        (lambda: NeuRRAM(math.inf), r"scale must lie in 0 \.\. 10"),
        (lambda: Table((0.0, 1.0), (1.0,), ((0.1, 7.0),)), r"sigma_ratio\[0\]\[1\] must lie"),
        (lambda: Table((0.0, 1.0), (1.0, 1e30), ((0.1, 0.1),) * 2), r"times_s\[1\] must lie"),
        (lambda: Table((0.0, 40.0), (1.0,), ((0.1, 0.1),)), r"g_ratio\[1\] must lie in 0 \.\. 1"),
        (lambda: Table((0.0,), (1.0,), ((0.1,),), title=""), "^table: title is a text"),
        (lambda: WriteVerify(math.inf), "tolerance_uS must lie in"),
        (lambda: WriteVerify(max_pulses=10**6), r"max_pulses must lie in 1 \.\. 1000"),
        (lambda: WriteVerify(max_pulses=True), "got True"),
        (lambda: WriteVerify(step_sigma_uS=0.0), "step_sigma_uS must lie in"),
        (lambda: Wires(-1.0, 1.0), "^wires: word_ohm must lie in"),
        (lambda: Wires(1.0, math.nan), "^wires: bit_ohm must lie in"),
    ],
)
def test_senseless_fields_are_named(make, message):
    with pytest.raises(SpecError, match=message):
        make()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (StuckAt(g_off_uS=1000.0), r"^stuck_at: g_off_uS 1000 lies above the 25 uS that the cells"),
        (Retention(inner=StuckAt(0.1, 0.1, 26.0)), r"^stuck_at: g_off_uS 26 lies above"),
        (Gaussian(0.0, "absolute", 30.0), r"^gaussian: sigma_uS 30 lies above"),
        (WriteVerify(tolerance_uS=100.0), r"^write_verify: tolerance_uS 100 lies above"),
        (WriteVerify(start_uS=60.0), r"^write_verify: start_uS 60 lies above"),
    ],
)
def test_what_the_cells_cannot_hold_is_told_before_anything_is_programmed(device, message):
    with pytest.raises(SpecError, match=message):
        hardware_of(analog.machine(), device)


@pytest.mark.parametrize("t_s", [1e300, math.inf, math.nan, -1.0])
@pytest.mark.parametrize("device", [Ideal(), PCM(), NeuRRAM(), Retention(0.1)])
def test_times_beyond_all_measurements_are_refused(device, t_s):
    w, _ = arrays(1.0, 1.0, 0)
    bar = program(w, Cuts.of(w.shape, (8, 8)), Coding(), device, seed=0)
    with pytest.raises(
        SpecError, match=r"^a read happens at a finite time after programming, 0 to"
    ):
        bar.read(t_s)


def test_compensation_of_nothing_is_refused():
    w, _ = arrays(1.0, 1.0, 0)
    lost = Retention(0.5, t0_s=1.0)
    bar = program(w, Cuts.of(w.shape, (8, 8)), Coding(), lost, seed=0)
    assert not bar.read(1e9).weights().any()
    with pytest.raises(SpecError, match="compensation would amplify a tile by more than 1e\\+06"):
        bar.read(1e9, compensate=True)
    zeros = program(np.zeros_like(w), Cuts.of(w.shape, (8, 8)), Coding(), lost, seed=0)
    assert (zeros.read(1e9, compensate=True).compensation == 1.0).all()


def test_a_narrow_window_needs_no_large_grid():
    """Pulses that hit it at the rate of its width: (2 w) x density, until the limit."""
    narrow, limit = 1e-6, 1000
    pulses = WriteVerify(narrow, max_pulses=limit).mean_pulses(40.0)
    assert limit * 0.99 < pulses < limit
    counts = [WriteVerify(w, max_pulses=limit).mean_pulses(40.0) for w in (1e-3, 1e-2, 0.1, 1.0)]
    assert counts == sorted(counts, reverse=True)
    with pytest.raises(SpecError, match=r"need a grid of \d+ cells, at most 4096 are computed"):
        WriteVerify(step_sigma_uS=1e-3).mean_pulses(40.0)


def test_numbers_of_numpy_are_numbers():
    model = Gaussian(np.float32(0.5), "column")
    assert model == device_from_json(device_to_json(model))
    assert WriteVerify(max_pulses=np.int64(7)).max_pulses == 7
    assert Adc(np.int64(8)).bits == 8
