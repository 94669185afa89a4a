"""Random numbers: published known answers, the normal distribution, independence of layout."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cimsim.analog.kernels.philox import GROUP, normals, padded, philox_words
from cimsim.errors import SpecError

ONES = 0xFFFFFFFF
# Known answers of Philox4x32-10 that the authors publish with Random123 (kat_vectors).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    assert philox_words(counter, key) == words


def reference(seed, tile, stream, vector, column):
    group, lane, j = column // 64, (column % 64) // 16, column % 16
    key = (seed & ONES, seed >> 32)
    words = philox_words((group * 16 + j, stream, vector, tile), key)
    a, b = words[:2] if lane < 2 else words[2:]
    radius = np.sqrt(-2.0 * np.log(((a >> 8) + 0.5) * 2.0**-24))
    signed = b - (1 << 32) if b >= 1 << 31 else b
    angle = 2.0 * np.pi * signed * 2.0**-32
    return radius * (np.sin(angle) if lane % 2 == 0 else np.cos(angle))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, ONES),
    st.integers(0, ONES),
    st.integers(0, 2**32 - 2),
    st.integers(0, 300),
)
def test_normals_equal_the_textbook_formula(seed, tile, stream, vector, column):
    drawn = normals(seed, tile, 1, column + 1, stream=stream, first_vector=vector)[0, column]
    assert drawn == pytest.approx(reference(seed, tile, stream, vector, column), abs=3e-6)


def test_distribution():
    sample = normals(5, 3, 256, 1024).ravel().astype(np.float64)
    assert np.isfinite(sample).all()
    assert stats.kstest(sample, "norm").pvalue > 0.01
    assert abs(stats.kurtosis(sample)) < 0.03
    assert abs(sample).max() > 4.0


def test_neighbours_are_uncorrelated():
    z = normals(5, 3, 512, 512)
    limit = 5.0 / np.sqrt(z.size)
    for other in (np.roll(z, 1, 0), np.roll(z, 1, 1), np.roll(z, 16, 1), np.roll(z, 32, 1)):
        assert abs(np.corrcoef(z.ravel(), other.ravel())[0, 1]) < limit


def test_value_depends_on_its_coordinates_alone():
    whole = normals(9, 4, 7, 200)
    assert np.array_equal(normals(9, 4, 3, 70, first_vector=2), whole[2:5, :70])
    others = [normals(8, 4, 7, 200), normals(9, 5, 7, 200), normals(9, 4, 7, 200, stream=1)]
    assert all(not np.isclose(other, whole).any(axis=0).all() for other in others)


def test_bits_are_pinned():
    assert normals(1, 2, 1, 3).view(np.uint32)[0].tolist() == [1063479830, 1072175454, 1071353373]


def test_padding_and_seed_range():
    assert [padded(n) for n in (1, GROUP, GROUP + 1)] == [64, 64, 128]
    with pytest.raises(SpecError, match=r"^a seed is a whole number from 0 to 2\*\*64 - 1, got -1"):
        normals(-1, 0, 1, 1)
