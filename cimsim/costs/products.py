"""Cycles of a matrix product on a cluster: on its matrix engine or on its cores.

The engine's cycles are those of RTL and of the software around a job; it takes `rows` rows of X at
the price of one. The cores' are a lower bound: every lane a multiply-add a cycle, at
`core.product_utilisation_ratio`, whatever the shape, with no loads beside it and no reduction over
lanes. `pmca.products_on` says which of them multiplies; "faster" decides job by job.
"""

from __future__ import annotations

import math
from functools import lru_cache

from cimsim.blocks import MatrixEngine, PmcaClusters
from cimsim.costs.matrix_engine import matrix_engine_cycles


def product_cycles(pmca: PmcaClusters, count: int, m: int, n: int, k: int) -> int:
    """Cycles of one cluster for `count` products Z[m,k] = X[m,n] . W[n,k], n inner.

    On the engine, on the cores (a lower bound, see the module), or on the faster of them.
    Raises WorkloadError for a size below 1.
    """
    engine = _engine(pmca)
    if engine is None:
        return count * cores_product_cycles(pmca, m, n, k)
    cycles = _engine_cycles(engine, m, n, k)
    if pmca.products_on == "faster":
        cycles = min(cycles, cores_product_cycles(pmca, m, n, k))
    return count * cycles


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
    size = (engine.rows, engine.columns, engine.pipeline)
    return _cached_engine_cycles(m, n, k, *size, engine.format) + engine.job_cycles


@lru_cache(maxsize=1 << 16)
def _cached_engine_cycles(
    m: int, n: int, k: int, rows: int, columns: int, pipeline: int, number: str
) -> int:
    return matrix_engine_cycles(
        m, n, k, rows=rows, columns=columns, pipeline=pipeline, format=number
    )
