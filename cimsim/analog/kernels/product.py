"""Matrix product in one fixed order: each output is one chain of fused multiply-adds over rows.

A mathematics library sums in an order that depends on the number of vectors, a vector's place
among them, its own version and its threads; the last bits of a column sum then decide an ADC code
differently from run to run. Here every sum runs over the rows in order, so a result depends on
its vector alone, and one vector costs what it should. The inner kernel keeps six vectors by
sixteen columns in registers (van Zee and van de Geijn, BLIS, ACM TOMS 41, 2015); on processors with
256-bit vector units it is as fast as a library for large batches and faster for small ones.
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
ROWS = 6
"""Vectors of one inner kernel; drives are padded to a multiple."""
PANEL = 16
"""Columns of one inner kernel; panels hold all rows of so many columns."""


def _chain(builder: Any, sums: list[Any], bounds: tuple[Any, Any], step: int, body: Any) -> Any:
    """Emit `for k in range(*bounds, step): sums = body(k, sums)`; returns the sums after it."""
    index = ir.IntType(64)
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "rows", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(index)
    k.add_incoming(bounds[0], before)
    carried = [builder.phi(value.type) for value in sums]
    for phi, value in zip(carried, sums, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", k, bounds[1]), inside, after)
    builder.position_at_end(inside)
    for phi, value in zip(carried, body(k, carried), strict=True):
        phi.add_incoming(value, inside)
    k.add_incoming(builder.add(k, index(step)), inside)
    builder.branch(head)
    builder.position_at_end(after)
    return carried


def _inner_code(
    typing_context: Any, out: Any, at: Any, drive: Any, start: Any, stride: Any, panel: Any,
    first: Any, depth: Any,
) -> Any:  # fmt: skip
    """out[at + 64 r :][:16] = sum over k of drive[start + stride r + k] panel[first + 16 k :][:16].

    `at`, `start`, `stride`, `first` and `depth` are int64; r runs over six vectors.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, index, lane = ir.VectorType(ir.FloatType(), PANEL), ir.IntType(64), ir.IntType(32)
        target, source, cells = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2, 5)
        )
        name, kind = f"llvm.fma.v{PANEL}f32", ir.FunctionType(vector, [vector] * 3)
        fused = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        nothing = ir.Constant(vector, ir.Undefined)
        first_lane = ir.Constant(ir.VectorType(lane, PANEL), [0] * PANEL)

        def row_of(pointer: Any, base: Any, step: Any, r: int) -> Any:
            return builder.gep(pointer, [builder.add(base, builder.mul(step, index(r)))])

        inputs = [row_of(source, args[3], args[4], r) for r in range(ROWS)]
        cells = builder.gep(cells, [args[6]])

        def one_row(k: Any, sums: list[Any]) -> list[Any]:
            place = builder.gep(cells, [builder.mul(k, index(PANEL))])
            column = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
            after = []
            for pointer, total in zip(inputs, sums, strict=True):
                value = builder.load(builder.gep(pointer, [k]))
                spread = builder.insert_element(nothing, value, lane(0))
                spread = builder.shuffle_vector(spread, nothing, first_lane)
                after.append(builder.call(fused, [spread, column, total]))
            return after

        def two_rows(k: Any, sums: list[Any]) -> list[Any]:
            return one_row(builder.add(k, index(1)), one_row(k, sums))

        even = builder.and_(args[7], index(-2))
        sums = [ir.Constant(vector, [0.0] * PANEL)] * ROWS
        sums = _chain(builder, sums, (index(0), even), 2, two_rows)
        sums = _chain(builder, sums, (even, args[7]), 1, one_row)
        for r, total in enumerate(sums):
            place = row_of(target, args[1], index(GROUP), r)
            builder.store(total, builder.bitcast(place, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(out, at, drive, start, stride, panel, first, depth), emit


# Held as Any: type checkers take the typing context for an argument of the call.
_inner: Any = intrinsic(_inner_code)


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(drive: Any, stride: Any, first_row: Any, panels: Any, depth: Any, out: Any) -> None:
    vectors = out.shape[1]
    sums = out.reshape(-1)
    cells = panels.reshape(-1)
    for group in range(out.shape[0]):
        for part in range(GROUP // PANEL):
            first = (group * (GROUP // PANEL) + part) * depth * PANEL
            for m in range(0, vectors, ROWS):
                at = (group * vectors + m) * GROUP + part * PANEL
                _inner(sums, at, drive, m * stride + first_row, stride, cells, first, depth)


def pack_panels(g_KN: F32) -> F32:
    """Columns in panels of sixteen, [N / 16, K, 16]; N is a multiple of 64."""
    rows, columns = g_KN.shape
    return np.ascontiguousarray(g_KN.reshape(rows, columns // PANEL, PANEL).transpose(1, 0, 2))


def products(drive_MK: F32, first_row: int, panels: F32) -> F32:
    """Sums over the rows of `panels`, [N / 64, M, 64] float32.

    `drive_MK` is contiguous, M a multiple of six; its columns from `first_row` on meet the rows
    of `panels`.
    """
    count, depth, _ = panels.shape
    out = np.empty((count * PANEL // GROUP, drive_MK.shape[0], GROUP), np.float32)
    _multiply(drive_MK.reshape(-1), drive_MK.shape[1], first_row, panels, depth, out)
    return out
