"""The GPU as read from a JSON file: the data sheet, the fitted blocks, and what to ask it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, ValidationError

from cimsim.baseline import gemm
from cimsim.baseline.estimate import estimate
from cimsim.baseline.fits import (
    AttentionFit,
    Block,
    CardLink,
    GemmFit,
    LoraFit,
    PowerFit,
    ServingStack,
    StreamFit,
)
from cimsim.baseline.gemm import Array
from cimsim.baseline.modes import ELEMENT_BYTES, Dtype, Mode, check_dtype, check_mode, check_pair
from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json
from cimsim.values.arguments import checked
from cimsim.values.bounds import Amount, Count, Efficiency, Name, Positive, Rate
from cimsim.values.display import shown

if TYPE_CHECKING:
    from cimsim.baseline.result import GpuEstimate
    from cimsim.ir import Workload


class Gpu(Block):
    """One GPU; `gemm_s` and `estimate` give times and energies, `sources` says where from."""

    name: Name
    peak_TFLOPS: dict[Dtype, Rate] = Field(description="dense tensor-core rate")
    hbm_bandwidth_GBps: Rate
    memory_GiB: Positive
    memory_usable_share: Efficiency = Field(
        description="of the memory that weights and KV cache may take; the rest is activations"
    )
    sm_count: Count
    launch_gap_us: Amount = Field(description="between kernels of a CUDA graph")
    int8_energy_TOPS_per_W: Positive = Field(description="of mode peak-int8 only")
    compute_band_low: Efficiency = Field(description="low end of a compute-bound time")
    gemm: GemmFit
    attention: AttentionFit
    stream: StreamFit
    power: PowerFit
    link: CardLink
    lora: LoraFit
    stacks: dict[Name, ServingStack] = Field(description="by the name that is asked for")

    def peak_flop_per_s(self, dtype: Dtype) -> float:
        """Peak rate of `dtype`; raises SpecError if the file gives none."""
        try:
            return self.peak_TFLOPS[dtype] * 1e12
        except KeyError:
            raise SpecError(
                f"{self.name}: no peak rate for {dtype}. The file gives "
                f"{', '.join(sorted(self.peak_TFLOPS))}. Add peak_TFLOPS.{dtype} or choose one."
            ) from None

    @property
    def hbm_byte_per_s(self) -> float:
        """Peak HBM bandwidth."""
        return self.hbm_bandwidth_GBps * 1e9

    def host_band_s(
        self, cards: int, host_s_per_step: float = 0.0, stack: str | None = None
    ) -> tuple[float, float]:
        """Low and high end of the host time (s) of a step on `cards` cards.

        Raises SpecError for a stack that the file has not, and where both are given.
        """
        if stack is None:
            return host_s_per_step, host_s_per_step
        if stack not in self.stacks:
            raise SpecError(
                f"{self.name}: no stack {shown(stack)}. The file has "
                f"{', '.join(self.stacks) or 'none'}: choose one, or add it to stacks."
            )
        if host_s_per_step > 0.0:
            raise SpecError(
                f"{self.name}: stack {stack!r} has a host time of its own: leave host_s_per_step "
                "at 0, or the stack out."
            )
        return self.stacks[stack].host_s(cards)

    def gemm_s(
        self, m: int, k: int, n: int, dtype: str = "fp16", mode: str = "calibrated"
    ) -> float:
        """Seconds of the kernel of an m x k x n product (m is the number of tokens).

        Modes: see `cimsim.baseline.modes`. Launch gaps are not included. Raises SpecError for
        sizes below one and for an unknown mode or dtype.
        """
        if min(m, k, n) < 1:
            raise SpecError(f"{self.name}: a product of {m} x {k} x {n}: sizes must be positive.")
        checked = check_pair(check_mode(mode), check_dtype(dtype))
        return float(self.gemm_times_s([m], [k], [n], [1], checked[1], checked[0])[0])

    def gemm_times_s(
        self,
        m: list[int],
        k: list[int],
        n: list[int],
        batch: list[int],
        dtype: Dtype,
        mode: Mode,
    ) -> Array:
        """Seconds of several kernels at once, each `batch` products of m x k x n."""
        found = gemm.candidates(m, k, n, batch, self.sm_count)
        if mode == "peak-int8":
            return found.flop_R / self.peak_flop_per_s("int8")
        peak, size = self.peak_flop_per_s(dtype), ELEMENT_BYTES[dtype]
        if mode == "roofline":
            floor: Array = np.maximum(
                found.flop_R / peak, size * found.elements_R / self.hbm_byte_per_s
            )
            return floor
        return gemm.kernel_s(
            found,
            self.gemm,
            peak_flop_per_s=peak,
            hbm_byte_per_s=self.hbm_byte_per_s,
            element_bytes=size,
            sm_count=self.sm_count,
        )

    def estimate(
        self,
        workload: Workload,
        mode: str = "calibrated",
        batch: int = 1,
        tensor_parallel: int = 1,
        host_s_per_step: float = 0.0,
        dtype: str = "fp16",
        lora: str = "unmerged",
        stack: str | None = None,
    ) -> GpuEstimate:
        """Latency and energy of `workload` run once for `batch` sequences at a time.

        `host_s_per_step` (s) is added to every step; `stack`, one of the file's `stacks`, gives it
        instead, as a band whose middle counts. `lora` is `unmerged`, the products A and B beside
        the weights, or `merged`, the adapter added to the weights: what a GPU with one adapter
        runs. Raises SpecError for an unknown mode, dtype, lora or stack and for two host times,
        CapacityError where weights and KV cache do not fit the memory of `tensor_parallel` cards,
        and MappingError for a branch that cannot be merged.
        """
        return estimate(
            self,
            workload,
            mode=mode,
            batch=batch,
            tensor_parallel=tensor_parallel,
            host_s_per_step=host_s_per_step,
            dtype=dtype,
            lora=lora,
            stack=stack,
        )


@checked(SpecError)
def load_gpu(path: str | Path) -> Gpu:
    """Read a GPU file; raises SpecError naming the file and the field."""
    data = load_json(path, SpecError, "GPU")
    try:
        return Gpu.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error, Gpu)) from None
