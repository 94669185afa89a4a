"""Coding: what is encoded is decoded, to the step; scales, clipping, bad weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.analog.coding import Coding, decode, signed_conductance
from cimsim.errors import SpecError

SCHEMES = ["differential", "offset", "signed"]


def weights(seed=0, shape=(30, 7)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def low(scheme):
    return 0.0 if scheme == "signed" else 2.0


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(SCHEMES),
    st.integers(1, 4),
    st.sampled_from([None, 1, 2, 4]),
    st.sampled_from(["column", "tile", "tensor"]),
    st.integers(0, 9),
)
def test_decoding_returns_the_weight_to_half_a_step(scheme, cells, bits, scaling, seed):
    if scheme == "offset" and bits == 1 and cells == 1:
        cells = 2
    coding = Coding(scheme, low(scheme), 25.0, cells, bits, scaling)
    w = weights(seed)
    encoded = coding.encode(w)
    assert encoded.g_uS_SPRC.shape == (cells, coding.polarities, 30, 7)
    assert encoded.g_uS_SPRC.dtype == np.float32
    magnitude = np.abs(encoded.g_uS_SPRC)
    assert magnitude.max() <= 25.0 * (1 + 1e-6)
    assert magnitude.min() >= low(scheme)
    top = 2 ** (coding.weight_bits - (scheme == "offset")) - 1
    half_step = 0.0 if bits is None else 0.5 / top
    error = np.abs(decode(encoded.g_uS_SPRC, encoded) - w) / coding.scale(w)
    assert error.max() <= half_step + 3e-6
    if bits is not None and half_step > 1e-4:
        assert error.max() > half_step / 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_quantised_weights_come_back_exactly(scheme):
    coding = Coding(scheme, low(scheme), 25.0, 4, 2)
    w = weights()
    once = decode((first := coding.encode(w)).g_uS_SPRC, first)
    second = coding.encode(once)
    assert np.array_equal(second.g_uS_SPRC, first.g_uS_SPRC)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_zero_is_exact(scheme):
    coding = Coding(scheme, low(scheme), 25.0, 2, 3)
    w = np.array([[0.0], [1.0], [-1.0]], np.float32)
    encoded = coding.encode(w)
    assert decode(encoded.g_uS_SPRC, encoded) == pytest.approx(w, abs=1e-6)


def test_pair_holds_one_polarity():
    g = Coding(g_min_uS=1.0).encode(weights()).g_uS_SPRC
    assert (g.min(axis=1) == 1.0).all()
    assert ((signed_conductance(g)[0] > 0) == (weights() > 0)).all()


def test_digits_are_levels():
    coding = Coding(cells_per_weight=4, bits_per_cell=2, g_max_uS=30.0)
    g = coding.encode(weights(shape=(200, 3))).g_uS_SPRC
    assert sorted(np.unique(g).tolist()) == [0.0, 10.0, 20.0, 30.0]
    assert coding.weight_bits == 8
    assert coding.cell_count == 8
    assert coding.step_uS == 10.0


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SCHEMES),
    st.integers(1, 23),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_levels_are_the_digits_of_whole_numbers(scheme, bits, cells, rows, columns, seed):
    cells = min(cells, 23 // bits)
    if scheme == "offset" and bits == cells == 1:
        cells = 2
    coding = Coding(scheme, low(scheme), 25.0, cells, bits, "tile")
    w = weights(seed, (rows, columns))
    w[0, 0] = 0.0
    top = 2 ** (bits * cells - (scheme == "offset")) - 1
    whole = np.rint((w / coding.scale(w)).astype(np.float64) * top).astype(np.int64)
    parts = {"differential": [whole, -whole], "offset": [whole + top], "signed": [abs(whole)]}
    digits = np.stack(
        [[np.maximum(part, 0) // 2 ** (bits * s) % 2**bits for part in parts[scheme]]
         for s in range(cells)]
    )  # fmt: skip
    if scheme == "signed":
        digits = digits * np.sign(whole)
    step = np.float32(coding.step_uS)
    wanted = np.float32(low(scheme)) + step * digits.astype(np.float32)
    assert np.array_equal(coding.encode(w).g_uS_SPRC, wanted)


def test_equal_cells_average_their_noise():
    coding = Coding("signed", cells_per_weight=4)
    w = weights(shape=(300, 40))
    encoded = coding.encode(w)
    noise = np.random.default_rng(1).standard_normal(encoded.g_uS_SPRC.shape).astype(np.float32)
    error = (decode(encoded.g_uS_SPRC + noise, encoded) - w) / encoded.gain_C
    assert error.std() == pytest.approx(0.5, rel=0.02)


def test_scales():
    w = np.array([[1.0, -4.0], [2.0, 3.0]], np.float32)
    assert Coding(scaling="column").scale(w).tolist() == [2.0, 4.0]
    assert Coding(scaling="tile").scale(w).tolist() == [4.0, 4.0]
    assert Coding(scaling="none", g_max_uS=9.0).scale(w).tolist() == [9.0, 9.0]


def test_clipping():
    w = weights(shape=(4000, 3))
    sigma = Coding(clip_sigma=2.0)
    assert sigma.scale(w) == pytest.approx(2.0 * w.std(axis=0), rel=1e-5)
    encoded = sigma.encode(w)
    limit = sigma.scale(w)
    assert decode(encoded.g_uS_SPRC, encoded) == pytest.approx(np.clip(w, -limit, limit), abs=1e-5)
    share = Coding(clip_percentile=90.0, scaling="tile")
    assert (np.abs(w) > share.scale(w)).mean() == pytest.approx(0.1, abs=0.001)
    wide = Coding(clip_sigma=50.0)
    assert wide.scale(w) == pytest.approx(np.abs(w).max(axis=0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_column_of_zeros_has_scale_one(scheme):
    w = weights()
    w[:, 3] = 0.0
    coding = Coding(scheme, low(scheme), clip_sigma=3.0)
    assert coding.scale(w)[3] == 1.0
    encoded = coding.encode(w)
    assert decode(encoded.g_uS_SPRC, encoded)[:, 3] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_weights_are_named(bad):
    w = weights()
    w[4, 2] = bad
    with pytest.raises(
        SpecError, match=r"^1 of 210 weights are NaN or infinite, the first at row 4"
    ):
        Coding().encode(w)


def test_weight_beyond_the_range():
    with pytest.raises(SpecError, match=r"a weight of 3 exceeds g_max_uS = 2; raise g_max_uS"):
        Coding("signed", g_max_uS=2.0, scaling="none").encode(np.full((1, 1), 3, np.float32))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scheme": "binary"}, "scheme is one of differential, offset, signed"),
        ({"g_min_uS": 30.0}, r"g_min_uS must lie in 0 \.\. 24\.75, got 30 \(1 % below g_max_uS 25"),
        ({"scheme": "signed", "g_min_uS": 1.0}, "signed cells have no g_min_uS"),
        ({"cells_per_weight": 0}, r"cells_per_weight must lie in 1 \.\. 64, got 0"),
        ({"cells_per_weight": 8, "bits_per_cell": 4}, "give 32 bits a weight"),
        ({"scheme": "offset", "bits_per_cell": 1}, "offset coding takes 2 to 23"),
        ({"clip_sigma": 1.0, "clip_percentile": 99.0}, "not by both"),
        ({"clip_sigma": 0.0}, r"clip_sigma must lie in 0\.1 \.\. 1000, got 0\."),
        ({"clip_percentile": 101.0}, r"clip_percentile must lie in 50 \.\. 100, got 101"),
        ({"bits_per_cell": 2.5}, "bits_per_cell is a whole number, got 2.5"),
        ({"cells_per_weight": True}, "cells_per_weight must lie in 1 .. 64, got True"),
        ({"g_max_uS": 1e38}, r"g_max_uS must lie in 1e-06 \.\. 1e\+06, got 1e\+38"),
        ({"g_max_uS": float("nan")}, "got nan"),
        ({"g_min_uS": 24.9}, "so that weights can be told apart"),
        ({"scaling": "none", "clip_sigma": 3.0}, "which scaling `none` fixes"),
    ],
)
def test_bad_codings_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        Coding(**fields)


def test_shape_is_checked():
    with pytest.raises(SpecError, match="rows x columns"):
        Coding().encode(np.zeros(3, np.float32))
