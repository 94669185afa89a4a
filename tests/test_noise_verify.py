"""Write-verify: one model, the distribution and the pulse count."""

import numpy as np
import pytest

from cimsim.noise import NeuRRAM, Target, WriteVerify


def evenly(g_max_uS=40.0, shape=(400, 500), seed=0):
    g = np.random.default_rng(seed).random(shape, np.float32) * np.float32(g_max_uS)
    return Target(g, g_max_uS)


def test_neurram_window_takes_8_52_pulses():
    assert WriteVerify(tolerance_uS=1.0).mean_pulses(40.0) == pytest.approx(8.52, rel=0.01)
    cells = WriteVerify(tolerance_uS=1.0).program(evenly(), np.random.default_rng(1))
    assert cells.traits["pulse_count"].mean() == pytest.approx(8.52, rel=0.01)
    assert cells.traits["converged"].mean() > 0.99


def test_reached_cells_are_inside_the_window():
    target = evenly()
    cells = WriteVerify(tolerance_uS=0.7).program(target, np.random.default_rng(1))
    error = (cells.g_uS - target.g_uS)[cells.traits["converged"] == 1.0]
    assert np.abs(error).max() <= 0.7 + 1e-5
    # A step much wider than the window lands anywhere in it: nearly uniform, sigma tol / sqrt 3.
    assert error.std() == pytest.approx(0.7 / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("tolerance_uS", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("limit", [5, 60])
def test_expected_pulses_equal_the_simulated_ones(tolerance_uS, limit):
    model = WriteVerify(tolerance_uS, max_pulses=limit)
    for level in (0.0, 0.9, 10.0, 40.0):
        target = Target(np.full((200, 400), level, np.float32), 40.0)
        seen = model.program(target, np.random.default_rng(7)).traits["pulse_count"]
        expected = float(model.mean_pulse_count(np.array([level]))[0])
        assert seen.max() <= limit
        assert seen.mean(dtype=float) == pytest.approx(expected, rel=0.015, abs=1e-9)


def test_tighter_windows_take_more_pulses():
    counts = [WriteVerify(w, max_pulses=1000).mean_pulses(40.0) for w in (0.2, 0.5, 1.0, 3.0)]
    assert counts == sorted(counts, reverse=True)


def test_cells_inside_need_no_pulse():
    model = WriteVerify(tolerance_uS=2.0, start_uS=1.0)
    cells = model.program(Target(np.full((3, 3), 2.5, np.float32), 40.0), np.random.default_rng())
    assert not cells.traits["pulse_count"].any()
    assert model.mean_pulse_count(np.array([2.5, 3.5]))[0] == 0.0


def test_relaxation_starts_from_what_was_reached():
    model = WriteVerify(1.0, inner=NeuRRAM())
    target = Target(np.full((400, 500), 20.0, np.float32), 40.0)
    cells = model.program(target, np.random.default_rng(2))
    spread = float(model.drift(cells, 86_400.0).std())
    assert spread == pytest.approx(np.hypot(3.91, 1.0 / np.sqrt(3)), rel=0.02)
