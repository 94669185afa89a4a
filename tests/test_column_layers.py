"""Numbers on columns of torch layers, in floats and behind the converters of tiles."""

from __future__ import annotations

from dataclasses import dataclass

import analog
import numpy as np
import pytest
import torch
from torch import nn

from cimsim.accuracy import as_mapped
from cimsim.adaptation import ColumnMask
from cimsim.adaptation.layers.columns import (
    ArrayScales,
    ColumnConv2d,
    ColumnLinear,
    Columns,
    column_layers,
    with_numbers,
    with_word_bits,
)
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.mvm import ColumnNumbers
from cimsim.errors import MappingError, SpecError
from cimsim.frontend import trace_module
from cimsim.functional import AnalogModel
from cimsim.ir import Workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping

MACHINE = analog.machine()
X = torch.randn((5, 40), generator=torch.Generator().manual_seed(1))


def plain() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(40, 20), nn.ReLU()).eval()


def masked(kind: str = "gate", bits: int = 1, word_bits: int = 16) -> nn.Module:
    return with_numbers(plain(), kind, bits, 16, word_bits=word_bits)  # type: ignore[arg-type]


def set_scores(model: nn.Module, values: torch.Tensor) -> None:
    with torch.no_grad():
        column_layers(model)["0"].columns.scores.copy_(values)


def mapped() -> Mapping:
    adaptation = ColumnMask()
    workload: Workload = trace_module(plain(), {"input": X}, name="w")
    return build_mapping(adaptation.apply(workload), MACHINE, adaptation)


def on_tiles(model: nn.Module, path: str = "auto", **parts: object) -> AnalogModel:
    given = {"dac": Dac(8), "adc": Adc(8, "worst_case")} | parts
    chip = analog.programmed(model, mapped(), MACHINE, "ideal", **given)
    return chip.at(path=path)  # type: ignore[arg-type]


GATES = (torch.arange(60).reshape(3, 20) % 3 != 0).float()


def test_all_ones_are_the_layer() -> None:
    with torch.no_grad():
        assert torch.allclose(masked()(X), plain()(X), atol=1e-6)
        for path in ("kernel", "torch"):
            bare, ones = (on_tiles(model, path) for model in (plain(), masked()))
            assert torch.equal(ones(X), bare(X))
            assert next(iter(ones.layers.values())).counts == (
                next(iter(bare.layers.values())).counts
            )


def test_numbers_act_on_partial_sums() -> None:
    layer = ColumnLinear(plain()[0], Columns("scale", 8, 16, (3, 20)))  # type: ignore[index]
    numbers = torch.rand((3, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        layer.columns.scores.copy_(numbers)
        hard = layer.columns.numbers()
        assert float((hard - numbers).abs().max()) <= 0.5 / 128
        wanted = layer.bias.clone()
        for t, rows in enumerate((slice(0, 16), slice(16, 32), slice(32, 40))):
            wanted = wanted + hard[t] * (X[:, rows] @ layer.weight[:, rows].T)
        assert torch.allclose(layer(X), wanted, atol=1e-5)


def test_the_gradient_of_a_number_is_that_of_its_partial_sums() -> None:
    layer = column_layers(masked())["0"]
    assert isinstance(layer, ColumnLinear)
    up = torch.randn((5, 20), generator=torch.Generator().manual_seed(4))
    (layer(X) * up).sum().backward()
    wanted = torch.einsum("bn,btn->tn", up, layer.partial_sums(X).detach())
    assert layer.columns.scores.grad is not None
    assert torch.allclose(layer.columns.scores.grad, wanted, atol=1e-5)
    assert layer.weight.grad is None
    # finite differences of the number itself
    with torch.no_grad():
        parts, step = layer.partial_sums(X).double(), 1e-3
        for t, o in ((0, 0), (2, 13)):
            ends = []
            for sign in (1.0, -1.0):
                numbers = torch.ones(3, 20, dtype=torch.float64)
                numbers[t, o] += sign * step
                ends.append(float(((parts * numbers).sum(1) * up).sum()))
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(wanted[t, o]), rel=1e-4)


def test_the_gradient_behind_converters_is_near_that_of_floats() -> None:
    up = torch.randn((5, 20), generator=torch.Generator().manual_seed(4))
    exact, tiles = masked(), masked()
    model = on_tiles(tiles, adc=Adc(None, "worst_case"), dac=Dac(None))
    (exact(X) * up).sum().backward()
    (model(X) * up).sum().backward()
    found, wanted = (column_layers(m)["0"].columns.scores.grad for m in (tiles, exact))
    assert found is not None
    assert wanted is not None
    assert float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_gated_columns_are_not_converted_on_either_path() -> None:
    model = masked()
    set_scores(model, GATES * 0.01)
    with torch.no_grad():
        kernel, torch_ = (on_tiles(model, path) for path in ("kernel", "torch"))
        assert torch.allclose(kernel(X), torch_(X), atol=1e-5)
        for found in (kernel, torch_):
            counts = next(iter(found.layers.values())).counts
            assert counts.conversions == 5 * int(GATES.sum())
        assert torch.allclose(kernel(X), model(X), atol=0.1)


def test_an_all_gated_layer_is_its_bias() -> None:
    model = masked()
    set_scores(model, torch.zeros(3, 20))
    with torch.no_grad():
        for path in ("kernel", "torch"):
            assert torch.equal(on_tiles(model, path)(X), model[1](model[0].bias).expand(5, 20))  # type: ignore[index]


@pytest.mark.parametrize("word_bits", [8, 9, 16])
def test_shifts_lose_low_bits_and_saturate_alike_on_both_paths(word_bits: int) -> None:
    model = masked("shift", 3, word_bits)
    set_scores(model, (torch.arange(60).reshape(3, 20) % 8 - 4).float())
    chips = [on_tiles(model, path) for path in ("kernel", "torch")]
    with torch.no_grad():
        kernel, torch_ = (chip(X) for chip in chips)
    assert torch.allclose(kernel, torch_, atol=1e-5)
    one, other = ((chip.overflow(), chip.shortening()) for chip in chips)
    assert one == other
    overflowed, shortened = (max(of.values()) for of in one)
    assert shortened > 0.1
    assert (overflowed > 0.0) == (word_bits == 8)  # codes below 32 times 8 fit 9 bits
    narrow = on_tiles(with_word_bits(model, 4), "kernel")
    with torch.no_grad():
        narrow(X)
    assert max(narrow.overflow().values()) > overflowed
    assert column_layers(model)["0"].columns.word_bits == word_bits


def test_a_shifted_word_by_hand() -> None:
    """Codes 127, 3 and -3 through 8-bit words: up by 2 saturates, down by 1 drops a bit."""
    from cimsim.analog.kernels.mvm import accumulate

    f32, codes = np.float32, np.zeros((1, 1, 64), np.float32)
    codes[0, 0, :6] = [127, 3, -3, 3, -3, -127]
    factor = np.ones(64, f32)
    factor[:6] = [4, 0.5, 0.5, 4, 4, 4]
    one = np.ones((1, 64), f32)
    out = np.zeros((1, 64), f32)
    counts = accumulate(
        out, codes, np.empty((0, 0, 0), f32), one, one, one, np.ones(1, f32), np.ones(1, f32),
        -127, 127, False, np.zeros(3, np.uint32), 0, factor, f32(-128),
    )  # fmt: skip
    assert out[0, :6].tolist() == [127, 1, -2, 12, -12, -128]
    assert counts == (0, 2, 2)  # none saturated, two overflowed, two lost a bit


def test_shifts_on_an_ideal_adc_multiply() -> None:
    model = masked("shift", 2)
    set_scores(model, (torch.arange(60).reshape(3, 20) % 4 - 2).float())
    with torch.no_grad():
        found = on_tiles(model, adc=Adc(None, "worst_case"), dac=Dac(None))(X)
        assert torch.allclose(found, model(X), atol=0.05)


def test_levels_of_a_shift() -> None:
    columns = Columns("shift", 2, 4, (1, 5), zero=True)
    with torch.no_grad():
        columns.scores.copy_(torch.tensor([[-9.0, -1.2, 0.3, 1.0, 5.0]]))
    assert columns.numbers().tolist() == [[0.0, 0.5, 1.0, 2.0, 2.0]]
    assert columns.kept_share == 0.8


def test_a_convolution_has_numbers_too() -> None:
    torch.manual_seed(5)
    conv = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1))
    model = with_numbers(conv, "gate", 1, 12)
    image = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        assert torch.allclose(model(image), conv(image), atol=1e-6)
        column_layers(model)["0"].columns.scores[1] = 0.0
        rows = nn.functional.unfold(image, 3, padding=1).transpose(1, 2)
        rows[..., 12:24] = 0.0
        wanted = rows @ conv[0].weight.flatten(1).T + conv[0].bias
        assert torch.allclose(model(image).flatten(2).transpose(1, 2), wanted, atol=1e-5)


@dataclass
class Given:
    module: nn.Module
    mapping: Mapping
    adapters: tuple[str, ...] = ()

    def merged(self) -> nn.Module:
        raise AssertionError


def test_a_model_without_masks_or_with_others_is_refused() -> None:
    mapping = mapped()
    assert as_mapped(model := masked(), mapping) is model
    with pytest.raises(MappingError, match="xbm needs numbers on columns, but Sequential has none"):
        as_mapped(plain(), mapping)
    other = with_numbers(plain(), "gate", 1, 8)
    with pytest.raises(MappingError, match="masks for arrays of 8 rows, the machine's have 16"):
        as_mapped(other, mapping)
    with pytest.raises(MappingError, match="masks for arrays of 8 rows, the mapping cuts it for"):
        analog.programmed(other, mapping, MACHINE, "ideal")
    with pytest.raises(MappingError, match="has a shift of 2 bits on its columns, xbm has a gate"):
        as_mapped(masked("shift", 2), mapping)
    with pytest.raises(MappingError, match=r"the model carries 1 adapter\(s\)"):
        ColumnMask().functional(Given(masked(), mapping, ("default",)))
    with pytest.raises(MappingError, match="use slices=1 for accuracy"):
        ColumnMask(slices=4).functional(Given(masked(), mapping))


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MappingError, match="has 3 x 20 columns in blocks of 16 rows"):
        ColumnLinear(plain()[0], Columns("gate", 1, 16, (2, 20)))  # type: ignore[index]
    with pytest.raises(MappingError, match="'9' is no linear layer"):
        with_numbers(plain(), "gate", 1, 16, ["9"])
    with pytest.raises(MappingError, match="no linear layer to put numbers on"):
        with_numbers(nn.Sequential(nn.ReLU()), "gate", 1, 16)
    grouped = nn.Conv2d(4, 4, 3, groups=4)
    with pytest.raises(MappingError, match="in 4 groups: groups share arrays"):
        ColumnConv2d(grouped, ArrayScales(8, 16, 16, (1, 4)))
    with pytest.raises(SpecError, match="a shifted word has 2 to 24 bits, got 30"):
        ColumnNumbers(np.ones((1, 1), np.float32), 30)
