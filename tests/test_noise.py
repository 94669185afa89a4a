"""Device models: stated means, spreads and rates; composition; files."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from cimsim.analog.coding import Coding
from cimsim.analog.crossbar import Cuts, program
from cimsim.errors import SpecError
from cimsim.noise import (
    KINDS,
    PCM,
    Cells,
    CmoHfox,
    Gaussian,
    Hermes,
    Ideal,
    NeuRRAM,
    ReadNoise,
    Retention,
    StuckAt,
    Table,
    Target,
    WriteVerify,
    device_from_json,
    device_to_json,
    format_device,
    load_device,
    snapshot,
)
from cimsim.noise.faults import BOLTZMANN_eV_per_K
from cimsim.noise.verify import STEP_SIGMA_uS

DAY = 86_400.0


def rng(seed=0):
    return np.random.default_rng(seed)


def flat(level_uS, g_max_uS=40.0, shape=(400, 500)):
    return Target(np.full(shape, level_uS, np.float32), g_max_uS)


def moments(values):
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def test_ideal_cells_stay():
    target = flat(7.0)
    cells = Ideal().program(target, rng())
    assert np.array_equal(snapshot(Ideal(), cells, 1e9, rng()), target.g_uS)


@pytest.fixture
def uneven():
    """A tile whose columns peak at 5 and 20 uS, cut from a tensor that peaks at 25 uS."""
    g = np.ones((20_000, 2), np.float32)
    g[0] = 5.0, -20.0
    return Target(g, 25.0, tensor_max_uS=25.0)


@pytest.mark.parametrize(
    ("model", "sigmas"),
    [
        (Gaussian(0.02), (0.4, 0.4)),
        (Gaussian(0.02, "column"), (0.1, 0.4)),
        (Gaussian(0.02, "tensor"), (0.5, 0.5)),
        (Gaussian(0.02, "cell"), (0.02, 0.02)),
        (Gaussian(relative_to="absolute", sigma_uS=0.3), (0.3, 0.3)),
    ],
)
def test_gaussian_scales(uneven, model, sigmas):
    error = model.program(uneven, rng()).g_uS - uneven.g_uS
    assert error[1:].std(axis=0) == pytest.approx(sigmas, rel=0.02)
    assert abs(error[1:].mean(axis=0) / sigmas).max() < 0.03
    assert stats.kstest(error[1:, 0] / sigmas[0], "norm").pvalue > 0.01


def test_tensor_without_a_tensor_is_the_tile(uneven):
    alone = Target(uneven.g_uS, 25.0)
    error = Gaussian(0.02, "tensor").program(alone, rng()).g_uS - uneven.g_uS
    assert error[1:].std() == pytest.approx(0.4, rel=0.02)


def test_read_noise_adds_variances():
    target = flat(20.0)
    model = ReadNoise(0.01, inner=ReadNoise(0.0, "absolute", 0.3))
    cells = model.program(target, rng())
    assert np.array_equal(model.drift(cells, 5.0), target.g_uS)
    assert model.read(cells, 5.0) == pytest.approx(np.hypot(0.2, 0.3), rel=1e-6)
    mean, sigma = moments(snapshot(model, cells, 5.0, rng(1)))
    assert mean == pytest.approx(20.0, abs=0.005)
    assert sigma == pytest.approx(np.hypot(0.2, 0.3), rel=0.01)


def test_stuck_rates_and_states():
    model = StuckAt(on_rate=0.0175, off_rate=0.0904, g_off_uS=0.5, inner=PCM())
    cells = model.program(flat(10.0, 25.0), rng())
    g = snapshot(model, cells, DAY, rng(1))
    count = g.size
    for state, value, rate in ((1.0, 25.0, 0.0175), (-1.0, 0.5, 0.0904)):
        stuck = cells.traits["stuck"] == state
        assert (g[stuck] == value).all()
        assert stats.binomtest(int(stuck.sum()), count, rate).pvalue > 0.01
    free = cells.traits["stuck"] == 0.0
    alone = PCM().program(flat(10.0, 25.0), rng())
    assert np.array_equal(model.drift(cells, DAY)[free], PCM().drift(alone, DAY)[free])
    sigma = model.read(cells, DAY)
    assert sigma is not None
    assert not sigma[~free].any()
    assert sigma[free].all()


def test_all_or_none_stuck():
    assert (StuckAt(on_rate=1.0).program(flat(1.0), rng()).g_uS == 40.0).all()
    assert (StuckAt(off_rate=1.0).program(flat(1.0), rng()).g_uS == 0.0).all()
    assert (StuckAt().program(flat(1.0), rng()).g_uS == 1.0).all()


# Spread (uS) of NeuRRAM cells of g_max 40 uS at g / g_max, from the published fit.
NEURRAM_TABLE = [
    (1.0, [1.05, 1.56, 2.26, 2.02, 1.53, 1.10]),
    (DAY, [1.68, 2.45, 3.72, 3.91, 3.37, 2.65]),
    (2 * DAY, [1.69, 2.41, 3.66, 3.93, 3.37, 2.68]),
]


@pytest.mark.parametrize(("t_s", "sigmas"), NEURRAM_TABLE)
def test_neurram_table(t_s, sigmas):
    levels = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 1.0], np.float32)
    target = Target((levels * 40)[None].repeat(2, 0), 40.0)
    assert NeuRRAM().sigma(target, t_s)[0] == pytest.approx(sigmas, abs=0.006)
    for index in (3, 5):
        tile = flat(float(levels[index]) * 40)
        cells = NeuRRAM().program(tile, rng(index))
        mean, sigma = moments(NeuRRAM().drift(cells, t_s))
        assert mean == pytest.approx(levels[index] * 40, abs=0.03)
        assert sigma == pytest.approx(sigmas[index], rel=0.01)


def test_neurram_between_and_beyond():
    tile = flat(20.0, shape=(2, 2))
    spread = [float(NeuRRAM().sigma(tile, t)[0, 0]) for t in (0.0, 1.0, 300.0, DAY, 2 * DAY, 1e9)]
    assert spread[0] == spread[1] < spread[2] < spread[3]
    assert spread[4] == spread[5]
    assert spread[2] - spread[1] == pytest.approx(
        (spread[3] - spread[1]) * np.log(300.0) / np.log(DAY), rel=1e-5
    )


@pytest.mark.parametrize(("model", "high"), [(NeuRRAM(), 40.0), (PCM(), 25.0), (Hermes(), 20.7)])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_spread_belongs_to_a_conductance_whatever_the_window(model, high, share):
    """Cells of one conductance are one and the same; `scaled` assumes shares of the window."""
    g_uS = 0.4 * high
    narrow, wide = (
        Target(np.full((40, 50), g_uS, np.float32), top) for top in (high * share, high)
    )
    for t_s in (0.0, DAY):
        read = [snapshot(model, model.program(t, rng()), t_s, rng()) for t in (narrow, wide)]
        assert np.array_equal(*read)
    shrunk = Target(np.full((40, 50), g_uS * share, np.float32), high * share)
    scaled = replace(model, scaled=True)
    for t_s in (0.0, DAY):
        found = snapshot(scaled, scaled.program(shrunk, rng()), t_s, rng())
        assert found == pytest.approx(
            snapshot(model, model.program(wide, rng()), t_s, rng()) * share, rel=1e-4
        )


def test_what_was_never_measured_is_refused_unless_assumed():
    beyond = flat(10.0, 60.0, (4, 4))
    for model in (NeuRRAM(), PCM(), Hermes()):
        text = rf"^{model.name} was measured on cells of 0 to .* these hold 10 to 60 uS: "
        text += f".*{model.name}:scaled=true"
        with pytest.raises(SpecError, match=text):
            model.program(beyond, rng())
        replace(model, scaled=True).program(beyond, rng())
    with pytest.raises(
        SpecError, match=r"cmo_hfox was measured on cells of 9 to 88\.2 uS, .* 0 to 88"
    ):
        CmoHfox().program(flat(0.0, 88.0, (4, 4)), rng())
    with pytest.raises(SpecError, match="these hold 5 to 88 uS"):
        CmoHfox().program(Target(np.full((2, 2), 50.0, np.float32), 88.0, g_min_uS=5.0), rng())
    with pytest.raises(SpecError, match="these hold 0 to 40 uS"):
        program(
            np.ones((4, 4), np.float32),
            Cuts.of((4, 4), (4, 4)),
            Coding(g_max_uS=40.0),
            CmoHfox(),
            seed=0,
        )
    half = CmoHfox(scaled=True).program(flat(25.0, 44.1), rng())
    for t_s in (0.0, 1e6):
        whole = moments(CmoHfox().drift(CmoHfox().program(flat(50.0, 88.2), rng()), t_s))
        assert moments(CmoHfox(scaled=True).drift(half, t_s)) == pytest.approx(
            [value / 2 for value in whole], rel=1e-4
        )
    assert format_device(NeuRRAM(scaled=True)) == "neurram:scaled=true"


def test_read_noise_leaves_a_cell_below_zero_where_its_model_put_it():
    model = ReadNoise(
        sigma_uS=0.01, relative_to="absolute", inner=Gaussian(sigma_uS=5.0, relative_to="absolute")
    )
    cells = model.program(flat(1.0, shape=(50, 50)), rng())
    assert (cells.g_uS < 0.0).mean() > 0.3
    assert snapshot(model, cells, 0.0, rng()) == pytest.approx(cells.g_uS, abs=0.06)


@pytest.mark.parametrize(
    ("window", "sigma_at_50"), [(2.0, 0.0112 + 0.0113 * 50), (0.2, 0.00081 + 0.00107 * 50)]
)
def test_cmo_programming_and_decay(window, sigma_at_50):
    model = CmoHfox(window)
    cells = model.program(flat(50.0, 88.0), rng())
    mean, sigma = moments(model.drift(cells, 0.0))
    assert mean == pytest.approx(50.0, abs=0.01)
    assert sigma == pytest.approx(sigma_at_50, rel=0.01)
    for t_s in (1.0, 3600.0, 1e7):
        mean, later = moments(model.drift(cells, t_s))
        assert mean == pytest.approx(50.0 - 0.089 * np.log(t_s), abs=0.01)
        decay = 0.412 + 0.042 * np.log(t_s)
        assert later == pytest.approx(np.hypot(sigma_at_50, decay), rel=0.01)


def test_table_is_the_spread_it_states():
    sigmas = (0.01, 0.02, 0.03), (0.03, 0.04, 0.05)
    table = Table((0.0, 0.5, 1.0), (1.0, 100.0), sigmas, "mine", 40.0)
    tile = flat(30.0)
    assert table.name == "mine"
    assert table.sigma(tile, 0.0)[0, 0] == pytest.approx(0.025 * 40)
    assert table.sigma(tile, 10.0)[0, 0] == pytest.approx(0.035 * 40)
    assert table.sigma(tile, 1e6)[0, 0] == pytest.approx(0.045 * 40)
    cells = table.program(tile, rng())
    assert moments(cells.g_uS) == pytest.approx((30.0, 1.0), rel=0.01)
    assert moments(table.drift(cells, 1e6)) == pytest.approx((30.0, 1.8), rel=0.01)
    # a narrower window keeps the spread in uS, which `scaled` takes for a share of any g_max
    assert table.sigma(flat(30.0, 35.0), 0.0)[0, 0] == pytest.approx(0.025 * 40)
    scaled = replace(table, scaled=True)
    assert scaled.sigma(flat(60.0, 80.0), 0.0)[0, 0] == pytest.approx(0.025 * 80)
    assert scaled.program(flat(60.0, 80.0), rng()).g_uS.std() == pytest.approx(2.0, rel=0.01)


def test_what_was_not_measured_is_refused():
    wide, low = flat(50.0, 80.0, shape=(2, 2)), flat(5.0, 25.0, shape=(2, 2))
    table = Table((0.25, 1.0), (1.0,), ((0.01, 0.02),), "mine", 40.0)
    with pytest.raises(SpecError, match=r"^mine was measured on cells of 10 to 40 uS, these hold"):
        table.program(wide, rng())
    with pytest.raises(SpecError, match=r"these hold 5 to 25 uS: .* take table:scaled=true, which"):
        table.program(low, rng())
    with pytest.raises(SpecError, match=r"^mine: at which g_max was it measured\? Give the table"):
        replace(table, g_max_uS=None).program(low, rng())
    replace(table, g_max_uS=None, scaled=True).program(low, rng())
    with pytest.raises(
        SpecError, match=r"^write_verify was measured on cells of 0 to 40 uS, these"
    ):
        WriteVerify().program(wide, rng())
    # counted: 80 uS are twice 40, so are all errors but those of the window
    target = flat(50.0, 80.0, shape=(50, 50))
    double = WriteVerify(2.0, scaled=True).program(target, rng())
    own = WriteVerify(2.0, step_sigma_uS=2.0 * STEP_SIGMA_uS).program(target, rng())
    assert np.array_equal(double.g_uS, own.g_uS)
    single = WriteVerify(1.0).program(flat(25.0, shape=(50, 50)), rng())
    assert double.traits["pulse_count"] == pytest.approx(single.traits["pulse_count"])
    assert double.g_uS == pytest.approx(2.0 * single.g_uS)


def test_one_chip_has_one_history():
    model = NeuRRAM()
    cells = model.program(flat(20.0, shape=(50, 50)), rng())
    once, again = model.drift(cells, DAY), model.drift(cells, DAY)
    assert np.array_equal(once, again)
    early = model.drift(cells, 1.0) - 20.0
    assert np.corrcoef(early.ravel(), (once - 20.0).ravel())[0, 1] > 0.99


def test_retention_fades_with_log_time_and_heat():
    cold = Retention(0.05, t0_s=10.0)
    assert cold.kept_ratio(0.0) == 1.0
    assert cold.kept_ratio(90.0) == pytest.approx(0.95)
    assert Retention(0.2, t0_s=10.0).kept_ratio(1e10) == 0.0
    frozen = Retention(0.05, t0_s=10.0, activation_eV=10.0, temperature_K=4.0)
    assert frozen.kept_ratio(1e10) == 1.0
    molten = Retention(0.05, activation_eV=10.0, temperature_K=1000.0, reference_K=4.0)
    assert molten.kept_ratio(1.0) == 0.0
    hot = Retention(0.05, t0_s=10.0, activation_eV=1.0, temperature_K=358.0)
    speed = np.exp(1.0 / BOLTZMANN_eV_per_K * (1 / 300 - 1 / 358))
    assert hot.kept_ratio(90.0) == pytest.approx(cold.kept_ratio(90.0 * speed))
    over = Retention(0.05, 10.0, inner=ReadNoise(0.01))
    cells = over.program(flat(20.0, shape=(2, 2)), rng())
    assert over.drift(cells, 90.0) == pytest.approx(19.0)
    assert over.read(cells, 90.0) == pytest.approx(0.2)


def test_conductances_never_fall_below_zero():
    for model in (PCM(), NeuRRAM(), CmoHfox(scaled=True), WriteVerify(inner=NeuRRAM())):
        cells = model.program(flat(0.0, 25.0, shape=(100, 100)), rng())
        assert snapshot(model, cells, DAY, rng()).min() >= 0.0


@dataclass(frozen=True)
class Fading:
    """A user's own model: ten lines, no base class."""

    name: str = "fading"

    def program(self, target, rng):
        return Cells(target, target.g_uS)

    def drift(self, cells, t_s):
        return cells.g_uS / np.float32(1.0 + t_s)

    def read(self, cells, t_s):
        return None


def test_a_users_model_composes():
    model = StuckAt(on_rate=0.5, inner=Fading())
    cells = model.program(flat(8.0, shape=(50, 50)), rng())
    assert set(np.unique(model.drift(cells, 1.0))) == {4.0, 40.0}
    with pytest.raises(SpecError, match=r"^the device model 'fading' is not one of ideal, "):
        device_to_json(Fading())


EVERY = [
    Ideal(),
    Gaussian(0.01, "column"),
    ReadNoise(0.01, inner=PCM()),
    StuckAt(0.1, 0.2, inner=WriteVerify(inner=NeuRRAM(0.5))),
    Retention(0.1, inner=CmoHfox(0.2)),
    Table((0.0, 1.0), (1.0,), ((0.1, 0.2),), g_max_uS=40.0, scaled=True),
]


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.name)
def test_files_hold_models(model, tmp_path):
    path = tmp_path / "device.json"
    path.write_text(json.dumps(device_to_json(model)))
    assert load_device(path) == model


def test_every_kind_has_its_own_name():
    assert [KINDS[kind].name for kind in KINDS if kind != "table"] == [
        kind for kind in KINDS if kind != "table"
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "flash"}, r"^d\.json: unknown kind 'flash'; known: ideal, gaussian, "),
        ({"kind": "pcm", "nu": 1}, r"^d\.json: pcm has no field 'nu'; fields: programming_scale, "),
        ({"kind": "ideal", "x": 1}, r"fields: none\.$"),
        (["pcm"], r"^d\.json: a device model is an object with a `kind`, got \['pcm'\]\.$"),
        ({"kind": "table"}, r"^d\.json: table: .*missing 3 required"),
        (
            {"kind": "stuck_at", "inner": {"kind": "gaussian", "sigma_ratio": -1}},
            r"^d\.json\.inner: gaussian: sigma_ratio must lie in 0 \.\. 1, got -1 \(a share",
        ),
        ({"kind": "pcm", "read_scale": True}, r"read_scale must lie in 0 \.\. 10, got True\.$"),
        ({"kind": "gaussian", "relative_to": "row"}, r"relative_to is one of tile, column, "),
        ({"kind": "gaussian", "sigma_uS": 1.0}, r"sigma_uS has no meaning with relative_to 'tile'"),
        ({"kind": "stuck_at", "on_rate": 0.6, "off_rate": 0.5}, r"exceed 1 together\.$"),
        ({"kind": "cmo_hfox", "window_percent": 1}, r"was measured for 2 and 0\.2, got 1\.$"),
        ({"kind": "write_verify", "max_pulses": 2.5}, r"max_pulses is a whole number, got 2\.5\.$"),
        ({"kind": "write_verify", "max_pulses": 0}, r"max_pulses must lie in 1 \.\. 1000, got 0"),
    ],
)
def test_bad_models_are_named(value, message):
    with pytest.raises(SpecError, match=message):
        device_from_json(value, "d.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"times_s": (1.0, 100.0, 50.0)},
            r"^t: times_s must rise strictly, but entry 2 \(50\) fol",
        ),
        (
            {"g_ratio": (0.0, 0.0)},
            r"^t: g_ratio must rise strictly, but entry 1 \(0\) follows 0; so",
        ),
        ({"sigma_ratio": ((0.1, 0.1),)}, r"^t: sigma_ratio has 1 rows for 3 times\.$"),
        ({"sigma_ratio": ((0.1,),) * 3}, r"^t: sigma_ratio\[0\] has 1 entries for 2 levels\.$"),
        ({"sigma_ratio": ((0.1, -1),) * 3}, r"^t: sigma_ratio\[0\]\[1\] must lie in 0"),
        ({"g_ratio": ()}, r"^t: g_ratio is empty\.$"),
    ],
)
def test_bad_tables_are_named(change, message):
    good = {"g_ratio": (0.0, 1.0), "times_s": (1.0, 2.0, 3.0), "sigma_ratio": ((0.1, 0.2),) * 3}
    with pytest.raises(SpecError, match=message):
        Table(**(good | change), title="t")


def test_bad_targets_and_times():
    with pytest.raises(SpecError, match=r"^pcm cells hold 0 uS or more, a target asks for -2 uS"):
        PCM().program(flat(-2.0, 25.0, shape=(2, 2)), rng())
    with pytest.raises(SpecError, match="must be finite"):
        flat(float("nan"))
    with pytest.raises(SpecError, match="g_max_uS must be above 0"):
        flat(1.0, 0.0)
    with pytest.raises(SpecError, match="ends in rows and columns"):
        Target(np.ones(3, np.float32), 1.0)
    with pytest.raises(SpecError, match=r"^a read happens at a finite time .* got t = -1 s\.$"):
        PCM().drift(PCM().program(flat(1.0, 25.0, (2, 2)), rng()), -1.0)
