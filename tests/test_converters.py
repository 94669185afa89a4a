"""Converters: codes and ranges by hand, the range of a row of tiles, both paths, aihwkit."""

import analog
import numpy as np
import pytest
import torch
from analog import programmed
from pydantic import ValidationError

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac, code_ends, code_steps
from cimsim.analog.crossbar import Cuts, program
from cimsim.analog.hardware import hardware_of
from cimsim.analog.mvm import Mvm
from cimsim.errors import SpecError
from cimsim.functional.product import Counts, to_codes
from cimsim.noise import Gaussian, Ideal

F = np.float32
IDEAL_DAC, IDEAL_ADC = Dac(None), Adc(None, "worst_case")
CODES = ("symmetric", "twos_complement", "unipolar")


def mvm_of(weight, dac=IDEAL_DAC, adc=IDEAL_ADC, tile=None, samples=None, coding=None):
    weight = np.asarray(weight, F)
    coding = coding or Coding(scaling="tensor")
    bar = program(weight, Cuts.of(weight.shape, tile or weight.shape), coding, Ideal(), seed=0)
    return Mvm.build(bar.read(), dac, adc, samples)


@pytest.mark.parametrize(
    ("codes", "ends", "steps"),
    [("symmetric", (-3, 3), 3), ("twos_complement", (-4, 3), 4), ("unipolar", (0, 7), 7)],
)
def test_codes_of_three_bits(codes, ends, steps):
    assert code_ends(3, codes) == ends
    assert code_steps(3, codes) == steps
    assert code_ends(None, codes) == (0, 0)


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("bits", [3, 6])
def test_an_adc_has_as_many_levels_as_its_codes(codes, bits):
    """A ramp over one cell meets every level, each full scale / steps from the next."""
    ramp = np.linspace(-1.2, 1.2, 4001, dtype=F)[:, None]
    adc = Adc(bits, "fixed", 1.0, codes=codes)
    result = mvm_of([[1.0]], adc=adc)(ramp)
    levels = np.unique(result.y_BN)
    low, high = code_ends(bits, codes)
    assert levels == pytest.approx(np.arange(low, high + 1) / code_steps(bits, codes), abs=1e-6)
    assert len(levels) == 2**bits - (codes == "symmetric")
    beyond = (ramp * code_steps(bits, codes) > high + 0.5) | (
        ramp * code_steps(bits, codes) < low - 0.5
    )
    assert result.saturated_count == np.count_nonzero(beyond)


def test_the_largest_input_of_twos_complement_is_clipped_by_a_step():
    x = np.array([[1.0, -1.0, 0.24], [-1.0, 1.0, -0.26]], F)
    result = mvm_of(np.eye(3), Dac(3, codes="twos_complement"))(x)
    assert result.y_BN == pytest.approx(np.array([[0.75, -1.0, 0.25], [-1.0, 0.75, -0.25]]))
    assert result.clipped_count == 2
    serial = mvm_of(np.eye(3), Dac(3, codes="twos_complement", pulse_bits=1))(x)
    assert serial.y_BN == pytest.approx(result.y_BN)


def test_a_unipolar_adc_reads_whole_steps_where_a_bit_of_a_symmetric_one_is_lost():
    """ISAAC's columns: one-bit pulses on two-bit cells of either 0 .. 3 steps, 8 bits of ADC."""
    rng = np.random.default_rng(0)
    weight, x = rng.uniform(-1, 1, (60, 20)).astype(F), rng.uniform(-1, 1, (30, 60)).astype(F)
    coding = Coding("offset", 0.0, 30.0, 4, 2, "tensor")
    dac = Dac(8, "fixed", 1.0, pulse_bits=1)
    exact = mvm_of(weight, dac, coding=coding)(x).y_BN
    # 255 steps of 10 uS are 85 full cells
    found = mvm_of(weight, dac, Adc(8, "fixed", 85.0, codes="unipolar"), coding=coding)(x)
    assert found.y_BN == pytest.approx(exact, abs=2e-5)
    assert found.saturated_count == 0
    lost = mvm_of(weight, dac, Adc(8, "fixed", 85.0), coding=coding)(x).y_BN
    assert np.abs(lost - exact).max() > 0.01


def test_unipolar_codes_need_sums_that_are_never_negative():
    adc = Adc(codes="unipolar")
    serial = {"input_pulses": 8, "dac_bits": 1}
    analog.tiles(analog.machine(coding="offset", **serial), Ideal(), adc=adc)
    for rram in (
        serial,
        {"coding": "offset"},
        {"coding": "offset", "input_pulses": 4, "dac_bits": 2},
    ):
        with pytest.raises(
            SpecError, match="unipolar ADC codes are for column sums that are never"
        ):
            analog.tiles(analog.machine(**rram), Ideal(), adc=adc)
    with pytest.raises(SpecError, match="DAC: codes are one of symmetric, twos_complement, got"):
        Dac(codes="unipolar")


def test_ranges_by_sigma_and_by_percentile():
    """By hand: root mean squares of inputs and of the column sums that they cause."""
    rng = np.random.default_rng(1)
    samples = rng.standard_normal((400, 12)).astype(F)
    weight = rng.standard_normal((12, 5)).astype(F)
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    assert Dac(8, "calibrated", sigmas=3.0).calibrated(samples).full_scale == pytest.approx(3 * rms)
    by_percent = Dac(8, "calibrated", percentile=90.0).calibrated(samples).full_scale
    assert by_percent == pytest.approx(float(np.percentile(np.abs(samples), 90.0)))
    sums = samples @ weight / np.abs(weight).max() * 25.0  # in steps of 1 uS
    spread = float(np.sqrt(np.mean(sums.astype(np.float64) ** 2)))
    for rule, wanted in (
        ({"sigmas": 4.0}, 4.0 * spread),
        ({"percentile": 90.0}, float(np.percentile(np.abs(sums), 90.0))),
    ):
        found = mvm_of(weight, adc=Adc(8, "calibrated", **rule), samples=samples)
        assert found.full_scale_TS[0, 0] == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(SpecError, match="DAC: sigmas belong to range `calibrated`"):
        Dac(8, "token", sigmas=3.0)
    with pytest.raises(SpecError, match=r"ADC: sigmas must lie in 0\.1 \.\. 1000"):
        Adc(sigmas=0.0)


def test_a_machine_file_names_codes_and_rules():
    data = analog.machine(
        coding="offset", input_pulses=8, dac_bits=1,
        accuracy={
            "dac_range": "calibrated", "dac_sigmas": 5.0, "dac_codes": "twos_complement",
            "adc_percentile": 99.0, "adc_codes": "unipolar",
            "sources": {"dac_sigmas": "assumed: a test", "adc_percentile": "assumed: a test"},
        },
    )  # fmt: skip
    tiles = hardware_of(data, Ideal())
    assert tiles.dac == Dac(8, "calibrated", pulse_bits=1, codes="twos_complement", sigmas=5.0)
    assert tiles.adc == Adc(data.rram.adc_bits, percentile=99.0, codes="unipolar")
    for accuracy, message in (
        (
            {"adc_percentile": 99.0, "adc_sigmas": 4.0},
            "give adc_percentile or adc_sigmas, not both",
        ),
        ({"dac_sigmas": 4.0}, "dac_percentile and dac_sigmas belong to dac_range `calibrated`"),
    ):
        sources = dict.fromkeys(accuracy, "assumed: a test")
        with pytest.raises(ValidationError, match=message):
            analog.machine(accuracy=accuracy | {"sources": sources})


@pytest.mark.parametrize("pulse_bits", [None, 1])
@pytest.mark.parametrize("scheme", ["differential", "offset"])
def test_a_row_of_tiles_scales_its_own_inputs(scheme, pulse_bits):
    """The sum of what each row of tiles computes alone from its part of a vector."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((20, 50)).astype(F)
    x[:, 32:] *= 0.01
    x[3, :16] = 0.0
    weight = rng.standard_normal((50, 6)).astype(F)
    coding, tile = Coding(scheme, scaling="tensor"), Dac(5, "tile", pulse_bits=pulse_bits)
    whole = mvm_of(weight, tile, tile=(16, 6), coding=coding)
    parts = np.zeros((20, 6))
    for rows in whole.readout.grid.row_tiles():
        alone = mvm_of(weight[rows], Dac(5, pulse_bits=pulse_bits), coding=coding)
        parts += alone(x[:, rows]).y_BN
    assert whole(x).y_BN == pytest.approx(parts, abs=1e-4)
    one = mvm_of(weight, Dac(5, pulse_bits=pulse_bits), tile=(16, 6), coding=coding)
    errors = [np.abs(found(x).y_BN - x @ weight).mean() for found in (whole, one)]
    assert errors[0] < errors[1]


DACS = (
    Dac(6, "tile"), Dac(6, "tile", codes="twos_complement"), Dac(6, codes="twos_complement"),
    Dac(6, "calibrated", sigmas=2.0), Dac(8, "tile", pulse_bits=1),
)  # fmt: skip


@pytest.mark.parametrize("dac", DACS)
@pytest.mark.parametrize("codes", CODES)
def test_both_paths_compute_the_same(dac, codes):
    rram = {"coding": "offset", "input_pulses": dac.bits, "dac_bits": 1} if dac.pulse_bits else {}
    if codes == "unipolar" and not rram:
        codes = "symmetric"
    machine, model = analog.machine(**rram), analog.network(40, 24, 9)
    x = analog.vectors(30, 40)
    x[:, 20:] *= 0.05
    mapping = analog.of_module(model, machine, x)
    adc = Adc(12, "calibrated", noise_ratio=0.01, codes=codes)
    chip = programmed(model, mapping, machine, Gaussian(0.02), 7, dac=dac, adc=adc)
    kernel = chip.at(samples=(x,), path="kernel")
    other = chip.at(ranges_of=kernel, path="torch")
    with torch.no_grad():
        one, two = kernel(x), other(x)
    assert float((one - two).abs().max() / one.abs().max()) < 5e-3
    assert float(((one - two).abs() <= 2e-5 * one.abs().max()).float().mean()) > 0.9
    first, second = (
        [layer.counts for layer in converted.layers.values()] for converted in (kernel, other)
    )
    for a, b in zip(first, second, strict=True):
        assert a.conversions == b.conversions
        assert abs(a.clipped - b.clipped) <= 2
        assert abs(a.saturated - b.saturated) <= 2


def test_a_weight_learns_from_the_inputs_as_each_row_of_tiles_sees_them():
    machine, model = analog.machine(), analog.network(40, 8)
    x = analog.vectors(6, 40)
    x[:, 20:] *= 0.05
    mapping = analog.of_module(model, machine, x)
    chip = programmed(
        model, mapping, machine, Ideal(), dac=Dac(4, "tile"), adc=Adc(None, "worst_case")
    )
    chip.at(path="torch")(x).sum().backward()
    rows = (slice(0, 16), slice(16, 32), slice(32, 40))
    code, step, _ = to_codes(x, Dac(4, "tile"), Counts(), rows)
    seen = torch.cat([code[:, part] * step[t, :, None] for t, part in enumerate(rows)], 1)
    assert torch.allclose(model[0].weight.grad, seen.sum(0).expand(8, -1), atol=1e-5)


@pytest.mark.parametrize("inputs", [384, 1536])
def test_converter_errors_are_those_of_aihwkit(inputs):
    """One linear layer of 512-row tiles with exact cells, 8-bit converters, heavy-tailed inputs."""
    nn = pytest.importorskip("aihwkit.nn")
    from aihwkit.simulator.configs import TorchInferenceRPUConfig
    from aihwkit.simulator.parameters import BoundManagementType, NoiseManagementType

    torch.manual_seed(0)
    config = TorchInferenceRPUConfig()
    config.mapping.max_input_size = config.mapping.max_output_size = 512
    config.mapping.weight_scaling_omega, config.mapping.weight_scaling_columnwise = 1.0, True
    forward = config.forward
    forward.inp_res = forward.out_res = 1.0 / 254.0
    forward.out_noise, forward.out_bound = 0.0, 12.0
    forward.noise_management = NoiseManagementType.ABS_MAX
    forward.bound_management = BoundManagementType.NONE
    digital = torch.nn.Linear(inputs, 128, bias=False)
    theirs = nn.AnalogLinearMapped(inputs, 128, bias=False, rpu_config=config)
    theirs.set_weights(digital.weight.detach().clone())
    theirs.eval()
    x = torch.randn(200, inputs) * torch.linspace(-2.0, 2.0, inputs).exp()
    with torch.no_grad():
        exact, kit = digital(x), theirs(x)
    errors = {}
    for name in ("tile", "token"):
        found = mvm_of(
            digital.weight.detach().T.numpy(), Dac(8, name), Adc(8, "fixed", 12.0), (512, 512),
            None, Coding(scaling="column"),
        )(x.numpy()).y_BN  # fmt: skip
        errors[name] = float((torch.from_numpy(found.copy()) - exact).norm())
    wanted = float((kit - exact).norm())
    assert errors["tile"] == pytest.approx(wanted, rel=0.03)
    assert (errors["token"] / wanted > 1.1) == (inputs > 512)
