"""Normal numbers as a pure function of (seed, tile, stream, vector, column).

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
followed by Box-Muller (Annals of Mathematical Statistics 29, 1958). No state is kept, so the same
number comes out whatever the thread count, the batch split or the order of calls. Logarithm, sine
and cosine are polynomials evaluated without fused multiply-add, so the bits do not depend on the
mathematics library or on the processor either.

Counter layout: word 0 counts groups of columns, word 1 is the stream, word 2 the vector, word 3
the tile; the key is the 64-bit seed. Sixteen counters make one group of 64 columns: lane l of
counter j is column 16 l + j of its group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cimsim.errors import SpecError
from cimsim.runtime.jit import njit

F32 = npt.NDArray[np.float32]
GROUP = 64
"""Columns drawn together; buffers of normals have a multiple of this length."""
ROUNDS = 10
_COUNTERS = GROUP // 4
# Multipliers and Weyl constants of Philox4x32 (Salmon et al. 2011, table 2 and section 3.4).
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_f = np.float32
_LN2, _TWO_PI = _f(0.6931471805599453), _f(6.283185307179586)
_TO_UNIT, _TO_TURN = _f(2.0**-24), _f(2.0**-32)
_HALF_ONE, _ONE, _TWO, _QUARTER, _FOUR = _f(0.5), _f(1.0), _f(2.0), _f(0.25), _f(4.0)
# Coefficients of the single-precision logarithm, sine and cosine of the Cephes library
# (Moshier 1992): logf on [sqrt(1/2), sqrt 2), sinf and cosf on [-pi/4, pi/4].
_L0, _L1, _L2 = _f(7.0376836292e-2), _f(-1.1514610310e-1), _f(1.1676998740e-1)
_L3, _L4, _L5 = _f(-1.2420140846e-1), _f(1.4249322787e-1), _f(-1.6668057665e-1)
_L6, _L7, _L8 = _f(2.0000714765e-1), _f(-2.4999993993e-1), _f(3.3333331174e-1)
_S0, _S1, _S2 = _f(-1.9515295891e-4), _f(8.3321608736e-3), _f(-1.6666654611e-1)
_C0, _C1, _C2 = _f(2.443315711809948e-5), _f(-1.388731625493765e-3), _f(4.166664568298827e-2)
_SQRT_HALF_BITS, _MANTISSA_BITS = np.int32(0x3F3504F3), np.int32(23)


def _bits_code(typing_context: Any, x: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), emit


def _from_bits_code(typing_context: Any, x: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), emit


# Held as Any: type checkers take the typing context for an argument of the call.
_bits: Any = intrinsic(_bits_code)
_from_bits: Any = intrinsic(_from_bits_code)


@njit(inline="always")
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    # Words stay in 64-bit lanes with whatever is above bit 31: a vector multiply looks at the
    # low halves alone, so neither packing nor masking is needed between the rounds.
    a, b, c, d = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    for _ in range(ROUNDS):
        p = (a & _LOW) * _M0
        q = (c & _LOW) * _M1
        a = (q >> _HALF) ^ b ^ np.uint64(k0)
        b = q
        c = (p >> _HALF) ^ d ^ np.uint64(k1)
        d = p
        k0 = np.uint32(k0 + _W0)
        k1 = np.uint32(k1 + _W1)
    return np.uint32(a & _LOW), np.uint32(b & _LOW), np.uint32(c & _LOW), np.uint32(d & _LOW)


@njit(inline="always")
def _minus_log(u: Any) -> Any:
    bits = _bits(u)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    z = _from_bits(bits - (exponent << _MANTISSA_BITS)) - _ONE
    y = _L0 * z + _L1
    y = y * z + _L2
    y = y * z + _L3
    y = y * z + _L4
    y = y * z + _L5
    y = y * z + _L6
    y = y * z + _L7
    y = y * z + _L8
    z2 = z * z
    return -((z + (y * z2 * z - _HALF_ONE * z2)) + _f(exponent) * _LN2)


@njit(inline="always")
def _sin_cos_turn(turn: Any) -> Any:
    quadrant = np.int32(np.floor(turn * _FOUR + _HALF_ONE))
    r = (turn - _f(quadrant) * _QUARTER) * _TWO_PI
    r2 = r * r
    sine = r + r * r2 * ((_S0 * r2 + _S1) * r2 + _S2)
    cosine = _ONE - _HALF_ONE * r2 + r2 * r2 * ((_C0 * r2 + _C1) * r2 + _C2)
    swap = (quadrant & np.int32(1)) != 0
    a = cosine if swap else sine
    b = sine if swap else cosine
    a = -a if (quadrant & np.int32(2)) != 0 else a
    b = -b if ((quadrant + np.int32(1)) & np.int32(2)) != 0 else b
    return a, b


@njit(inline="always")
def _box_muller(word_a: Any, word_b: Any) -> Any:
    uniform = (_f(np.int32(word_a >> np.uint32(8))) + _HALF_ONE) * _TO_UNIT
    turn = _f(np.int32(word_b)) * _TO_TURN
    radius = np.sqrt(_TWO * _minus_log(uniform))
    sine, cosine = _sin_cos_turn(turn)
    return radius * sine, radius * cosine


@njit(inline="always")
def normal_group(
    out: Any, seed_low: Any, seed_high: Any, tile: Any, stream: Any, vector: Any, group: Any
) -> None:
    """Fill `out[:64]` with the standard normals of columns 64 `group` to 64 `group` + 63."""
    first = np.uint32(group * _COUNTERS)
    for j in range(_COUNTERS):
        a, b, c, d = _philox(first + np.uint32(j), stream, vector, tile, seed_low, seed_high)
        n0, n1 = _box_muller(a, b)
        n2, n3 = _box_muller(c, d)
        out[j] = n0
        out[_COUNTERS + j] = n1
        out[2 * _COUNTERS + j] = n2
        out[3 * _COUNTERS + j] = n3


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(out: Any, seed_low: Any, seed_high: Any, tile: Any, stream: Any, first: Any) -> None:
    for v in range(out.shape[0]):
        vector = np.uint32(first + v)
        for group in range(out.shape[1] // GROUP):
            row = out[v, group * GROUP : (group + 1) * GROUP]
            normal_group(row, seed_low, seed_high, tile, stream, vector, group)


@njit(cache=True, nogil=True)
def _words(counter: Any, key: Any) -> Any:
    return _philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


def philox_words(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Four 32-bit words of Philox4x32-10 at `counter` under `key` (for known-answer tests)."""
    words = _words(np.array(counter, np.uint32), np.array(key, np.uint32))
    return int(words[0]), int(words[1]), int(words[2]), int(words[3])


def seed_words(seed: int) -> tuple[np.uint32, np.uint32]:
    """Low and high key word of a 64-bit `seed`; raises SpecError outside 0 .. 2**64 - 1."""
    if not 0 <= seed < 2**64:
        raise SpecError(f"a seed is a whole number from 0 to 2**64 - 1, got {seed}.")
    return np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)


def padded(columns: int) -> int:
    """The smallest multiple of 64 that holds `columns`."""
    return -(-columns // GROUP) * GROUP


def normals(
    seed: int, tile: int, vectors: int, columns: int, *, stream: int = 0, first_vector: int = 0
) -> F32:
    """Standard normals of `vectors` x `columns`, each a function of its five coordinates alone.

    Row i belongs to vector `first_vector` + i; seed is 64 bits, the others 32 bits wide.
    """
    out = np.empty((vectors, padded(columns)), np.float32)
    low, high = seed_words(seed)
    _fill(out, low, high, np.uint32(tile), np.uint32(stream), np.int64(first_vector))
    return out[:, :columns]
