"""What an estimate of a GPU says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cimsim.baseline.merging import Lora
from cimsim.baseline.modes import Dtype, Mode
from cimsim.values.display import brief


@dataclass(frozen=True)
class ClassCost:
    """Time and energy of one class of kernels over a whole run."""

    latency_s: float
    energy_J: float
    kernel_count: int


@dataclass(frozen=True)
class PhaseEstimate:
    """One phase over all its steps; `tokens` counts all sequences."""

    latency_s: float
    energy_J: float
    tokens: int
    tokens_per_s: float
    steps: int
    kernel_count: int


@brief
@dataclass(frozen=True)
class GpuEstimate:
    """Latency and energy of a workload on `tensor_parallel` cards, `batch` sequences at a time.

    `energy_J` and `mean_power_W` are of all cards. A band is (low, high) around the value;
    `cimsim.baseline.bands` says what is in it.
    `lora` in `breakdown` are the products A and B alone. Merging saves more: the addition of every
    branch, and the fusions that it breaks (a GELU back in its product); the estimate with
    `lora="merged"` says how much.
    """

    gpu: str
    workload: str
    mode: Mode
    dtype: Dtype
    lora: Lora
    batch: int
    tensor_parallel: int
    host_s_per_step: float
    stack: str | None
    latency_s: float
    energy_J: float
    mean_power_W: float
    latency_band_s: tuple[float, float]
    energy_band_J: tuple[float, float]
    phases: dict[str, PhaseEstimate]
    breakdown: dict[str, ClassCost]
    weight_bytes: int
    kv_cache_bytes: int
    precision: str
    software: str

    def to_dict(self) -> dict[str, Any]:
        """The estimate as values that JSON can hold."""
        data = asdict(self)
        for key in ("latency_band_s", "energy_band_J"):
            data[key] = list(data[key])
        return data
