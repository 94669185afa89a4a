"""The PCM model against closed forms, and against aihwkit where that is installed."""

import numpy as np
import pytest
from scipy import integrate, stats

from cimsim.noise import PCM, Target, snapshot

TIMES_s = [0.0, 3600.0, 86400.0, 604800.0, 2592000.0, 31536000.0, 315360000.0]
LEVELS = [0.05, 0.2, 0.5, 0.8, 1.0]
G_MAX = 25.0


def draw(level, t_s, seed=0, model=PCM()):  # noqa: B008
    rng = np.random.default_rng(seed)
    target = Target(np.full((500, 600), level * G_MAX, np.float32), G_MAX)
    return snapshot(model, model.program(target, rng), t_s, rng).ravel().astype(np.float64)


def published_moments(x, t_s):
    """Mean and sigma by quadrature of the published rules, written independently in float64."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()
    g = np.maximum(25 * x + (0.26348 + 1.9650 * x - 1.1731 * x * x) * nodes, 0.0)
    nu_mean = min(max(-0.0155 * np.log(x) + 0.0244, 0.049), 0.1)
    nu_sigma = min(max(-0.0125 * np.log(x) - 0.0059, 0.008), 0.045)
    nu = np.abs(nu_mean + nu_sigma * nodes)
    decay = ((t_s + 20.0) / 20.0) ** -nu
    q = np.minimum(0.2, 0.0088 / np.maximum((g / 25) ** 0.65, 1e-3))
    q = q * np.sqrt(np.log((t_s + 20.0 + 250e-9) / 500e-9))
    # Read noise multiplies by 1 + q z, clipped at 0: moments of a clipped normal.
    phi, density = stats.norm.cdf(1 / q), stats.norm.pdf(1 / q)
    first, second = phi + q * density, (1 + q * q) * phi + q * density
    mean = (weights @ (g * first)) * (weights @ decay)
    square = (weights @ (g * g * second)) * (weights @ decay**2)
    return mean, np.sqrt(square - mean**2)


@pytest.mark.parametrize("t_s", TIMES_s)
@pytest.mark.parametrize("level", LEVELS)
def test_mean_and_sigma_are_the_published_ones(level, t_s):
    g = draw(level, t_s)
    mean, sigma = published_moments(level, t_s)
    assert g.mean() == pytest.approx(mean, rel=0.005)
    assert g.std() == pytest.approx(sigma, rel=0.02)


def test_clipped_moments_of_the_reference():
    """The closed form used above, against numerical integration."""
    q = 0.8
    for power in (1, 2):
        numeric, _ = integrate.quad(
            lambda z, n=power: (1 + q * z) ** n * stats.norm.pdf(z), -1 / q, 12
        )
        closed = [
            stats.norm.cdf(1 / q) + q * stats.norm.pdf(1 / q),
            (1 + q * q) * stats.norm.cdf(1 / q) + q * stats.norm.pdf(1 / q),
        ][power - 1]
        assert numeric == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.5, 1.0])
def test_drift_exponent_recovered_from_reads(level):
    """The slope of ln g over ln t of every device is its exponent, with the stated moments."""
    model = PCM(programming_scale=0.0, read_scale=0.0)
    rng = np.random.default_rng(3)
    cells = model.program(Target(np.full((400, 400), level * G_MAX, np.float32), G_MAX), rng)
    reads = [model.drift(cells, t).astype(np.float64) for t in (1e3, 1e8)]
    nu = -np.log(reads[1] / reads[0]) / np.log((1e8 + 20) / (1e3 + 20))
    mean = np.clip(-0.0155 * np.log(level) + 0.0244, 0.049, 0.1)
    sigma = np.clip(-0.0125 * np.log(level) - 0.0059, 0.008, 0.045)
    folded = stats.foldnorm(mean / sigma, scale=sigma)
    assert nu.mean() == pytest.approx(folded.mean(), rel=0.005)
    assert nu.std() == pytest.approx(folded.std(), rel=0.01)
    assert nu == pytest.approx(cells.traits["exponent"], abs=2e-6)


def test_first_read_comes_after_the_formation_time():
    """At time 0: no drift, and read noise with the factor sqrt(ln 4e7) = 4.18."""
    model = PCM(programming_scale=0.0)
    cells = model.program(Target(np.full((2, 2), 12.5, np.float32), G_MAX), np.random.default_rng())
    assert np.array_equal(model.drift(cells, 0.0), cells.g_uS)
    sigma = model.read(cells, 0.0)
    assert sigma == pytest.approx(12.5 * 0.0088 / 0.5**0.65 * np.sqrt(np.log(4e7)), rel=1e-4)


def test_programming_noise_scales_with_the_range_where_that_is_assumed():
    model = PCM(scaled=True)
    small = Target(np.full((400, 400), 5.0, np.float32), 10.0)
    sigma = (model.program(small, np.random.default_rng(0)).g_uS - 5.0).std()
    assert sigma == pytest.approx((0.26348 + 1.965 * 0.5 - 1.1731 * 0.25) * 10 / 25, rel=0.01)


def test_scales_switch_effects_off():
    still = PCM(0.0, 0.0, 0.0)
    assert (draw(0.5, 1e8, model=still) == 12.5).all()


def test_agrees_with_aihwkit():
    pcm = pytest.importorskip("aihwkit.inference.noise.pcm")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = pcm.PCMLikeNoiseModel(g_max=G_MAX)
    for level in LEVELS:
        target = torch.full((500, 600), level * G_MAX)
        for t_s in TIMES_s:
            programmed = theirs.apply_programming_noise_to_conductance(target)
            exponent = theirs.generate_drift_coefficients(target)
            g = theirs.apply_drift_noise_to_conductance(programmed, exponent, t_s).double()
            ours = draw(level, t_s, seed=1)
            assert ours.mean() == pytest.approx(float(g.mean()), rel=0.02)
            assert ours.std() == pytest.approx(float(g.std()), rel=0.02)
