"""The matrix engine's cycles against its RTL."""

from __future__ import annotations

from cimsim.costs import matrix_engine_cycles
from cimsim.validation.judged import Judged

RTL = "RedMulE RTL 51cd064 in Verilator"

ENGINE_JOBS = (
    (8, 128, 16, 605), (1, 2048, 8, 8271), (128, 512, 8, 32853), (128, 8, 128, 4315),
    (1, 8, 2048, 4268), (64, 8, 384, 6427), (32, 16, 512, 8285),
)  # fmt: skip
"""m, n, k and measured cycles of Z[m,k] += X[m,n].W[n,k] on 8 x 4 units with 3 registers."""


def rows() -> list[Judged]:
    """Jobs of both LoRA stages."""
    return [
        Judged(
            "matrix-engine", f"matrix engine, {m}x{n}x{k}", "cycles", cycles,
            matrix_engine_cycles(m, n, k), 0.005, True, RTL,
        )
        for m, n, k, cycles in ENGINE_JOBS
    ]  # fmt: skip
