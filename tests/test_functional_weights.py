"""Noise on weights and nothing else: exact without noise, the chip's weights with it."""

from __future__ import annotations

from itertools import pairwise

import analog
import numpy as np
import pytest
import torch
from analog import programmed

from cimsim.analog.coding import Coding
from cimsim.functional import Redraw, by_draw, side_by_side
from cimsim.noise import PCM, Gaussian, Ideal, StuckAt

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
CONTINUOUS = Coding()
SIGNED = Coding("signed", scaling="tile")


def chip_of(noise, seed=1, widths=(40, 24, 8), coding=CONTINUOUS, **mapper):
    machine, model, x = analog.machine(), analog.network(*widths), analog.vectors(6, widths[0])
    mapping = analog.of_module(model, machine, x, **mapper)
    return programmed(model, mapping, machine, noise, seed, coding=coding), x


@pytest.mark.parametrize("noise", [Ideal(), Gaussian(0.0), Gaussian(0.0, "channel")])
@pytest.mark.parametrize("mode", [True, False])
def test_without_noise_the_digital_model_bit_for_bit(noise, mode):
    for model in (analog.llama(), analog.bert()):
        machine, coding = analog.machine(), Coding(bits_per_cell=4)
        mapping = analog.mapped(analog.traced(model), machine, "lora-sram")
        chip = programmed(model, mapping, machine, noise, coding=coding)
        converted = chip.at(converters=False).train(mode)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            wanted = model.train(mode)(analog.IDS)[0]
            torch.manual_seed(0)
            assert torch.equal(converted(analog.IDS)[0], wanted)


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("noise", [Gaussian(0.05), PCM(), StuckAt(0.02, 0.01)])
def test_the_weights_are_those_that_the_cells_hold(noise, compensate):
    chip, x = chip_of(noise)
    layer = next(iter(chip.at(3600.0, compensate=compensate).layers.values()))
    held = torch.from_numpy(layer.cells_as_weight())
    wanted = x @ held + chip.model[0].bias
    first = chip.at(3600.0, compensate=compensate, converters=False).model[0](x)
    assert torch.allclose(first, wanted, atol=1e-5)
    assert not torch.allclose(first, chip.model[0](x), atol=1e-3)


def with_an_outlier(noise, seed, **clip):
    """A chip whose first output has one weight of 30 standard deviations."""
    chip, _ = chip_of(noise, seed, (60, 20), Coding("differential", **clip))
    with torch.no_grad():
        chip.model[0].weight[0, 7] = 30.0 * chip.model[0].weight[0].std()
    return chip


def errors_of(noise, seeds=40, **clip):
    found = []
    for seed in range(seeds):
        chip = with_an_outlier(noise, seed, **clip)
        layer = chip.at(converters=False).model[0]
        found.append(layer._weight(layer._copies[0][0]).detach() - chip.model[0].weight.detach())
    return torch.stack(found)


@pytest.mark.parametrize("clip", [{"clip_sigma": 1.0}, {"clip_percentile": 70.0}])
@pytest.mark.parametrize("noise", [Gaussian(0.05), PCM(), StuckAt(0.02, 0.01)])
def test_noise_on_weights_is_that_of_cells_that_clip_nothing(noise, clip):
    """A clipped weight would keep its value and yet have the noise of the clipped range."""
    clipping, whole = (with_an_outlier(noise, 3, **given) for given in (clip, {}))
    for t_s in (0.0, 3600.0):
        a, b = (chip.at(t_s, converters=False).model[0] for chip in (clipping, whole))
        held = a._weight(a._copies[0][0])
        assert torch.equal(held, b._weight(b._copies[0][0]))
        assert not torch.equal(held, clipping.model[0].weight)


def test_the_largest_weight_of_a_channel_sizes_its_noise_by_hand():
    """Absolute noise of 0.5 uS in both cells of a pair: sqrt(2) 0.5 / 25 of the largest weight."""
    drawn = errors_of(Gaussian(relative_to="absolute", sigma_uS=0.5), clip_sigma=3.0)
    weight = with_an_outlier(Gaussian(), 0).model[0].weight.detach()
    # the tiles have 16 rows: the outlier sizes the cells of its own tile alone
    outlier, others = weight[0, :16].abs().amax(), weight[0, 16:32].abs().amax()
    assert outlier > 10.0 * others
    for rows, largest in ((slice(0, 16), outlier), (slice(16, 32), others)):
        sigma = 2.0**0.5 * 0.5 / 25.0 * largest
        assert drawn[:, 0, rows].std() == pytest.approx(float(sigma), rel=0.1)


def test_fresh_noise_in_training_is_sized_by_the_whole_range():
    chip = with_an_outlier(Gaussian(0.05, "column"), 0, clip_sigma=1.0)
    layer = chip.at(converters=False, redraw=Redraw()).train().model[0]
    errors = []
    for _ in range(60):
        layer.advance()
        errors.append(layer._weight(layer._copies[0][0]).detach() - layer.weight.detach())
    largest = layer.weight.detach()[0, :16].abs().amax()
    # the column of a pair that is empty has no largest cell, so no noise of its own
    cells = [largest, max(-float(layer.weight.detach()[0, :16].min()), 0.0)]
    sigma = 0.05 * float(np.hypot(*map(float, cells)))
    assert torch.stack(errors)[:, 0, :16].std() == pytest.approx(sigma, rel=0.1)


def test_a_channel_reaches_over_all_row_tiles():
    chip, _ = chip_of(Gaussian(0.1, "channel"), widths=(64, 24), coding=SIGNED)
    weight = chip.model[0].weight.detach()
    weight[:, 16:] *= 0.01
    layer = next(iter(chip.at(converters=False, redraw=Redraw()).train().layers.values()))
    errors = []
    for _ in range(60):
        layer.advance()
        errors.append(layer._weight(layer._copies[0][0]).detach() - weight)
    drawn = torch.stack(errors)
    sigma = 0.1 * weight.abs().amax(1)
    for part in (drawn[:, :, :16], drawn[:, :, 16:]):
        assert torch.allclose(part.square().mean((0, 2)).sqrt(), sigma, rtol=0.12)
    chips = [chip_of(Gaussian(0.1, "channel"), s, (64, 24), SIGNED)[0] for s in range(20)]
    for chip in chips:
        chip.model[0].weight.data[:, 16:] *= 0.01
    cells = np.stack([
        next(iter(c.at().layers.values())).cells_as_weight().T - c.model[0].weight.detach().numpy()
        for c in chips
    ])  # fmt: skip
    for part in (cells[:, :, :16], cells[:, :, 16:]):
        assert np.allclose(np.sqrt(np.square(part).mean((0, 2))), sigma, rtol=0.15)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("noise", [Gaussian(0.02), PCM()])
def test_training_redraws_every_so_many_steps_and_evaluation_keeps_the_chip(noise, every):
    chip, x = chip_of(noise)
    converted = chip.at(converters=False, redraw=Redraw(every))
    chip_output = converted(x).detach()
    converted.train()
    passes = [converted(x).detach() for _ in range(7)]
    changes = [not torch.equal(a, b) for a, b in pairwise(passes)]
    assert changes == [step % every == 0 for step in range(1, 7)]
    converted.seek(3)
    assert torch.equal(converted(x), passes[3])
    converted.eval()
    assert torch.equal(converted(x), chip_output)


def test_chips_side_by_side_are_chips_one_by_one():
    many, x = chip_of(Gaussian(0.05), seed=(3, 4))
    both = by_draw(many.at(converters=False)(side_by_side(x, 2)), 2)
    for draw, seed in enumerate((3, 4)):
        one, _ = chip_of(Gaussian(0.05), seed=seed)
        assert torch.equal(both[draw], one.at(converters=False)(x))
    assert not torch.equal(both[0], both[1])


def test_replicas_have_errors_of_their_own():
    chip, x = chip_of(Gaussian(0.05), replicate=(("0.weight", 2),))
    layer = chip.at(converters=False).model[0]
    same = x[:1].expand(4, -1)
    rows = layer(same)
    assert torch.equal(rows[0], rows[2])
    assert torch.equal(rows[1], rows[3])
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)


def test_gradients_reach_a_trained_weight_and_the_input():
    chip, x = chip_of(Gaussian(0.05), widths=(40, 8))
    x = x.clone().requires_grad_()
    converted = chip.at(converters=False).train()
    converted(x).square().sum().backward()
    held = converted.layers["0.weight"]._weight(converted.layers["0.weight"]._copies[0][0])
    y = (x.detach() @ held.T + chip.model[0].bias).detach()
    assert torch.allclose(x.grad, 2 * y @ held.detach(), atol=1e-4)
    assert torch.allclose(chip.model[0].weight.grad, 2 * y.T @ x.detach(), atol=1e-4)
