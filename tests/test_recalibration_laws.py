"""Laws of fitting the columns anew: the identity on an exact chip, closed forms, its cost."""

from __future__ import annotations

import analog
import numpy as np
import pytest
import torch
from torch import nn

from cimsim.accuracy import Trials
from cimsim.errors import SpecError, TaskError
from cimsim.functional import AnalogLayer
from cimsim.functional.recalibration import least_squares
from cimsim.noise import PCM, Gaussian
from cimsim.report.recalibration import recalibration

MACHINE = analog.machine()
YEAR_S = 31_536_000.0


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return analog.network(40, 24, 8)


def fits(chip: nn.Module) -> list[AnalogLayer]:
    return [m for m in chip.modules() if isinstance(m, AnalogLayer)]


def test_it_is_the_identity_on_a_fresh_exact_chip(net: nn.Sequential) -> None:
    x = analog.vectors(50, 40)
    mapping = analog.of_module(net, MACHINE, x)
    exact = analog.ideal(MACHINE)
    plain = analog.analogize(net, mapping, MACHINE, **exact)
    again = analog.analogize(net, mapping, MACHINE, **exact, recalibrate=(x,))
    with torch.no_grad():
        a, b = plain(x), again(x)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for layer in fits(again):
        fit = layer._copies[0][0].fit
        assert fit is not None
        assert fit.scale_TN.shape == (
            -(-layer.in_features // 16),
            layer.out_features,
        )
        np.testing.assert_allclose(fit.scale_TN, 1.0, rtol=1e-6)
        np.testing.assert_allclose(fit.offset_N, 0.0, atol=1e-6)


def test_least_squares_by_hand() -> None:
    seen = np.array([[0.0, 2.0, 1.0], [1.0, 2.0, 2.0], [2.0, 2.0, 4.0]])
    wanted = np.stack([3.0 * seen[:, 0] + 1.0, np.array([5.0, 6.0, 7.0]), -seen[:, 2]], 1)
    scale, offset = least_squares(seen, wanted, np.full(3, 1.0 / 3.0))
    np.testing.assert_allclose(scale, [3.0, 1.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(offset, [1.0, 4.0, 0.0], atol=1e-6)


def test_a_vector_counts_by_its_share() -> None:
    seen, wanted = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [-50.0]])
    scale, offset = least_squares(seen, wanted, np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose((scale[0], offset[0]), (2.0, 1.0), rtol=1e-6)


def test_it_gives_back_what_drift_takes(net: nn.Sequential) -> None:
    """What drift takes of a column is given back better than by one factor a tile."""
    x = analog.vectors(60, 40)
    mapping = analog.of_module(net, MACHINE, x)
    drifting = PCM(programming_scale=0.0, read_scale=0.0)
    exact = analog.ideal(MACHINE) | {"noise": drifting}
    errors = []
    with torch.no_grad():
        wanted = net(x)
        for given in ({}, {"compensate": True}, {"recalibrate": (x,)}):
            got = analog.analogize(net, mapping, MACHINE, **exact, t_s=YEAR_S, **given)(x)
            errors.append(float((got - wanted).norm() / wanted.norm()))
    assert errors[2] < errors[1] < errors[0]


def test_both_paths_have_the_same_fit(net: nn.Sequential) -> None:
    x = analog.vectors(40, 40)
    mapping = analog.of_module(net, MACHINE, x)
    both = [
        analog.analogize(net, mapping, MACHINE, noise=PCM(), t_s=YEAR_S, recalibrate=(x,),
                         samples=(x,), path=path)
        for path in ("kernel", "torch")
    ]  # fmt: skip
    with torch.no_grad():
        a, b = (chip(x) for chip in both)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_its_cost_is_that_of_its_vectors(net: nn.Sequential) -> None:
    x = analog.vectors(4, 40)
    mapping = analog.of_module(net, MACHINE, x)
    one, ten = (recalibration(MACHINE, mapping, n) for n in (1, 10))
    # 40 inputs are 3 rows of tiles, 24 inputs 2
    assert one.columns == 3 * 24 + 2 * 8 == one.conversions
    assert ten.conversions == 880
    assert one.stored_bits == ten.stored_bits == 2 * 16 * 88
    assert ten.reference_bytes == 10 * 88 * 2
    assert one.area_mm2 == ten.area_mm2 > 0.0
    assert ten.time_s > one.time_s
    assert ten.energy_by_part_J["rram"] == pytest.approx(10 * one.energy_by_part_J["rram"])
    tiles = sum(
        sum(MACHINE.arrays(p.unit).vector_J(p.grid).values()) for p in mapping.placements.values()
    )
    assert one.energy_by_part_J["rram"] == pytest.approx(tiles)
    assert one.energy_J == pytest.approx(sum(one.energy_by_part_J.values()))
    twice = analog.of_module(net, MACHINE, x, replicate=(("0.weight", 2),))
    assert recalibration(MACHINE, twice, 1).columns == 2 * 3 * 24 + 2 * 8


def test_it_needs_converters(net: nn.Sequential) -> None:
    x = analog.vectors(4, 40)
    mapping = analog.of_module(net, MACHINE, x)
    with pytest.raises(SpecError, match="through their converters"):
        analog.analogize(
            net, mapping, MACHINE, noise=Gaussian(0.1), converters=False, recalibrate=(x,)
        )
    with pytest.raises(TaskError, match="through their converters"):
        Trials(converters=False, recalibrate=True)
