"""The GPU baseline: what a measured card needs for the same workload."""

from cimsim.baseline.published import ValidationRow, validate
from cimsim.baseline.result import ClassCost, GpuEstimate, PhaseEstimate
from cimsim.baseline.spec import Gpu, load_gpu

__all__ = [
    "ClassCost",
    "Gpu",
    "GpuEstimate",
    "PhaseEstimate",
    "ValidationRow",
    "load_gpu",
    "validate",
]


def __dir__() -> list[str]:
    return sorted(__all__)
