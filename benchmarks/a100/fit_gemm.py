"""Fit of the product kernels: bounded least squares on relative errors, several starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from data import Array, GemmRows
from scipy.optimize import least_squares

from cimsim.baseline import gemm
from cimsim.baseline.fits import GemmFit

SM_COUNT = 108
"""Of the A100 that was measured (NVIDIA A100 Tensor Core GPU Architecture, 2020)."""

PEAK_FLOP_PER_S = 312e12
HBM_BYTE_PER_S = 2039e9
SOFT = 0.05

# name, start, low, high: the bounds are what is physically possible or sensible
PARAMETERS = (
    ("e32768", 0.85, 0.3, 1.0),
    ("e16384", 0.85, 0.3, 1.0),
    ("e8192", 0.80, 0.3, 1.0),
    ("e4096", 0.65, 0.2, 1.0),
    ("e2048", 0.50, 0.2, 1.0),
    ("prologue_elements", 150.0, 0.0, 600.0),
    ("lone", 0.9, 0.4, 1.0),
    ("hbm_efficiency", 0.8, 0.5, 1.0),
    ("l2_bandwidth_GBps", 4700.0, 2000.0, 7200.0),
    ("fixed_us", 3.5, 1.0, 6.0),
    ("split_us", 3.0, 0.0, 6.0),
    ("throttle_GFLOP", 60.0, 5.0, 2000.0),
    ("throttle_depth", 0.2, 0.0, 0.5),
)
_LOW = np.array([p[2] for p in PARAMETERS])
_HIGH = np.array([p[3] for p in PARAMETERS])
_START = (np.array([p[1] for p in PARAMETERS]) - _LOW) / (_HIGH - _LOW)


def as_fields(vector: Array) -> dict[str, Any]:
    """Fields of GemmFit from numbers between 0 and 1."""
    values = (_LOW + vector * (_HIGH - _LOW)).tolist()
    fields = {p[0]: v for p, v in zip(PARAMETERS[5:], values[5:], strict=True)}
    return {"tile_efficiency": tuple(values[:5]), **fields}


def predict(found: gemm.Candidates, fields: dict[str, Any]) -> Array:
    return gemm.kernel_s(
        found,
        GemmFit.model_construct(**fields),
        peak_flop_per_s=PEAK_FLOP_PER_S,
        hbm_byte_per_s=HBM_BYTE_PER_S,
        element_bytes=2,
        sm_count=SM_COUNT,
    )


def fit_gemm(
    rows: GemmRows, *, starts: int = 3, evaluations: int = 30, stride: int = 4, seed: int = 0
) -> tuple[dict[str, Any], float]:
    """Fields of GemmFit and the cost a row; every `stride`-th row is used."""
    used = rows.take(slice(None, None, stride))
    found = gemm.candidates(used.m, used.k, used.n, 1, SM_COUNT)
    measured = np.log(used.seconds)
    random = np.random.default_rng(seed)
    best: tuple[float, Array] | None = None
    for start in range(starts):
        shift = random.normal(0, 0.15, len(_START)) if start else 0.0
        result = least_squares(
            lambda x: np.log(predict(found, as_fields(x))) - measured,
            np.clip(_START + shift, 0.02, 0.98),
            bounds=(0.0, 1.0),
            loss="soft_l1",
            f_scale=SOFT,
            diff_step=3e-3,
            max_nfev=evaluations,
        )
        if best is None or result.cost < best[0]:
            best = (float(result.cost), result.x)
    assert best is not None
    return as_fields(best[1]), best[0] / len(measured)


def cross_validate(rows: GemmRows, folds: int, seed: int, **options: int) -> Array:
    """Seconds of every row from a fit that has not seen its (k, n)."""
    fold = rows.fold(folds, seed)
    seconds = np.zeros_like(rows.seconds)
    for index in range(folds):
        fields, _ = fit_gemm(rows.take(fold != index), **options)
        held = rows.take(fold == index)
        found = gemm.candidates(held.m, held.k, held.n, 1, SM_COUNT)
        seconds[fold == index] = predict(found, fields)
    return seconds
