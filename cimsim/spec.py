"""Architecture: what a machine is made of, read from JSON; every number has a unit and a source.

Blocks: `rram` (analog crossbar tiles of RRAM or PCM cells), `sram` (digital compute-in-memory
units), `pmca` (RISC-V clusters), two links, the global buffer and DRAM. A block that a machine
lacks is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator

from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json
from cimsim.values.arguments import checked, plain
from cimsim.values.bounds import (
    Amount,
    Bits,
    Clock_MHz,
    ConverterBits,
    Count,
    CountOrNone,
    Cycles,
    Endurance,
    Name,
    Positive,
    Pulse_ns,
    Rate,
    Side,
    SomeCycles,
    Text,
    Time_ns,
)
from cimsim.values.field_paths import Value, put_value
from cimsim.values.frozen import Frozen
from cimsim.values.history import Change, Changeable, value_at

Arbitration = Literal["fifo", "round_robin"]
AdaptationName = Literal["none", "lora-sram", "lora-pmca", "lora-rram", "merged"]

ASSUMED = "assumed:"


class _Sourced(Frozen):
    """A group of numbers with the origin of each."""

    model_config = ConfigDict(strict=True)

    sources: dict[Name, Text] = Field(
        description="field -> citation, or `assumed: why` for a number nobody published"
    )

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> Self:
        numbers = {
            name
            for name in type(self).model_fields
            if isinstance(getattr(self, name), int | float) and name != "format"
        }
        if missing := sorted(numbers - self.sources.keys()):
            raise ValueError(
                f"no source for {', '.join(missing)}: add each to `sources` with a citation, "
                "or `assumed: why`"
            )
        if unknown := sorted(self.sources.keys() - numbers):
            raise ValueError(f"sources names {', '.join(unknown)}, which is no number given here")
        given = {key: text.removeprefix(ASSUMED) for key, text in self.sources.items()}
        if empty := sorted(key for key, text in given.items() if not text.strip()):
            raise ValueError(f"the source of {', '.join(empty)} is empty")
        return self


class _Block(_Sourced):
    """A part of a machine."""

    def assumed(self) -> dict[str, str]:
        """Field -> reason of every number that is not published."""
        return {
            key: text.removeprefix(ASSUMED).strip()
            for key, text in self.sources.items()
            if text.startswith(ASSUMED)
        }


class WriteScheme(_Block):
    """Program-and-verify of analog cells: pulses of one size until the cell is in its window."""

    pulses_per_cell: Positive | None = Field(
        default=None, description="mean number of write pulses a cell; or give window_uS"
    )
    window_uS: Positive | None = Field(
        default=None,
        description="a cell is written once within +- this of its target; the write-verify model "
        "turns it into the mean number of pulses and into programming noise",
    )
    pulse_energy_pJ: Amount
    pulse_ns: Pulse_ns
    verify_energy_pJ: Amount = Field(description="one read of one cell")
    verify_ns: Time_ns
    cells_in_parallel: Count = Field(description="cells of one tile written at a time")
    tiles_in_parallel: Count = Field(description="tiles written at a time")
    endurance_cycles: Endurance = Field(description="write pulses that a cell survives")

    @model_validator(mode="after")
    def _one_origin_of_pulses(self) -> Self:
        if (self.pulses_per_cell is None) == (self.window_uS is None):
            raise ValueError(
                "give either pulses_per_cell or window_uS, from which it is computed "
                "(null takes one out)"
            )
        return self


class Numerics(_Block):
    """How exact analog tiles are; read by the accuracy path alone, never by the timing path."""

    device: dict[Name, JsonValue] | None = Field(
        default=None, description="device model {kind, its fields}; `write.window_uS` if left out"
    )
    device_source: Text | None = Field(default=None, description="citation, or `assumed: why`")
    scheme: Literal["differential", "offset", "signed"] | None = Field(
        default=None, description="`signed` where noise is stated on weights; else `coding`"
    )
    scaling: Literal["column", "tile", "tensor"] = "column"
    clip_sigma: Positive | None = Field(
        default=None, description="weights beyond this many standard deviations are clipped"
    )
    dac_range: Literal["token", "fixed", "calibrated"] = "token"
    dac_full_scale: Positive | None = None
    adc_range: Literal["fixed", "calibrated", "worst_case"] = "calibrated"
    adc_full_scale_ratio: Positive | None = Field(
        default=None, description="units of g_max at full input, with adc_range `fixed`"
    )
    adc_noise_ratio: Amount | None = Field(
        default=None, description="noise of every conversion, same units"
    )
    word_ohm: Positive | None = Field(default=None, description="word-line segment")
    bit_ohm: Positive | None = Field(default=None, description="bit-line segment")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.word_ohm is None) != (self.bit_ohm is None):
            raise ValueError("give word_ohm and bit_ohm together, or neither")
        if (self.device is None) != (not (self.device_source or "").strip()):
            raise ValueError("a device model needs a device_source: a citation, or `assumed: why`")
        if self.device is not None:
            _check_device(self.device)
        return self


def _check_device(device: Mapping[str, Any]) -> None:
    # here, because most machines name none and noise is loaded on demand
    from cimsim.noise.catalog import device_from_json

    try:
        device_from_json(device)
    except SpecError as error:
        raise ValueError(str(error)) from None


class CrossbarTiles(_Block):
    """Analog tiles: a crossbar with its DACs, ADCs, shift-and-add, digital scaling and buffers.

    A column is a pair of bit lines where `coding` is differential. A weight takes
    `cells_per_weight` neighbouring columns (bit slices), so that a tile holds
    `columns // cells_per_weight` weights a row.
    """

    device: Literal["rram", "pcm"]
    rows: Side
    columns: Side
    tile_count: Count
    weight_bits: Bits
    cells_per_weight: Count
    bits_per_cell: Bits
    coding: Literal["differential", "offset"]
    g_min_uS: Amount
    g_max_uS: Positive
    input_bits: Bits
    input_pulses: Count = Field(description="read pulses an MVM takes; 1 is pulse width")
    dac_bits: ConverterBits = Field(description="input bits that one pulse carries")
    integration_ns: Pulse_ns = Field(description="one pulse")
    adc_bits: ConverterBits
    adc_time_ns: Time_ns = Field(description="one conversion; 0 if within integration")
    columns_per_adc: Count = Field(description="columns that share one ADC")
    output_bits: Bits = Field(description="one result word as sent")
    load_ns: Time_ns = Field(description="input registers to word lines")
    shift_add_ns: Time_ns
    affine_ns: Time_ns = Field(description="digital scaling of one output")
    affine_lanes: Count = Field(description="outputs scaled at a time")
    accumulate_ns: Time_ns = Field(description="one level of the partial-sum adder tree")
    dac_energy_pJ: Amount = Field(description="one row, one pulse")
    cell_read_energy_fJ: Amount = Field(description="one cell, one pulse")
    adc_energy_pJ: Amount = Field(description="one conversion")
    shift_add_energy_pJ: Amount = Field(description="one conversion")
    affine_energy_pJ: Amount = Field(description="one output")
    accumulate_energy_pJ: Amount = Field(description="one addition of partial sums")
    buffer_energy_pJ_per_byte: Amount = Field(description="tile registers, each access")
    cell_area_um2: Amount
    dac_area_um2: Amount = Field(description="one row")
    adc_area_um2: Amount = Field(description="one ADC")
    digital_area_um2: Amount = Field(
        description="shift-and-add, scaling, registers and control of one tile"
    )
    leakage_uW: Amount = Field(description="one tile")
    write: WriteScheme
    accuracy: Numerics | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.g_max_uS <= self.g_min_uS:
            raise ValueError(f"g_max_uS {self.g_max_uS} must exceed g_min_uS {self.g_min_uS}")
        if self.columns_per_adc > self.columns:
            raise ValueError(
                f"columns_per_adc {self.columns_per_adc} exceeds columns {self.columns}: one ADC "
                "serves at most all columns of its tile; lower columns_per_adc"
            )
        if self.columns < self.cells_per_weight:
            raise ValueError(
                f"a weight of {self.cells_per_weight} cells does not fit {self.columns} columns"
            )
        sign = self.coding == "differential"
        held = self.cells_per_weight * self.bits_per_cell + sign
        if held < self.weight_bits:
            raise ValueError(
                f"{self.cells_per_weight} cells of {self.bits_per_cell} bits hold {held} bits, "
                f"weight_bits is {self.weight_bits}: raise cells_per_weight or bits_per_cell"
            )
        if self.input_pulses * self.dac_bits < self.input_bits:
            raise ValueError(
                f"{self.input_pulses} pulses of {self.dac_bits} bits carry fewer than "
                f"input_bits {self.input_bits}: raise input_pulses or dac_bits"
            )
        return self

    @property
    def weight_columns(self) -> int:
        """Weights that one row of a tile holds."""
        return self.columns // self.cells_per_weight

    @property
    def devices_per_weight(self) -> int:
        """Physical memory devices that store one weight."""
        return self.cells_per_weight * (2 if self.coding == "differential" else 1)

    @property
    def adc_count(self) -> int:
        """ADCs of one tile."""
        return -(-self.columns // self.columns_per_adc)

    @property
    def tile_area_um2(self) -> float:
        """Area of one tile (um2): cells, DACs, ADCs and its digital part."""
        return (
            self.rows * self.columns * self.cell_area_um2
            + self.rows * self.dac_area_um2
            + self.adc_count * self.adc_area_um2
            + self.digital_area_um2
        )


class SramUnits(_Block):
    """Digital compute-in-memory units: exact, rewritable, inputs bit-serial."""

    rows: Side
    columns: Side = Field(description="weights of weight_bits a row")
    unit_count: Count
    weight_bits: Bits
    input_bits: Bits
    bits_per_cycle: Count = Field(description="input bits applied each cycle")
    pipeline_cycles: CountOrNone = Field(description="adder tree and accumulator, per MVM")
    output_bits: Bits
    clock_MHz: Clock_MHz
    mac_energy_fJ: Amount = Field(description="one weight_bits x input_bits MAC")
    write_energy_fJ_per_bit: Amount
    write_bits_per_cycle: Count = Field(description="write port of one unit")
    unit_area_um2: Amount
    leakage_uW: Amount = Field(description="one unit")

    @property
    def capacity_bits(self) -> int:
        """Bits that all units store."""
        return self.rows * self.columns * self.weight_bits * self.unit_count


class MatrixEngine(_Block):
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


class PmcaClusters(_Block):
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


class Link(_Block):
    """A port onto the on-chip network."""

    bandwidth_GBps: Rate
    hop_ns: Time_ns
    hops: Count = Field(description="hops of a typical transfer")
    energy_pJ_per_bit: Amount = Field(description="whole transfer, all hops")
    arbitration: Arbitration
    port_area_um2: Amount
    leakage_uW: Amount = Field(description="one port")


class Buffer(_Block):
    """The global activation buffer: banks that serve one transfer each."""

    capacity_KiB: Positive
    banks: Count
    bandwidth_GBps: Rate = Field(description="one bank")
    access_ns: Time_ns
    energy_pJ_per_bit: Amount
    area_mm2: Amount
    leakage_mW: Amount = Field(description="all banks")
    arbitration: Arbitration


class Dram(_Block):
    """External memory; holds the embedding tables."""

    capacity_GiB: Positive
    channels: Count
    bandwidth_GBps: Rate = Field(description="one channel")
    access_ns: Time_ns
    energy_pJ_per_bit: Amount
    background_mW: Amount = Field(description="all channels, standby and refresh")
    arbitration: Arbitration


class PaperAccounting(_Block):
    """Energies that a paper's own table counts with, for workloads of accounting `paper` only.

    What the other blocks do not hold: products of weights take their energy from `rram` or `sram`.
    """

    attention_mac_energy_fJ: Amount = Field(
        description="one multiply-accumulate of Q.K^T or P.V, writes of K and V included"
    )
    softmax_energy_pJ: Amount = Field(description="one value of a softmax")


class Architecture(_Sourced, Changeable):
    """A machine. `weights_on` holds the pretrained matrices, `attention_on` its products."""

    blocks: ClassVar[tuple[str, ...]] = (
        "rram", "sram", "pmca", "tile_link", "cluster_link", "buffer", "dram", "paper_accounting",
    )  # fmt: skip

    format: Literal[1] = 1
    name: Name
    description: Text
    technology_nm: Positive
    weights_on: Literal["rram", "sram"]
    attention_on: Literal["sram", "pmca"]
    adaptation: AdaptationName = Field(description="where LoRA runs unless the user says otherwise")
    activation_bits: Bits = Field(description="activations in the global buffer")
    rram: CrossbarTiles | None = None
    sram: SramUnits | None = None
    pmca: PmcaClusters
    tile_link: Link
    cluster_link: Link
    buffer: Buffer
    dram: Dram
    paper_accounting: PaperAccounting | None = None

    @model_validator(mode="after")
    def _blocks_present(self) -> Self:
        for field in ("weights_on", "attention_on"):
            unit = getattr(self, field)
            if getattr(self, unit) is None:
                raise ValueError(f"{field} is {unit!r}, but the machine has no `{unit}` block")
        where = self.adaptation.removeprefix("lora-")
        if where in ("rram", "sram") and getattr(self, where) is None:
            raise ValueError(
                f"adaptation is {self.adaptation!r}, but the machine has no `{where}` block"
            )
        return self

    def _facts(self) -> dict[str, object]:
        present = [name for name in self.blocks if getattr(self, name) is not None]
        return {
            "name": self.name,
            "technology_nm": self.technology_nm,
            "weights_on": self.weights_on,
            "attention_on": self.attention_on,
            "adaptation": self.adaptation,
            "tiles": 0 if self.rram is None else self.rram.tile_count,
            "sram_units": 0 if self.sram is None else self.sram.unit_count,
            "clusters": self.pmca.cluster_count,
            "blocks": ", ".join(present),
        }

    def assumed(self) -> dict[str, str]:
        """Field path -> reason of every number of the machine that is not published."""
        found: dict[str, str] = {}
        pending: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in self.blocks]
        while pending:
            path, block = pending.pop(0)
            if isinstance(block, _Block):
                found |= {f"{path}.{key}": why for key, why in block.assumed().items()}
                pending += [
                    (f"{path}.{key}", getattr(block, key)) for key in type(block).model_fields
                ]
        for key, text in self.sources.items():
            if text.startswith(ASSUMED):
                found[key] = text.removeprefix(ASSUMED).strip()
        return found

    @checked(SpecError)
    def with_values(
        self, values: Mapping[str, Value], why: str = "set by the user"
    ) -> Architecture:
        """The machine with other values at field paths such as `rram.integration_ns`, checked.

        A changed number counts as assumed, with `why`; None takes an optional one out. Another
        `kind` of device model starts with that model's defaults. `changes` remembers what the
        values were. Raises SpecError for an unknown path, with the names near it, and for a value
        that is not valid.
        """
        before = self.model_dump(mode="json", exclude_none=True)
        data = copy.deepcopy(before)
        for path, value in plain(values).items():
            try:
                put_value(type(self), data, path, value, f"{ASSUMED} {why}")
            except SpecError as error:
                raise SpecError(f"{self.name}: {error}") from None
        try:
            made = Architecture.model_validate(data)
        except ValidationError as error:
            raise SpecError(describe_validation(self.name, error)) from None
        after = made.model_dump(mode="json", exclude_none=True)
        return made.remembering(
            self,
            [
                Change(
                    of="architecture",
                    field=path,
                    old=value_at(before, path),
                    new=value_at(after, path),
                    why=why,
                )
                for path in values
            ],
        )


@checked(SpecError)
def load_architecture(path: str | Path) -> Architecture:
    """Read an architecture file; raises SpecError naming the file and the field."""
    data = load_json(path, SpecError, "architecture")
    try:
        return Architecture.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error)) from None
