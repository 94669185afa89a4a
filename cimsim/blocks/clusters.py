"""RISC-V clusters with their matrix engines."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from cimsim.blocks.power import PowerStates, check_gated
from cimsim.blocks.sourced import MachineBlock, ModelledBlock
from cimsim.values.bounds import (
    Amount,
    Bits,
    Clock_MHz,
    Count,
    CountOrNone,
    Cycles,
    Efficiency,
    Positive,
    Side,
    Slowdown,
    SomeCycles,
)


class MatrixEngine(MachineBlock):
    """A systolic array of L rows by H columns of FMAs with P pipeline registers (RedMulE)."""

    rows: Side = Field(description="rows of multiply-adders (L)")
    columns: Side = Field(description="multiply-adders a row (H)")
    pipeline: CountOrNone = Field(description="registers in a multiply-adder (P)")
    format: Literal["fp16", "fp8"] = Field(description="numbers that it multiplies")
    job_cycles: CountOrNone = Field(description="register writes and wake-up of one job")

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        if self.rows > self.columns * (self.pipeline + 1):
            raise ValueError(
                f"rows {self.rows} exceed columns * (pipeline + 1) = "
                f"{self.columns * (self.pipeline + 1)}, what the array can be fed"
            )
        return self


class PmcaCore(MachineBlock):
    """Cycles of one core of a cluster, and of kernels on its cores; see `cimsim.costs.cluster`.

    A word is `simd_width` values: what one instruction of the FPU takes.
    """

    stream_cycles_per_word: Cycles = Field(
        description="one streamed instruction: add, multiply, compare, move"
    )
    convert_cycles_per_word: Cycles = Field(description="another number format")
    select_cycles_per_word: Cycles = Field(description="one of two values by a mask")
    divide_cycles_per_element: Cycles = Field(description="one value at a time, as the next three")
    root_cycles_per_element: Cycles = Field(description="square root")
    power_cycles_per_element: Cycles = Field(description="power")
    sine_cycles_per_element: Cycles = Field(description="sine or cosine")
    sigmoid_cycles_per_word: Cycles = Field(description="beside `exp_cycles`, as the next four")
    silu_cycles_per_word: Cycles = Field(description="SiLU, as `sigmoid_cycles_per_word`")
    tanh_cycles_per_word: Cycles = Field(description="tanh, likewise")
    erf_cycles_per_word: Cycles = Field(description="error function, likewise")
    gelu_cycles_per_word: Cycles = Field(description="GELU, likewise")
    layer_norm_cycles_per_word: Cycles = Field(description="layer norm of a word")
    rms_norm_cycles_per_word: Cycles = Field(description="RMS norm of a word")
    norm_row_cycles: Cycles = Field(description="one row of either norm, beside its elements")
    reduce_cycles_per_word: Cycles = Field(description="sum, mean or maximum of a row")
    reduce_cycles_per_level: Cycles = Field(
        description="folding pairs of partial results of a row, once a level of their tree"
    )
    reduce_store_cycles: Cycles = Field(description="storing the value of a row")
    softmax_row_cycles: Cycles = Field(description="one row of a softmax, beside its elements")
    stream_setup_cycles: CountOrNone = Field(description="start of one kernel on all cores")
    tcdm_contention_ratio: Slowdown = Field(description="slow-down of streams by bank conflicts")
    product_utilisation_ratio: Efficiency = Field(
        description="multiply-adds of a product on the cores, of the most that their lanes can do"
    )
    least_part_elements: Count = Field(
        description="work of one token is cut into parts of at least as many, one a cluster"
    )


class ClusterSupply(MachineBlock):
    """Supply voltage of a cluster by its clock; see `cimsim.costs.cluster_energy`."""

    energy_voltage_V: Positive = Field(
        description="voltage at which energies a cycle and a byte hold"
    )
    reference_clock_MHz: Clock_MHz = Field(description="a clock whose voltage is known")
    reference_voltage_V: Positive = Field(description="the voltage of `reference_clock_MHz`")
    threshold_voltage_V: Amount = Field(description="of the transistors: no clock at or below it")
    lowest_voltage_V: Positive = Field(description="what memories need however slow the clock")
    highest_voltage_V: Positive = Field(description="what transistors bear; more is noted")

    @model_validator(mode="after")
    def _voltages_rise(self) -> Self:
        if self.threshold_voltage_V >= min(self.reference_voltage_V, self.lowest_voltage_V):
            raise ValueError(
                f"threshold_voltage_V {self.threshold_voltage_V:g} is not below "
                f"reference_voltage_V {self.reference_voltage_V:g} and lowest_voltage_V "
                f"{self.lowest_voltage_V:g}: nothing switches there"
            )
        if self.lowest_voltage_V > self.highest_voltage_V:
            raise ValueError(
                f"lowest_voltage_V {self.lowest_voltage_V:g} is above highest_voltage_V "
                f"{self.highest_voltage_V:g}"
            )
        return self


class PmcaClusters(ModelledBlock):
    """RISC-V clusters: cores with SIMD units, TCDM, a DMA engine and perhaps a matrix engine."""

    cluster_count: Count = Field(description="clusters that are built")
    weights_per_cluster: Count = Field(
        description="weights whose tiles one cluster serves: of several small tiles, or a share "
        "of a large one"
    )
    pool_clusters: Count = Field(
        description="neighbouring clusters that share attention and vector work"
    )
    cores: Count = Field(description="cores of one cluster")
    simd_width: Count = Field(description="values of value_bits one core handles a cycle")
    value_bits: Bits = Field(description="bits of one value of vector work")
    clock_MHz: Clock_MHz = Field(description="clock of the clusters")
    tcdm_KiB: Positive = Field(description="tightly coupled memory of one cluster")
    dma_bytes_per_cycle: Count = Field(description="bytes that the DMA of a cluster moves a cycle")
    dma_setup_cycles: CountOrNone = Field(description="start of one DMA transfer")
    barrier_cycles: CountOrNone = Field(description="meeting of the cores of a cluster")
    exp_cycles: SomeCycles = Field(description="one exponential on one core")
    softmax_other_cycles_per_word: Cycles = Field(
        description="maximum, difference, sum and scaling of a word of softmax values on one core"
    )
    merge_cycles_per_element: Cycles = Field(
        description="adding LoRA to one X.W element, whole cluster, arrival included"
    )
    core_energy_pJ_per_cycle: Amount = Field(
        description="one core at work, without the TCDM; energies are at `energy_voltage_V`"
    )
    engine_energy_pJ_per_cycle: Amount = Field(
        description="the matrix engine while it multiplies, without the TCDM"
    )
    shared_energy_pJ_per_cycle: Amount = Field(
        description="clocks, instruction cache and interconnect while the cluster works or waits"
    )
    tcdm_energy_pJ_per_byte: Amount = Field(description="read or written by anyone")
    dma_energy_pJ_per_byte: Amount = Field(description="moved in or out, without the TCDM")
    voltage_V: Positive | None = Field(
        None, description="supply of the clusters; left out, what the clock needs by `supply`"
    )
    supply: ClusterSupply = Field(description="voltage by clock")
    cluster_area_mm2: Amount = Field(description="one cluster")
    leakage_mW: Amount = Field(
        description="one cluster that is on, at `energy_voltage_V`; more at a higher supply"
    )
    power_states: PowerStates | None = Field(
        default=None,
        description="of one cluster, its cores and engine; TCDM and DMA stay on; always on where "
        "left out",
    )
    core: PmcaCore = Field(description="cycles of the cores")
    matrix_engine: MatrixEngine | None = Field(
        default=None, description="matrix engine of each cluster; none where left out"
    )
    products_on: Literal["faster", "engine", "cores"] = Field(
        "faster", description="what multiplies matrices, where there is an engine beside the cores"
    )

    @property
    def tcdm_bytes(self) -> int:
        """Whole bytes of the TCDM of one cluster."""
        return math.floor(self.tcdm_KiB * 1024.0)

    @model_validator(mode="after")
    def _gated_leaks_less(self) -> Self:
        check_gated(self.power_states, 1e3 * self.leakage_mW)
        return self

    @model_validator(mode="after")
    def _engine_is_there(self) -> Self:
        if self.products_on == "engine" and self.matrix_engine is None:
            raise ValueError("products_on is engine, but there is no matrix_engine")
        return self
