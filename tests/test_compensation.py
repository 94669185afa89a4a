"""Drift compensation read through the converters, against that of the cells and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import analog
import numpy as np
import pytest
import torch

from cimsim.analog.coding import Coding
from cimsim.analog.compensation import compensated
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.crossbar import Cuts, program
from cimsim.analog.hardware import hardware_of
from cimsim.analog.mvm import ColumnNumbers, Mvm
from cimsim.errors import SpecError
from cimsim.noise import PCM

YEAR_s = 31_536_000.0
QUIET = PCM(read_scale=0.0)


def bar_of(coding: Coding, device: Any = QUIET, size: int = 48, tile: int = 32) -> Any:
    weight = np.random.default_rng(3).standard_normal((size, size)).astype(np.float32)
    return program(weight, Cuts.of(weight.shape, (tile, tile)), coding, device, seed=5)


def through(bar: Any, dac: Dac, adc: Adc, t_s: float = YEAR_s) -> Any:
    now, before = bar.read(t_s), bar.read(0.0)
    full_scale = Mvm.build(now, dac, adc).full_scale_TS
    return compensated(now, before, dac, adc, full_scale, (7, 8))


CODINGS = [
    (Coding(), Dac(8)),
    (Coding("offset"), Dac(8, pulse_bits=1)),
    (Coding(bits_per_cell=2, cells_per_weight=3), Dac(6, pulse_bits=2, codes="twos_complement")),
]


@pytest.mark.parametrize(("coding", "dac"), CODINGS)
def test_ideal_converters_read_what_the_cells_say(coding: Coding, dac: Dac) -> None:
    bar = bar_of(coding)
    exact = bar.read(YEAR_s, compensate=True)
    found = through(bar, dac, Adc(None, "worst_case"))
    assert (exact.compensation > 1.3).all()
    assert found.compensation == pytest.approx(exact.compensation, rel=1e-5)
    assert found.gain_TN == pytest.approx(exact.gain_TN, rel=1e-5)


@pytest.mark.parametrize(("coding", "dac"), [CODINGS[0], CODINGS[2]])
def test_it_is_the_mean_of_what_tiles_put_out_for_one_row_at_a_time(coding: Any, dac: Dac) -> None:
    bar, adc = bar_of(coding), Adc(7, "fixed", 6.0)
    found = through(bar, dac, adc).compensation
    means = []
    for readout in (bar.read(0.0), bar.read(YEAR_s)):
        level = replace(readout, gain_TN=np.ones_like(readout.gain_TN))
        mvm = Mvm.build(level, dac, adc)
        tiles = []
        for _, t, rows, columns in bar.grid.tiles():
            alone = np.zeros_like(level.gain_TN)
            alone[t] = 1.0
            one = mvm(np.eye(48, dtype=np.float32)[rows], numbers=ColumnNumbers(alone)).y_BN
            tiles.append(np.abs(one[:, columns]).mean(dtype=np.float64))
        means.append(np.array(tiles))
    assert found == pytest.approx(means[0] / means[1], rel=1e-5)


def test_converters_move_the_factor_by_about_a_percent() -> None:
    """As aihwkit's do on MiniLM: 8 bits over 12 cells, noise of 4 % of a cell."""
    bar = bar_of(Coding(clip_sigma=3.0), PCM(), 256, 256)
    exact = bar.read(YEAR_s, compensate=True).compensation
    off = through(bar, Dac(8), Adc(8, "fixed", 12.0, noise_ratio=0.04)).compensation / exact - 1.0
    assert 0.004 < abs(off[0]) < 0.018
    fine = through(bar, Dac(16), Adc(16, "fixed", 12.0)).compensation / exact - 1.0
    assert abs(fine[0]) < 0.1 * abs(off[0])


@pytest.fixture(scope="module")
def chips() -> tuple[Any, Any, torch.Tensor]:
    machine, model, x = analog.machine(), analog.network(40, 24), analog.vectors(12, 40)
    mapping = analog.of_module(model, machine, x)
    adc = Adc(8, "calibrated", noise_ratio=0.04)
    plain = analog.programmed(model, mapping, machine, PCM(), 3, adc=adc)
    measured = replace(plain, hardware=replace(plain.hardware, compensation="converters"))
    return plain, measured, x


def outputs(chip: Any, x: torch.Tensor, t_s: float = YEAR_s, **given: Any) -> torch.Tensor:
    with torch.no_grad():
        read = chip.at(t_s, **{"compensate": True, "samples": (x,)} | given)
        return torch.cat([read(x), read(x)])


def test_without_converters_or_drift_it_is_that_of_the_cells(chips: Any) -> None:
    plain, measured, x = chips
    found = [outputs(chip, x, converters=False, samples=None) for chip in (plain, measured)]
    assert torch.equal(*found)
    at_once = outputs(measured, x, 0.0)
    assert torch.equal(at_once, outputs(measured, x, 0.0, compensate=False))
    assert torch.equal(*(outputs(chip, x, compensate=False) for chip in (plain, measured)))
    assert not torch.equal(outputs(plain, x), outputs(measured, x))


def test_both_paths_and_other_bits_measure_their_own(chips: Any) -> None:
    _, measured, x = chips
    by_kernel, by_torch = (outputs(measured, x, path=path) for path in ("kernel", "torch"))
    assert torch.allclose(by_kernel, by_torch, atol=1e-4)
    assert torch.equal(by_kernel, outputs(measured, x))
    coarse = replace(measured.hardware, adc=replace(measured.hardware.adc, bits=4))
    wanted = outputs(replace(measured, hardware=coarse), x)
    with torch.no_grad():
        read = measured.at(YEAR_s, compensate=True, samples=(x,))
        read(x)
        read.convert(4)
        assert torch.equal(torch.cat([read(x), read(x)]), wanted)


def test_a_machine_says_how_it_is_read() -> None:
    machine = analog.machine(accuracy={"sources": {}, "compensation_read": "converters"})
    hardware = hardware_of(machine, "pcm")
    assert hardware.compensation == "converters"
    with pytest.raises(SpecError, match=r"compensation must be 'exact' or 'conv"):
        replace(hardware, compensation="none")  # type: ignore[arg-type]
