"""Training on noisy tiles: gradients pass, base weights stay, noise is fresh and as specified."""

from __future__ import annotations

from itertools import pairwise

import analog
import numpy as np
import pytest
import torch
from analog import analogize, programmed

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.crossbar import Cuts, program
from cimsim.errors import SpecError
from cimsim.functional import Redraw
from cimsim.functional.operands import torch_operands
from cimsim.functional.training import tile_sigmas, weight_sigma, with_fresh_noise
from cimsim.noise import PCM, Gaussian, Ideal

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


def gradients(model, ids):
    model.zero_grad()
    logits = model(ids).logits
    logits.square().mean().backward()


def named(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adaptation", ["lora-sram", "lora-rram"])
def test_on_exact_tiles_gradients_are_the_digital_ones(adaptation):
    machine, model = analog.machine(), analog.llama()
    mapping = analog.mapped(analog.traced(model), machine, adaptation)
    gradients(model, analog.IDS)
    wanted = named(model)
    converted = analogize(model, mapping, machine, **analog.ideal(machine))
    model.zero_grad()
    gradients(converted, analog.IDS)
    found = named(model)
    assert set(found) == set(wanted)
    assert all("lora_" in name for name in found)
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.norm()))


def test_trained_base_weights_get_their_gradient():
    machine, model, x = (
        analog.machine(coding="offset"),
        analog.network(40, 24),
        analog.vectors(9, 40),
    )
    mapping = analog.of_module(model, machine, x)
    model(x).square().sum().backward()
    wanted = model[0].weight.grad.clone()
    model.zero_grad()
    analogize(model, mapping, machine, **analog.ideal(machine))(x).square().sum().backward()
    assert torch.allclose(model[0].weight.grad, wanted, rtol=1e-3, atol=1e-3)


def test_inputs_get_the_gradient_of_the_cells_as_programmed():
    machine, model = analog.machine(coding="offset", g_min_uS=1.0), analog.network(40, 24)
    x = analog.vectors(9, 40).requires_grad_()
    mapping = analog.of_module(model, machine, x.detach())
    converted = analogize(model, mapping, machine, PCM(), adc=Adc(8, "worst_case"))
    seed_vectors = analog.vectors(9, 24, seed=3)
    converted(x).backward(seed_vectors)
    held = torch.from_numpy(converted.layers["0.weight"].cells_as_weight())
    assert torch.allclose(x.grad, seed_vectors @ held.T, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(x.grad, seed_vectors @ model[0].weight.detach(), atol=0.1)


@pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")
def test_saturated_columns_and_clipped_inputs_pass_no_gradient():
    machine, model = analog.machine(), analog.network(16, 16)
    x = analog.vectors(30, 16)
    mapping = analog.of_module(model, machine, x)
    settings = {"dac": Dac(8, "fixed", 1.0), "adc": Adc(8, "fixed", 0.3)}
    converted = analogize(model, mapping, machine, Ideal(), **settings)
    x.requires_grad_()
    converted(x).sum().backward()
    clipped = x.detach().abs() > 127.5 / 127
    assert clipped.any()
    assert torch.equal(x.grad[clipped], torch.zeros(int(clipped.sum())))
    counts = converted.layers["0.weight"].counts
    assert 0 < counts.saturated < counts.conversions
    wide = analogize(
        model, mapping, machine, Ideal(), dac=Dac(8, "fixed", 1.0), adc=Adc(8, "worst_case")
    )
    y = x.detach().requires_grad_()
    wide(y).sum().backward()
    assert not torch.allclose(x.grad, y.grad, atol=1e-3)


def test_adapters_learn_under_noise_and_base_weights_do_not_move():
    machine, model = analog.machine(), analog.llama()
    mapping = analog.mapped(analog.traced(model), machine, "lora-sram")
    converted = analogize(
        model, mapping, machine, Gaussian(0.02), adc=Adc(8, "fixed", 6.0, noise_ratio=0.02)
    )
    base = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    trained = [p for p in converted.parameters() if p.requires_grad]
    assert len(trained) == 8
    optimiser = torch.optim.Adam(trained, 0.02)
    converted.train()
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = converted(analog.IDS, labels=analog.IDS).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    for name, parameter in model.named_parameters():
        if name in base:
            assert torch.equal(parameter, base[name])


@pytest.mark.parametrize("noise", [Gaussian(0.02), PCM()])
def test_training_redraws_the_noise_and_evaluation_keeps_the_chip(noise):
    machine, model, x = analog.machine(), analog.network(32, 16), analog.vectors(6, 32)
    mapping = analog.of_module(model, machine, x)
    chip = programmed(model, mapping, machine, noise, 4, adc=Adc(None, "worst_case"))
    converted = chip.at(redraw=Redraw(2))
    chip_output = converted(x).detach()
    converted.train()
    passes = [converted(x).detach() for _ in range(6)]
    same = [torch.equal(a, b) for a, b in pairwise(passes)]
    assert same == [True, False, True, False, True]
    assert not torch.equal(passes[0], chip_output)
    converted.eval()
    assert torch.allclose(converted(x), chip_output, atol=1e-6)
    again = chip.at(redraw=Redraw(2)).train()
    assert torch.equal(again(x), passes[0])
    with pytest.raises(SpecError, match=r"^noise is redrawn every 1 step or more, got 0\.$"):
        Redraw(0)


@pytest.mark.parametrize("scheme", ["signed", "differential", "offset"])
@pytest.mark.parametrize("noise", [
    Gaussian(0.05), Gaussian(0.05, "column"), Gaussian(0.05, "channel"), Gaussian(0.05, "cell"),
    Gaussian(0.05, "tensor"),
    Gaussian(0.0, "absolute", 0.7),
], ids=lambda noise: noise.relative_to)  # fmt: skip
def test_noise_drawn_for_training_is_that_of_the_device(scheme, noise):
    scaling = "tensor" if noise.relative_to == "tensor" else "column"
    low = 0.0 if scheme == "signed" else 1.0
    coding = Coding(scheme=scheme, g_min_uS=low, scaling=scaling)
    hardware = analog.tiles(analog.machine(), noise, coding=coding, adc=Adc(8, "worst_case"))
    # Large weights at the top and small ones below: tiles differ.
    weight = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    weight[32:] *= 0.2
    grid = Cuts.of(weight.shape, (32, 48))
    exact = program(weight, grid, coding, Ideal(), seed=0).read()
    operands = torch_operands(exact, hardware, None, torch.device("cpu"))
    sigmas = tile_sigmas(operands, grid)
    drawn = [
        with_fresh_noise(operands, sigmas, 1, draw).steps_KSN - operands.steps_KSN
        for draw in range(40)
    ]
    device = [
        program(weight, grid, coding, noise, seed=draw).read().steps_SKN[0] - exact.steps_SKN[0]
        for draw in range(40)
    ]
    ours, theirs = torch.stack(drawn)[:, :, 0].numpy(), np.stack(device)
    assert abs(ours.mean()) < 0.01 * ours.std() + 1e-3
    of_weights = weight_sigma(operands, grid)
    for t, rows in enumerate((slice(0, 32), slice(32, 64))):
        steps = of_weights[rows] / operands.gain_TN[t]
        told = float(steps.square().mean().sqrt())
        assert told == pytest.approx(np.sqrt(np.square(ours[:, rows]).mean()), rel=0.02)
        by_column = [np.sqrt(np.square(d[:, rows]).mean(axis=(0, 1))) for d in (ours, theirs)]
        assert np.allclose(*by_column, rtol=0.15)
        total = [np.sqrt(np.square(d[:, rows]).mean()) for d in (ours, theirs)]
        assert total[0] == pytest.approx(total[1], rel=0.02)
