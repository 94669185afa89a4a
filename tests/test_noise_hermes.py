"""The HERMES chip's cells against closed forms, and against aihwkit where that is installed."""

import numpy as np
import pytest
from scipy import stats

from cimsim.analog.coding import Coding
from cimsim.analog.crossbar import Cuts, program
from cimsim.noise import Hermes, Target, snapshot

G_MAX = 20.7
LEVELS = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0]
TIMES_s = [0.0, 86400.0, 31536000.0]


def cells_at(level, model=Hermes(), seed=0, shape=(400, 500)):  # noqa: B008
    target = Target(np.full(shape, level * G_MAX, np.float32), G_MAX)
    return model.program(target, np.random.default_rng(seed))


def published_sigma(level):
    """In shares of the maximum, by hand from the reference's rounded coefficients."""
    w = 180.0 * level
    if w > 52.5:
        return (1.233e-5 * w**3 - 3.055e-3 * w**2 + 0.2453 * w + 2.110) / 180.0
    return (2.940e-5 * w**3 - 3.716e-3 * w**2 + 0.2242 * w + 2.580) / 180.0


def published_exponent(x):
    mean = -0.0436 * x * x - 0.0126 * x + 0.0736
    if x < 0.0945:
        mean = np.clip(-0.0387 * np.log(x) - 0.0182, 0.072, 0.13)
    sigma = -0.0118 * x * x + 0.0093 * x + 0.0073
    if x < 0.3055:
        sigma = np.clip(-0.0117 * np.log(x) - 0.0057, 0.0091, 0.04)
    return mean, sigma


def published_flicker(x, t_s):
    q = 0.0069 * x**3 - 0.0280 * x**2 + 0.0211 * x + 0.0123
    q = np.where(x < 0.16, np.clip(-0.0117 * np.log(x) - 0.0069, 0.015, 0.04), q)
    return q * np.sqrt(np.log((t_s + 300.0 + 512e-9) / (2 * 512e-9)))


@pytest.mark.parametrize(
    ("level", "percent"),
    [(0.01, 1.5), (0.05, 2.4), (0.1, 3.1), (0.25, 4.4), (0.5, 4.7), (0.75, 5.5), (1.0, 10.7)],
)
def test_programming_error_is_the_published_one(level, percent):
    """Mean, spread and, over twenty bins of equal chance, the whole distribution."""
    g = cells_at(level).g_uS.ravel().astype(np.float64) / G_MAX
    sigma = published_sigma(level)
    if level > 0.01:  # the reference prints the value at 0 itself
        assert 100.0 * sigma == pytest.approx(percent, abs=0.06)
    assert g.mean() == pytest.approx(level, abs=4.0 * sigma / np.sqrt(g.size))
    assert g.std() == pytest.approx(sigma, rel=0.01)
    shares = stats.norm.cdf((g - level) / sigma)
    counts = np.histogram(shares, bins=20, range=(0.0, 1.0))[0]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_spread_at_zero_is_1_4_percent_and_what_is_smaller_than_a_level_is_zero():
    assert 100.0 * published_sigma(0.0) == pytest.approx(1.43, abs=0.01)
    below, above = (cells_at(level / 180.0, shape=(60, 60)) for level in (0.599, 0.601))
    assert not below.g_uS.any()
    assert (above.g_uS != 0.0).all()
    for t_s in TIMES_s:
        assert not snapshot(Hermes(), below, t_s, np.random.default_rng(1)).any()


def test_the_error_of_a_pair_is_that_of_its_weight():
    """The empty polarity adds none, and a small weight may change its sign."""
    weight = np.full((300, 300), 0.01, np.float32)
    weight[0] = 1.0
    weight[:, 1::2] *= -1.0
    bar = program(weight, Cuts.of((300, 300), (300, 300)), Coding(g_max_uS=G_MAX), Hermes(), seed=3)
    for read_noise in ("none", "frozen"):
        error = bar.read(read_noise=read_noise).weights()[1:] - weight[1:]
        sigma = published_sigma(0.01)
        assert error.std() == pytest.approx(sigma, rel=0.02)
        assert abs(error.mean()) < 4.0 * sigma / np.sqrt(error.size)
        assert (np.sign(error + weight[1:]) != np.sign(weight[1:])).mean() == pytest.approx(
            stats.norm.cdf(-0.01 / sigma), abs=0.01
        )


@pytest.mark.parametrize("x", [0.02, 0.08, 0.2, 0.5, 1.0])
def test_drift_and_read_noise_are_those_of_the_chip(x):
    mean, sigma = published_exponent(x)
    folded = stats.foldnorm(mean / sigma, scale=sigma)
    still = Hermes(programming_scale=0.0, read_scale=0.0)
    cells = cells_at(x, still)
    early, late = (still.drift(cells, t).astype(np.float64) for t in (1e3, 1e8))
    nu = -np.log(late / early) / np.log((1e8 + 300.0) / (1e3 + 300.0))
    assert nu.mean() == pytest.approx(folded.mean(), rel=0.005)
    assert nu.std() == pytest.approx(folded.std(), rel=0.01)
    assert np.array_equal(still.drift(cells, 0.0), cells.g_uS)
    quiet = Hermes(programming_scale=0.0, drift_scale=0.0)
    for t_s in TIMES_s:
        read = snapshot(quiet, cells_at(x, quiet), t_s, np.random.default_rng(2)) / (x * G_MAX)
        assert read.mean() == pytest.approx(1.0, abs=0.003)
        assert read.std() == pytest.approx(float(published_flicker(np.float64(x), t_s)), rel=0.01)


def test_scales_switch_effects_off():
    model = Hermes(0.0, 0.0, 0.0)
    cells = cells_at(0.5, model, shape=(10, 10))
    assert np.array_equal(snapshot(model, cells, 1e8, np.random.default_rng(0)), cells.target.g_uS)


def test_drift_agrees_with_aihwkit():
    hermes = pytest.importorskip("aihwkit.inference.noise.hermes")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = hermes.HermesNoiseModel()
    model = Hermes(programming_scale=0.0)
    for level in LEVELS:
        target = torch.full((500, 600), level * G_MAX)
        exponent = theirs.generate_drift_coefficients(target)
        for t_s in TIMES_s:
            g = theirs.apply_drift_noise_to_conductance(target, exponent, t_s).double()
            cells = cells_at(level, model, 1)
            ours = snapshot(model, cells, t_s, np.random.default_rng(4)).astype(np.float64)
            assert ours.mean() == pytest.approx(float(g.mean()), rel=0.005)
            assert ours.std() == pytest.approx(float(g.std()), rel=0.02)
