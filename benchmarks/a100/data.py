"""Reading the measured tables (CSV files that are not part of the repository)."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

VARIABLE = "CIMSIM_A100_DATA"
_NEIGHBOUR = Path(__file__).resolve().parents[2] / ".." / "shared" / "reference" / "a100"
BANDS = ((1, 8), (9, 64), (65, 128), (129, 256), (257, 512), (513, 1024), (1025, 10**9))


def find_data(argument: str | None = None) -> Path | None:
    """Folder with gemm_latency.csv: the argument, the environment variable, or a neighbour."""
    for candidate in (argument, os.environ.get(VARIABLE), _NEIGHBOUR):
        if candidate and (Path(candidate) / "gemm_latency.csv").is_file():
            return Path(candidate).resolve()
    return None


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@dataclass(frozen=True)
class GemmRows:
    """Measured products m x k x n with their kernel times."""

    m: Array
    k: Array
    n: Array
    seconds: Array

    def take(self, index: NDArray[np.bool_] | slice) -> GemmRows:
        """The rows that `index` picks."""
        return GemmRows(self.m[index], self.k[index], self.n[index], self.seconds[index])

    def shapes(self) -> list[tuple[float, float]]:
        """All different (k, n)."""
        return sorted(set(zip(self.k.tolist(), self.n.tolist(), strict=True)))

    def fold(self, folds: int, seed: int) -> NDArray[np.int64]:
        """A number below `folds` for every row, the same for all rows of one (k, n)."""
        shapes = self.shapes()
        order = np.random.default_rng(seed).permutation(len(shapes))
        of_shape = {shapes[j]: i % folds for i, j in enumerate(order)}
        pairs = zip(self.k.tolist(), self.n.tolist(), strict=True)
        return np.array([of_shape[pair] for pair in pairs])


def read_gemm(folder: Path) -> GemmRows:
    rows = read_rows(folder / "gemm_latency.csv")
    columns = [np.array([float(r[c]) for r in rows]) for c in ("m", "k", "n", "latency_us")]
    return GemmRows(*columns[:3], 1e-6 * columns[3])


@dataclass(frozen=True)
class Score:
    """Relative errors in per cent; `bands` are (mean absolute, mean) for each of BANDS."""

    mape: float
    p90: float
    bias: float
    bands: tuple[tuple[float, float], ...]

    def text(self) -> str:
        """One line."""
        bands = "  ".join(f"{a:.1f} ({b:+.1f})" for a, b in self.bands)
        return (
            f"MAPE {self.mape:.2f} %  p90 {self.p90:.1f} %  bias {self.bias:+.2f} %  bands {bands}"
        )


def score(rows: GemmRows, seconds: Array) -> Score:
    error = 100 * (seconds / rows.seconds - 1)
    bands = []
    for low, high in BANDS:
        inside = error[(rows.m >= low) & (rows.m <= high)]
        bands.append((float(np.abs(inside).mean()), float(inside.mean())))
    size = np.abs(error)
    return Score(
        float(size.mean()), float(np.quantile(size, 0.9)), float(error.mean()), tuple(bands)
    )
