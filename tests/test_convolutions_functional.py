"""Convolutions on tiles: what torch computes, for groups, paddings and memory formats."""

from __future__ import annotations

from typing import Any

import analog
import pytest
import small
import torch
from analog import analogize
from torch import nn

from cimsim.accuracy.placing import as_mapped
from cimsim.adaptation import ColumnMask, ColumnShift
from cimsim.adaptation.layers.columns import Kind, column_layers, with_numbers
from cimsim.analog.converters import Adc
from cimsim.costs.columns import number_count
from cimsim.errors import MappingError, SpecError
from cimsim.frontend import trace_module
from cimsim.mappers import build_mapping
from cimsim.noise import Gaussian, Ideal
from cimsim.spec import Architecture

ROWS = 16
"""Of the arrays of `small.machine`."""
ADAPTATIONS: dict[str, Any] = {"gate": ColumnMask(), "shift": ColumnShift(bits=2)}


class Net(nn.Module):
    """Depthwise, three groups a tile of 16 x 16, groups larger than a tile, one group."""

    def __init__(self, **depth: Any) -> None:
        super().__init__()
        self.depth = nn.Conv2d(6, 12, 3, groups=6, **depth)
        self.wide = nn.Conv2d(12, 6, (3, 2), padding="same", groups=2, bias=False)
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.wide(torch.relu(self.depth(x)))))


PADDINGS = [
    {"padding": 1}, {"padding": (2, 0)}, {"padding": "same", "dilation": 2}, {"padding": "valid"},
    {"padding": 1, "padding_mode": "reflect"}, {"padding": "same", "padding_mode": "circular"},
    {"padding": (0, 1), "padding_mode": "replicate", "stride": (1, 2)},
]  # fmt: skip


def converted(model: nn.Module, x: torch.Tensor, **settings: Any) -> tuple[Any, Architecture]:
    machine = small.machine(adaptation="none")
    work = trace_module(model, (x,), name="net")
    mapping = build_mapping(work, machine, "none")
    return analogize(model, mapping, machine, **settings), machine


def image(seed: int = 3) -> torch.Tensor:
    return torch.randn(2, 6, 9, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("path", ["kernel", "torch"])
@pytest.mark.parametrize("changes", PADDINGS, ids=str)
def test_ideal_cells_compute_what_torch_does(changes: dict[str, Any], path: str) -> None:
    torch.manual_seed(0)
    model, x = Net(**changes).eval(), image()[:1]
    found, _ = converted(model, x, path=path, **analog.ideal(small.machine(adaptation="none")))
    with torch.no_grad():
        assert torch.allclose(found(x), model(x), atol=2e-5)


def numbered(kind: Kind, bits: int) -> nn.Module:
    """`Net` with numbers drawn for its groups: 1, 3 (of 72 rows a group: 5) and 1 row blocks."""
    torch.manual_seed(4)
    model = with_numbers(Net(padding=1), kind, bits, ROWS).eval()
    for layer in column_layers(model).values():
        columns = layer.columns
        low, high = (0, 2) if kind == "gate" else (-1, 2)
        columns.set_codes(torch.randint(low, high, columns.shape))
    return model


@pytest.mark.parametrize("path", ["kernel", "torch"])
@pytest.mark.parametrize(("kind", "bits"), [("gate", 1), ("shift", 2)])
def test_numbers_on_groups_are_those_of_the_columns_of_each(
    kind: Kind, bits: int, path: str
) -> None:
    """On ideal cells what torch computes; a gated column of a group is not converted."""
    model, x = numbered(kind, bits), image()[:1]
    machine = small.machine(adaptation="none")
    work = trace_module(model, (x,), name="net")
    strategy = ADAPTATIONS[kind]
    applied = strategy.apply(work)
    mapping = build_mapping(applied, machine, strategy)
    ready = as_mapped(model, mapping)
    found = analogize(ready, mapping, machine, path=path, **analog.ideal(machine))
    converters = {"noise": "ideal", "adc": Adc(8, "worst_case")}
    counting = analogize(ready, mapping, machine, path=path, **converters)
    with torch.no_grad():
        assert torch.allclose(found(x), model(x), atol=2e-5)
        counting(x)
    for name, layer in counting.layers.items():
        numbers = column_layers(model)[name.removesuffix(".weight")].columns.numbers()
        assert numbers.numel() == number_count(strategy.columns, mapping.placements[name].grid)
        assert layer.counts.conversions == 9 * 8 * int((numbers != 0).sum())  # pixels


def test_a_number_of_a_group_acts_on_the_rows_of_that_group() -> None:
    """Against patches cut by hand: outputs 3 to 5 see the last six channels alone."""
    torch.manual_seed(6)
    conv = nn.Conv2d(12, 6, 3, groups=2).eval()
    model = with_numbers(nn.Sequential(conv), "gate", 1, ROWS)
    columns = column_layers(model)["0"].columns
    assert columns.shape == (4, 6)  # 54 rows of a group in blocks of 16
    codes = torch.randint(0, 2, (4, 6))
    columns.set_codes(codes)
    x = torch.randn(2, 12, 5, 4)
    wanted = []
    for group in range(2):
        patches = nn.functional.unfold(x[:, 6 * group : 6 * group + 6], 3).transpose(1, 2)
        for o in range(3 * group, 3 * group + 3):
            gates = codes[:, o].repeat_interleave(ROWS)[:54].float()
            wanted.append((patches * gates) @ conv.weight[o].flatten() + conv.bias[o])
    with torch.no_grad():
        found = model(x).flatten(2)
    assert torch.allclose(found, torch.stack(wanted, 1), atol=1e-5)


def test_channels_last_changes_nothing() -> None:
    torch.manual_seed(1)
    model, x = Net(padding=1).eval(), image()
    ideal = analog.ideal(small.machine(adaptation="none"))
    found, _ = converted(model, x[:1], **ideal)
    with torch.no_grad():
        plain = found(x)
        found.restart()
        assert torch.equal(found(x.to(memory_format=torch.channels_last)), plain)
        model.to(memory_format=torch.channels_last)
        again, _ = converted(model, x[:1], **ideal)
        assert torch.allclose(again(x), plain, atol=1e-6)


def test_gradients_of_groups_are_those_of_torch() -> None:
    torch.manual_seed(2)
    model, x = Net(padding=1).eval(), image()[:1].requires_grad_()
    found, _ = converted(model, x.detach(), path="torch",
                         **analog.ideal(small.machine(adaptation="none")))  # fmt: skip
    wanted = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    seen = torch.autograd.grad(found(x).square().sum(), [x, *model.parameters()])
    for one, other in zip(seen, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-3, rtol=1e-3)


def test_noise_of_groups_is_that_of_their_seed_on_both_paths() -> None:
    torch.manual_seed(3)
    model, x = Net(padding=1).eval(), image()
    noisy: dict[str, Any] = {**analog.ideal(small.machine(adaptation="none")),
                             "noise": Gaussian(0.05)}  # fmt: skip
    outputs = {}
    with torch.no_grad():
        exact = model(x)
        for path, seed in (("kernel", 1), ("torch", 1), ("kernel", 2)):
            found, _ = converted(model, x[:1], path=path, seed=seed, **noisy)
            outputs[path, seed] = found(x)
            found.restart()
            assert torch.equal(found(x), outputs[path, seed])
            assert sorted(found.model.state_dict()) == sorted(model.state_dict())
    assert torch.allclose(outputs["kernel", 1], outputs["torch", 1], atol=1e-4)
    assert not torch.allclose(outputs["kernel", 1], exact, atol=1e-3)
    assert not torch.allclose(outputs["kernel", 1], outputs["kernel", 2], atol=1e-3)


def test_conversions_are_those_of_the_mapping() -> None:
    """A result of 9 rows or fewer takes one conversion, one of 36 rows on tiles of 16 three."""
    model, x = Net(padding=1).eval(), image()
    machine = small.machine(adaptation="none")
    found, _ = converted(model, x[:1], noise=Ideal(), samples=(x,))
    mapping = build_mapping(trace_module(model, (x[:1],), name="net"), machine, "none")
    with torch.no_grad():
        found(x)
    for name, layer in found.layers.items():
        grid = mapping.placements[name].grid
        rows = {"depth.weight": 72, "wide.weight": 72, "last.weight": 72}[name] * len(x)
        assert layer.counts.conversions == rows * grid.row_blocks * grid.columns


@pytest.mark.parametrize("path", ["kernel", "torch"])
def test_other_adcs_on_the_same_cells_are_those_of_a_chip_that_has_them(path: str) -> None:
    torch.manual_seed(4)
    model, x = Net(padding=1).eval(), image()
    adcs = {bits: Adc(bits, "fixed", 4.0, noise_ratio=0.02) for bits in (3, 7)}
    made = {
        bits: converted(model, x[:1], path=path, adc=adc, noise=Gaussian(0.02))[0]
        for bits, adc in adcs.items()
    }
    with torch.no_grad():
        three, seven = (made[bits](x) for bits in (3, 7))
        assert not torch.equal(three, seven)
        made[3].convert(7)
        assert torch.equal(made[3](x), seven)
        made[7].convert(3)
        assert torch.equal(made[7](x), three)


def test_noise_on_weights_alone_and_another_number_of_groups_are_refused() -> None:
    model, x = Net(padding=1).eval(), image()[:1]
    found, machine = converted(model, x, noise=Ideal())
    with pytest.raises(SpecError, match="a grouped convolution has cells beside the weights"):
        found.chip.at(converters=False)
    other = Net(padding=1)
    other.depth = nn.Conv2d(6, 12, 3, groups=3)
    with pytest.raises(MappingError, match=r"54x12 in 3 groups in the model and 54x12 in 6 gr"):
        analogize(other, found.chip.mapping, machine, Ideal())
