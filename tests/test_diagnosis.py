"""Where accuracy is lost: the layer that errs is the one that is named, and by how much."""

from __future__ import annotations

import math

import analog
import pytest
import torch
from analog import analogize, programmed

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.crossbar import Cuts
from cimsim.errors import SpecError
from cimsim.functional import clipping_losses, hardware_of, without_errors
from cimsim.functional.diagnosis import EDGES, diagnose
from cimsim.noise import PCM, Gaussian, Ideal, WriteVerify, parse_device
from cimsim.report.writes import first_programming
from cimsim.spec import load_architecture
from cimsim.studies.crossbar import (
    Bench,
    effects,
    measure,
    sweep_bits,
    sweep_ir_drop,
    sweep_noise,
    sweep_rows,
)
from cimsim.views.crossbar import save_sweep


def diagnosed(noise, *, model=None, x=None, seed=0, **settings):
    machine = analog.machine()
    model, x = model or analog.network(48, 32, 16), analog.vectors(60, 48) if x is None else x
    mapping = analog.of_module(model, machine, x)
    converted = analogize(model, mapping, machine, noise, seed, **settings)
    return model, converted, diagnose(model, converted, (x,))


def test_exact_tiles_show_no_error():
    exact = analog.ideal(analog.machine())
    _, _, found = diagnosed(exact.pop("noise"), **exact)
    assert [layer.weight for layer in found] == ["0.weight", "2.weight"]
    for layer in found:
        assert min(layer.snr_dB, layer.cells_snr_dB, layer.accumulated_snr_dB) > 100.0
        assert (layer.saturated_ratio, layer.clipped_ratio) == (0.0, 0.0)
        assert sum(layer.histogram[19:21]) == sum(layer.histogram)


@pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")
def test_noise_of_the_cells_is_told_from_that_of_the_converters():
    exact = analog.ideal(analog.machine())
    cells_only = exact | {"noise": Gaussian(0.02)}
    _, _, cells = diagnosed(cells_only.pop("noise"), **cells_only)
    for layer in cells:
        assert layer.snr_dB == pytest.approx(layer.cells_snr_dB, abs=0.1)
        assert 10.0 < layer.snr_dB < 40.0
    converters = exact | {"adc": Adc(5, "fixed", 3.0)}
    _, _, found = diagnosed(converters.pop("noise"), **converters)
    for layer in found:
        assert layer.cells_snr_dB > 100.0 > 40.0 > layer.snr_dB


def test_the_ratio_follows_the_noise():
    exact = analog.ideal(analog.machine())
    exact.pop("noise")
    ratios = [
        [layer.snr_dB for layer in diagnosed(Gaussian(sigma), **exact)[2]]
        for sigma in (0.005, 0.01, 0.02)
    ]
    # Twice the noise is 6.02 dB; the draw is the same, only larger.
    for a, b in ((0, 1), (1, 2)):
        for high, low in zip(ratios[a], ratios[b], strict=True):
            assert high - low == pytest.approx(6.02, abs=0.2)


def test_errors_accumulate_and_the_guilty_layer_stands_out():
    machine, model, x = analog.machine(), analog.network(48, 32, 32, 16), analog.vectors(60, 48)
    mapping = analog.of_module(model, machine, x)
    exact = analog.ideal(machine)
    converted = analogize(model, mapping, machine, **exact)
    layer = converted.layers["2.weight"]
    noisy = programmed(model, mapping, machine, **(exact | {"noise": Gaussian(0.05)})).at()
    layer.recipe = noisy.layers["2.weight"].recipe
    first, second, third = diagnose(model, converted, (x,))
    assert first.snr_dB > 100.0
    assert third.snr_dB > 100.0
    assert second.snr_dB < 35.0
    assert first.accumulated_snr_dB > 100.0
    assert second.accumulated_snr_dB == pytest.approx(second.snr_dB, abs=0.5)
    assert third.accumulated_snr_dB < 40.0


@pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")
def test_saturation_and_histogram():
    model, converted, found = diagnosed(Ideal(), dac=Dac(8, "fixed", 1.0), adc=Adc(8, "fixed", 0.5))
    assert len(EDGES) == 41
    assert 0.05 < found[0].saturated_ratio < 1.0
    assert all(len(layer.histogram) == 40 for layer in found)
    assert found[0].clipped_ratio == pytest.approx(0.32, abs=0.05)
    assert sum(found[0].histogram) == 60 * 32
    assert all(layer.counts.conversions == 0 for layer in converted.layers.values())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("clip", [{"clip_sigma": 3.0}, {"clip_percentile": 99.0}])
def test_what_clipping_takes_of_the_outputs_by_hand(clip):
    """One weight far out meets the largest input; the other layer loses nothing."""
    machine, model, x = analog.machine(), analog.network(12, 16, 8), analog.vectors(50, 12)
    x[:, 3] *= 8.0
    with torch.no_grad():
        model[0].weight.clamp_(-0.25, 0.25)
        model[0].weight[5, 3] = 40.0
    mapping = analog.of_module(model, machine, x)
    coding = Coding(scaling="tile", **clip)
    settings = {"coding": coding, "dac": Dac(None), "adc": Adc(None, "worst_case")}
    chip = programmed(model, mapping, machine, Ideal(), **settings)
    first, _ = diagnose(model, chip.at(), (x,))
    weight = model[0].weight.detach().T.double()
    scale = float(coding.scale(weight.float().numpy())[0])
    assert scale < 20.0
    away = torch.zeros_like(weight)
    away[3, 5] = 40.0 - scale
    rows = x.double()
    wanted = float((rows @ away).norm() / (rows @ weight).norm())
    assert wanted > 0.5
    assert first.clipping_ratio == pytest.approx(wanted, rel=1e-4)
    assert clipping_losses(chip, (x,))["0.weight"] == pytest.approx(wanted, rel=1e-4)
    # the whole error of exact cells behind ideal converters is what clipping took
    assert 10.0 ** (-first.snr_dB / 20.0) == pytest.approx(wanted, rel=0.05)
    whole = programmed(model, mapping, machine, Ideal(), **(settings | {"coding": Coding()}))
    assert [layer.clipping_ratio for layer in diagnose(model, whole.at(), (x,))] == [0.0, 0.0]
    assert clipping_losses(whole, (x,)) == {}
    assert set(chip.at(converters=False).layers["0.weight"].clipped_away().ravel()) == {0.0}


def test_a_whole_bert_can_be_diagnosed():
    machine, model = analog.machine(), analog.bert()
    mapping = analog.mapped(analog.traced(model), machine)
    converted = analogize(model, mapping, machine, PCM(), samples={"input_ids": analog.IDS})
    found = diagnose(model, converted, {"input_ids": analog.IDS})
    assert [layer.weight for layer in found] == list(converted.layers)
    assert all(0.0 < layer.snr_dB < layer.cells_snr_dB + 1.0 < 40.0 for layer in found)
    assert all(math.isfinite(layer.accumulated_snr_dB) for layer in found)


def test_what_cannot_be_diagnosed():
    machine, model, x = analog.machine(), analog.network(48, 32), analog.vectors(6, 48)
    mapping = analog.of_module(model, machine, x)
    two = analogize(model, mapping, machine, Ideal(), (1, 2), samples=(x,))
    with pytest.raises(SpecError, match=r"^diagnosis looks at one chip, the model has 2 side by"):
        diagnose(model, two, (x,))


def bench(**changes):
    return Bench(**({"rows": 64, "columns": 32, "vectors": 64, "draws": 2} | changes))


def test_a_sweep_of_one_crossbar_moves_the_right_way():
    hardware = hardware_of(analog.machine(), Gaussian(0.01))
    bits = [point.snr_dB for point in sweep_bits(hardware, bench(), (4, 6, 8))]
    assert bits == sorted(bits)
    devices = [(f"gaussian:{s}", Gaussian(s)) for s in (0.0, 0.01, 0.05)]
    noise = [point.snr_dB for point in sweep_noise(hardware, bench(), devices)]
    assert noise == sorted(noise, reverse=True)
    exact = without_errors(hardware)
    ohms = [point.snr_dB for point in sweep_ir_drop(exact, bench(rows=24), (0.0, 0.1, 2.0))]
    assert ohms == sorted(ohms, reverse=True)
    assert [point.value for point in sweep_rows(hardware, bench(), (32, 64))] == ["32", "64"]


def test_all_effects_together_are_their_sum():
    hardware = hardware_of(analog.machine(), Gaussian(0.01))
    found = {point.value: point.snr_dB for point in effects(hardware, bench(vectors=200))}
    assert list(found) == ["coding of weights", "device", "DAC", "ADC", "all"]
    parts = [value for name, value in found.items() if name != "all"]
    total = -10.0 * math.log10(sum(10 ** (-part / 10) for part in parts))
    assert found["all"] == pytest.approx(total, abs=1.5)


def test_a_sweep_agrees_with_a_converted_model(tmp_path):
    # Column scales and normal weights: the same crossbar within a model errs alike.
    machine = analog.machine(rows=64, columns=32)
    model, x = analog.network(64, 32), analog.vectors(256, 64)
    with torch.no_grad():
        model[0].weight.copy_(analog.vectors(32, 64, seed=5))
    mapping = analog.of_module(model, machine, x)
    converted = analogize(model, mapping, machine, PCM(), samples=(x,))
    point = measure(converted.chip.hardware, bench(draws=3), "effect", "all")
    assert Cuts.of((64, 32), (64, 32)) == converted.layers["0.weight"].recipe.grid
    assert diagnose(model, converted, (x,))[0].snr_dB == pytest.approx(point.snr_dB, abs=1.5)
    path = tmp_path / "sweep.png"
    save_sweep([point, *sweep_bits(converted.chip.hardware, bench(), (4, 8))], "title", path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("text", "message"), [
    ("fog", r"^unknown noise 'fog'; known: ideal, gaussian.*, or the path of a JSON file$"),
    ("gaussian:wet", r"^noise 'gaussian': sigma_ratio takes a number: 'wet' is no number$"),
    ("pcm:0.1", r"^noise 'pcm': '0\.1' has no option before it, .* options: programming_scale, "),
])  # fmt: skip
def test_devices_that_have_no_name(text, message):
    with pytest.raises(SpecError, match=message):
        parse_device(text)


def test_devices_by_name(tmp_path):
    assert parse_device("gaussian:0.02") == Gaussian(0.02)
    assert parse_device("pcm") == PCM()
    path = tmp_path / "own.json"
    path.write_text('{"kind": "write_verify", "tolerance_uS": 2.0}')
    assert parse_device(str(path)) == WriteVerify(tolerance_uS=2.0)


def test_one_write_verify_model_gives_pulses_and_noise():
    halora = load_architecture(analog.small.ROOT / "arch_configs" / "halora_rram_sram.json")
    assert halora.rram is not None
    published = halora.rram.write.pulses_per_cell
    assert WriteVerify().mean_pulses(halora.rram.g_max_uS) == pytest.approx(published, rel=1e-3)
    pulses, errors, energies = [], [], []
    model, x = analog.network(64, 32), analog.vectors(50, 64)
    for window in (1.0, 2.0, 4.0):
        machine = analog.machine(
            g_max_uS=40.0, write={"window_uS": window, "pulses_per_cell": None}
        )
        hardware = hardware_of(machine)
        assert hardware.device == WriteVerify(tolerance_uS=window)
        pulses.append(hardware.device.mean_pulses(machine.rram.g_max_uS))
        mapping = analog.of_module(model, machine, x)
        workload = analog.trace_module(model, (x,), name="net")
        energies.append(first_programming(workload, machine, mapping).energy_J)
        exact = without_errors(hardware)
        converted = analogize(
            model, mapping, machine, coding=exact.coding, dac=exact.dac, adc=exact.adc
        )
        errors.append(diagnose(model, converted, (x,))[0].snr_dB)
    assert pulses == sorted(pulses, reverse=True)
    assert energies == sorted(energies, reverse=True)
    assert errors == sorted(errors, reverse=True)
    assert pulses[0] == pytest.approx(published, rel=1e-3)
    # The window is uniform in between: halving it halves the error.
    assert errors[0] - errors[2] == pytest.approx(2 * 6.02, abs=1.0)
