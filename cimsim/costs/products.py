"""Work of a matrix product on a cluster: on its matrix engine or on its cores.

The engine's cycles are those of RTL and of the software around a job; it takes `rows` rows of X at
the price of one. The cores' are a lower bound: every lane a multiply-add a cycle, at
`core.product_utilisation_ratio`, whatever the shape, with no loads beside it and no reduction over
lanes. `pmca.products_on` says which of them multiplies; "faster" decides job by job.
"""

from __future__ import annotations

import math
from functools import lru_cache

from cimsim.blocks import MatrixEngine, PmcaClusters
from cimsim.costs.busy import Busy
from cimsim.costs.matrix_engine import (
    FORMAT_BYTES,
    matrix_engine_accesses,
    matrix_engine_cycles,
)


def product_busy(pmca: PmcaClusters, count: int, m: int, n: int, k: int) -> Busy:
    """One cluster with `count` products Z[m,k] = X[m,n] . W[n,k], n inner.

    On the engine, on the cores (a lower bound, see the module), or on the faster of them. One core
    writes the registers of an engine job. Raises WorkloadError for a size below 1.
    """
    engine = _engine(pmca)
    if engine is None or cores_beat_engine(pmca, m, n, k):
        cycles = cores_product_cycles(pmca, m, n, k)
        # counted: of the operands of a multiply-add one is read, X or the sum stays in registers
        operands_bytes = math.ceil(m * n * k * pmca.value_bits / 8)
        return Busy(cycles, pmca.cores * cycles, tcdm_bytes=operands_bytes).times(count)
    array, accesses = _cached_engine(m, n, k, *_size(engine))
    # a word of the port is a row of the array's tile in FP16 (RTL, see `matrix_engine_cycles`)
    port_bytes = engine.columns * (engine.pipeline + 1) * FORMAT_BYTES["fp16"]
    cycles = array + engine.job_cycles
    return Busy(cycles, engine.job_cycles, array, accesses * port_bytes).times(count)


def cores_beat_engine(pmca: PmcaClusters, m: int, n: int, k: int) -> bool:
    """True where a cluster that has an engine gives the product to its cores, as the faster."""
    engine = _engine(pmca)
    if engine is None or pmca.products_on != "faster":
        return False
    return cores_product_cycles(pmca, m, n, k) < _engine_cycles(engine, m, n, k)


def cores_product_cycles(pmca: PmcaClusters, m: int, n: int, k: int) -> int:
    """Cycles of Z[m,k] = X[m,n] . W[n,k] on the cores, as a lower bound.

    One multiply-add a SIMD lane and cycle at `core.product_utilisation_ratio`, and a barrier.
    """
    lanes = pmca.cores * pmca.simd_width
    busy = m * n * k / (pmca.core.product_utilisation_ratio * lanes)
    return math.ceil(busy) + pmca.barrier_cycles


def _engine(pmca: PmcaClusters) -> MatrixEngine | None:
    return None if pmca.products_on == "cores" else pmca.matrix_engine


def _engine_cycles(engine: MatrixEngine, m: int, n: int, k: int) -> int:
    return _cached_engine(m, n, k, *_size(engine))[0] + engine.job_cycles


def _size(engine: MatrixEngine) -> tuple[int, int, int, str]:
    return engine.rows, engine.columns, engine.pipeline, engine.format


@lru_cache(maxsize=1 << 16)
def _cached_engine(
    m: int, n: int, k: int, rows: int, columns: int, pipeline: int, number: str
) -> tuple[int, int]:
    """Cycles of the array and accesses of its port."""
    cycles = matrix_engine_cycles(
        m, n, k, rows=rows, columns=columns, pipeline=pipeline, format=number
    )
    return cycles, matrix_engine_accesses(
        m, n, k, rows=rows, columns=columns, pipeline=pipeline, format=number
    )
