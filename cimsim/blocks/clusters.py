"""RISC-V clusters with their matrix engines."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import (
    Amount,
    Bits,
    Clock_MHz,
    Count,
    CountOrNone,
    Cycles,
    Positive,
    Side,
    SomeCycles,
)


class MatrixEngine(MachineBlock):
    """A systolic array of L rows by H columns of FMAs with P pipeline registers (RedMulE)."""

    rows: Side
    columns: Side
    pipeline: CountOrNone
    format: Literal["fp16", "fp8"]
    job_cycles: CountOrNone = Field(description="register writes and wake-up of one job")

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        if self.rows > self.columns * (self.pipeline + 1):
            raise ValueError(
                f"rows {self.rows} exceed columns * (pipeline + 1) = "
                f"{self.columns * (self.pipeline + 1)}, what the array can be fed"
            )
        return self


class PmcaClusters(MachineBlock):
    """RISC-V clusters: cores with SIMD units, TCDM, a DMA engine and perhaps a matrix engine."""

    cluster_count: Count
    tiles_per_cluster: Count
    pool_clusters: Count = Field(
        description="neighbouring clusters that share attention and vector work"
    )
    cores: Count
    simd_width: Count = Field(description="values of value_bits one core handles a cycle")
    value_bits: Bits
    clock_MHz: Clock_MHz
    tcdm_KiB: Positive
    dma_bytes_per_cycle: Count
    dma_setup_cycles: CountOrNone
    barrier_cycles: CountOrNone
    exp_cycles: SomeCycles = Field(description="one exponential on one core")
    softmax_other_cycles: Cycles = Field(
        description="maximum, difference, sum and scaling of one softmax value on one core"
    )
    merge_cycles_per_element: Cycles = Field(
        description="adding LoRA to one X.W element, whole cluster, arrival included"
    )
    active_power_mW: Amount = Field(description="one cluster while it computes")
    cluster_area_mm2: Amount
    leakage_mW: Amount = Field(description="one cluster")
    matrix_engine: MatrixEngine | None = None
