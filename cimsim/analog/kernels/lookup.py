"""Sums of conductances over one-bit input pulses, by table look-up.

A pulse opens each row or not, so a column sum is a sum over a subset of rows. Rows are taken in
fours: the sixteen subset sums of four rows are tabulated once (Arlazarov, Dinic, Kronrod,
Faradzev 1970, "the four Russians") and each vector adds one table row where a matrix product
would multiply and add four. Any conductances are allowed. Every sum is formed in one fixed order,
so the bits depend neither on the other vectors nor on a mathematics library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cimsim.analog.kernels.philox import GROUP
from cimsim.runtime.jit import njit

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
ROWS = 32
"""Rows of one sweep (eight tables of four rows, 32 KiB); operands are padded to a multiple."""
_TABLES = 8
_LANES = 16
_BLOCK = 2048


def _add_rows_code(typing_context: Any, out: Any, at: Any, table: Any, rows: Any) -> Any:
    """out[at : at + 64] += the sum of eight rows of 64 of `table`, as straight-line vector code.

    Written as vector instructions because the array form pays an aliasing check on every call.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), _LANES)
        target = context.make_array(signature.args[0])(context, builder, args[0]).data
        source = context.make_array(signature.args[2])(context, builder, args[2]).data
        offsets = [builder.extract_value(args[3], i) for i in range(_TABLES)]

        def address(pointer: Any, offset: Any, part: int) -> Any:
            index = builder.add(offset, ir.Constant(offset.type, part * _LANES))
            return builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())

        for part in range(GROUP // _LANES):
            terms = [builder.load(address(source, offset, part), align=4) for offset in offsets]
            while len(terms) > 1:
                pairs = zip(terms[::2], terms[1::2], strict=True)
                terms = [builder.fadd(left, right) for left, right in pairs]
            place = address(target, args[1], part)
            builder.store(builder.fadd(builder.load(place, align=4), terms[0]), place, align=4)
        return context.get_dummy_value()

    return types.void(out, at, table, rows), emit


# Held as Any: type checkers take the typing context for an argument of the call.
_add_rows: Any = intrinsic(_add_rows_code)


@njit(inline="always")
def _tabulate(table: Any, g_KN: Any, row: Any, column: Any) -> None:
    for t in range(_TABLES):
        entries = table[t * 16 * GROUP : (t + 1) * 16 * GROUP]
        entries[:GROUP] = np.float32(0.0)
        for r in range(4):
            half = GROUP << r
            cells = g_KN[row + 4 * t + r, column : column + GROUP]
            for known in range(0, half, GROUP):
                source = entries[known : known + GROUP]
                target = entries[half + known : half + known + GROUP]
                for j in range(GROUP):
                    target[j] = source[j] + cells[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _subset_sums(index_MG: Any, g_KN: Any, out: Any) -> None:
    rows = index_MG.shape[0]
    table = np.empty(_TABLES * 16 * GROUP, np.float32)
    size = np.int64(GROUP)
    for start in range(0, rows, _BLOCK):
        stop = min(rows, start + _BLOCK)
        for group in range(g_KN.shape[1] // GROUP):
            for i in range(0, index_MG.shape[1], _TABLES):
                _tabulate(table, g_KN, 4 * i, group * GROUP)
                for m in range(start, stop):
                    entries = (
                        np.int64(index_MG[m, i]) * size,
                        (16 + np.int64(index_MG[m, i + 1])) * size,
                        (32 + np.int64(index_MG[m, i + 2])) * size,
                        (48 + np.int64(index_MG[m, i + 3])) * size,
                        (64 + np.int64(index_MG[m, i + 4])) * size,
                        (80 + np.int64(index_MG[m, i + 5])) * size,
                        (96 + np.int64(index_MG[m, i + 6])) * size,
                        (112 + np.int64(index_MG[m, i + 7])) * size,
                    )
                    _add_rows(out, (group * rows + m) * size, table, entries)


@njit(cache=True, nogil=True)
def _nibbles(code_BK: Any, index_PBG: Any) -> None:
    vectors, pulses, groups = index_PBG.shape
    rows = code_BK.shape[1]
    for b in range(vectors):
        for i in range(groups):
            for p in range(pulses):
                index_PBG[b, p, i] = 0
        for k in range(rows):
            code = np.int32(code_BK[b, k])
            i = k >> 2
            shift = np.uint8(k & 3)
            for p in range(pulses):
                index_PBG[b, p, i] |= np.uint8((code >> p) & 1) << shift


def pulse_index(code_BK: F32, pulses: int) -> U8:
    """Bits of two's-complement codes as table indices of shape [B x pulses, K padded / 4].

    Row b * pulses + p holds bit p of every row of vector b, four rows an entry; the topmost pulse
    is the sign bit and weighs -2**(pulses - 1).
    """
    vectors, rows = code_BK.shape
    index = np.empty((vectors, pulses, -(-rows // ROWS) * _TABLES), np.uint8)
    _nibbles(code_BK, index)
    return index.reshape(vectors * pulses, -1)


def subset_sums(index_MG: U8, g_KN: F32) -> F32:
    """Column sums of `g_KN` over the rows that each pulse opens, shape [N / 64, M, 64] float32.

    `g_KN` is padded to whole groups of 64 columns and 32 rows.
    """
    out = np.zeros((g_KN.shape[1] // GROUP, index_MG.shape[0], GROUP), np.float32)
    _subset_sums(index_MG, g_KN, out.reshape(-1))
    return out
