"""Piggyback: what a switch of weight masks writes, and the masked model on tiles."""

from __future__ import annotations

import analog
import numpy as np
import pytest
import small
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_convolutions import layer
from torch import nn
from torch.nn import functional

from cimsim import simulate
from cimsim.adaptation import (
    BASE_TASK,
    AdaptedTask,
    WeightMasks,
    adaptation_named,
    switched,
    task_bits,
    tuned_weights,
)
from cimsim.adaptation.layers.masked import (
    SCORE,
    THRESHOLD,
    WeightMaskedLinear,
    folded,
    masked_layer,
)
from cimsim.errors import MappingError
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping, Masked, Registers

MODEL = small.decoder(layers=1)
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))


def mapped(adaptation: WeightMasks) -> Mapping:
    return build_mapping(adaptation.apply(MODEL), small.machine(), adaptation)


def values(mapping: Mapping, before: AdaptedTask, after: AdaptedTask) -> int:
    parts = switched(mapping, before, after)
    assert not any(isinstance(part, Registers) for part in parts)
    return sum(part.count for part in parts if not isinstance(part, Registers))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.0))
def test_a_switch_writes_the_weights_whose_mask_bit_differs(zeroed: float) -> None:
    adaptation = WeightMasks(zeroed)
    mapping = mapped(adaptation)
    masked = tuned_weights(MODEL)
    held = sum(mapping.placements[name].weights for name in masked)
    blocks = sum(mapping.placements[name].units.size for name in masked)
    for before, after, share in ((A, B, 2 * zeroed * (1 - zeroed)), (BASE, A, zeroed)):
        there, back = values(mapping, before, after), values(mapping, after, before)
        assert there == back
        assert abs(there - share * held) <= 0.5 * blocks
    assert values(mapping, A, A) == 0
    assert {part.weight for part in switched(mapping, A, B)} == masked


def test_weights_go_to_zero_and_come_back() -> None:
    """Two tasks: as many each way; into the base model all come back, out of it all go."""
    mapping = mapped(WeightMasks())
    for before, after, zeroed in ((A, B, 0.5), (BASE, A, 1.0), (A, BASE, 0.0)):
        for part in switched(mapping, before, after):
            assert not isinstance(part, Registers)
            assert part.change == Masked(zeroed)


def test_independent_masks_differ_where_one_of_them_is_zero() -> None:
    draws = np.random.default_rng(1).random((2, 200_000)) < 0.3
    differ = float((draws[0] != draws[1]).mean())
    assert WeightMasks(0.3).flipped(A, B) == pytest.approx(differ, abs=0.005)


def test_a_head_that_is_saved_with_the_task_is_written_whole() -> None:
    head = AdaptedTask("h", small.saved(MODEL, "head"))
    adaptation = WeightMasks()
    mapping = build_mapping(adaptation.apply(head.workload), small.machine(), adaptation)
    written = {part.weight: part for part in switched(mapping, A, head)}
    whole = written["head.weight"]
    assert not isinstance(whole, Registers)
    assert whole.count == mapping.placements["head.weight"].weights


@pytest.mark.parametrize(("groups", "inputs", "outputs"), [(6, 9, 1), (4, 5, 4), (3, 40, 24)])
def test_memory_keeps_a_bit_for_each_weight_of_a_group(
    groups: int, inputs: int, outputs: int
) -> None:
    """Depthwise, several groups an array, groups larger than one: nothing beside the diagonal."""
    work, masks = layer(groups, inputs, outputs), WeightMasks()
    mapping = build_mapping(masks.apply(work), small.machine(), masks)
    bits = task_bits(small.machine(), mapping, AdaptedTask("a", work))
    assert bits == groups * inputs * outputs == work.parameters[0].size


def test_memory_keeps_a_bit_a_weight_and_the_head() -> None:
    machine, mapping = small.machine(), mapped(WeightMasks())
    masked = sum(mapping.placements[name].weights for name in tuned_weights(MODEL))
    assert task_bits(machine, mapping, A) == masked
    assert task_bits(machine, mapping, BASE) == 0
    head = AdaptedTask("h", small.saved(MODEL, "head"))
    weights = mapping.placements["head.weight"].weights
    assert task_bits(machine, mapping, head) == masked + weights * machine.rram.weight_bits


def test_masked_weights_run_as_the_pretrained_ones() -> None:
    machine = small.machine()
    masks, none = (
        simulate(MODEL, machine, adaptation=name, pipeline="token").report
        for name in ("piggyback:zeroed=0.25", "none")
    )
    assert (masks.latency_s, masks.energy_J) == (none.latency_s, none.energy_J)
    assert masks.adaptation == "piggyback:zeroed=0.25"
    cells = masks.reprogramming.adapter_switch.cells_written
    adapted = sum(p.weights for n, p in mapped(WeightMasks()).placements.items()
                  if n in tuned_weights(MODEL))  # fmt: skip
    assert cells == pytest.approx(2 * 0.25 * 0.75 * adapted, rel=1e-2)


@pytest.mark.parametrize("zeroed", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(zeroed: float) -> None:
    with pytest.raises(MappingError, match="zeroed is a share of weights, 0 to 1, got"):
        WeightMasks(zeroed)
    with pytest.raises(MappingError, match="zeroed"):
        adaptation_named("piggyback:zeroed=much")


# The torch form ----------------------------------------------------------------------------------


def layer_and_mask() -> tuple[nn.Linear, WeightMaskedLinear]:
    layer = nn.Linear(5, 3)
    masked = WeightMaskedLinear(layer)
    with torch.no_grad():
        masked.scores.copy_(torch.where(torch.rand(3, 5) < 0.4, 0.0, SCORE))
    return layer, masked


def test_a_mask_lets_weights_through_or_not() -> None:
    torch.manual_seed(3)
    layer, masked = layer_and_mask()
    x = torch.randn(4, 5)
    assert torch.equal(WeightMaskedLinear(layer)(x), layer(x))
    kept = (masked.scores > THRESHOLD).float()
    wanted = x @ (layer.weight * kept).T + layer.bias
    assert torch.allclose(masked(x), wanted, atol=1e-6)
    assert 0 < int(masked.mask.sum()) < 15


def test_the_gradient_of_a_score_is_that_of_its_mask_bit() -> None:
    torch.manual_seed(4)
    layer, masked = layer_and_mask()
    x, weight = torch.randn(4, 5), torch.randn(4, 3)
    (masked(x) * weight).sum().backward()
    wanted = (weight.T @ x) * layer.weight.detach()
    assert masked.scores.grad is not None
    assert torch.allclose(masked.scores.grad, wanted, atol=1e-6)
    assert layer.weight.grad is None


def test_on_tiles_it_is_the_masked_weight() -> None:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0] = WeightMaskedLinear(model[0])
    with torch.no_grad():
        model[0].scores[0] = 0.0
    twin = folded(model)
    assert type(twin[0]) is nn.Linear
    assert not twin[0].weight[0].any()
    x = torch.randn(3, 6)
    assert torch.equal(twin(x), model(x))
    assert isinstance(model[0], WeightMaskedLinear)

    class Given:
        module, adapters = model, ()

        def merged(self) -> nn.Module:
            raise AssertionError

    assert torch.equal(WeightMasks().functional(Given())(x), model(x))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_has_masks_of_its_kernel(groups: int) -> None:
    torch.manual_seed(6)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, padding_mode="circular")
    masked = masked_layer(layer)
    x = torch.randn(2, 4, 7, 5)
    assert torch.equal(masked(x), layer(x))
    with torch.no_grad():
        masked.scores.copy_(torch.where(torch.rand_like(masked.scores) < 0.4, 0.0, SCORE))
    kept = (masked.scores > THRESHOLD).float()
    padded = functional.pad(x, (1, 1, 1, 1), "circular")
    wanted = functional.conv2d(padded, layer.weight * kept, layer.bias, 2, groups=groups)
    torch.testing.assert_close(masked(x), wanted)
    masked(x).square().sum().backward()
    assert masked.scores.grad is not None
    assert bool(masked.scores.grad[kept == 0].any())
    assert layer.weight.grad is None
    twin = folded(nn.Sequential(masked))
    assert type(twin[0]) is nn.Conv2d
    assert torch.equal(twin(x), masked(x))


def test_a_model_without_masks_is_refused() -> None:
    with pytest.raises(MappingError, match="Sequential has no layer with a weight mask"):
        folded(nn.Sequential(nn.Linear(2, 2)))
    model = analog.llama()

    class Given:
        module, adapters = model, ("default",)

        def merged(self) -> nn.Module:
            raise AssertionError

    with pytest.raises(MappingError, match="the model carries 1 adapter"):
        WeightMasks().functional(Given())
