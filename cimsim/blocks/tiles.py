"""Analog crossbar tiles: geometry, converters, writing, and how exact they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from cimsim.blocks.integrator import PULSES_LIMIT, Integrator
from cimsim.blocks.power import PowerStates, check_gated
from cimsim.blocks.sourced import MachineBlock, ModelledBlock
from cimsim.errors import SpecError
from cimsim.values.bounds import (
    Amount,
    Bits,
    ConverterBits,
    Count,
    Endurance,
    Name,
    Positive,
    Pulse_ns,
    Pulses,
    Side,
    Text,
    Time_ns,
)


class WriteScheme(MachineBlock):
    """Program-and-verify of analog cells: pulses of one size until the cell is in its window."""

    pulses_per_cell: Pulses | None = Field(
        default=None,
        description="mean number of write pulses of a cell that changes; or give window_uS",
    )
    window_uS: Positive | None = Field(
        default=None,
        description="a cell is written once within +- this of its target; the write-verify model "
        "turns it into the mean number of pulses and into programming noise",
    )
    pulse_energy_pJ: Amount | None = Field(
        default=None, description="one pulse, lines included; or give pulse_voltage_V"
    )
    pulse_voltage_V: Positive | None = Field(
        default=None,
        description="a pulse takes V^2 G t of the mean of the old and the new conductance",
    )
    line_capacitance_fF: Amount | None = Field(
        default=None, description="lines that a pulse of pulse_voltage_V charges, C V^2"
    )
    pulse_ns: Pulse_ns = Field(description="one write pulse")
    verify_energy_pJ: Amount = Field(description="one read of one cell")
    verify_ns: Time_ns = Field(description="one read of one cell after a pulse")
    cells_in_parallel: Count = Field(description="cells of one tile written at a time")
    tiles_in_parallel: Count = Field(description="tiles written at a time")
    cell_current_uA: Positive | None = Field(
        default=None, description="what a cell takes while it is written"
    )
    current_limit_mA: Positive | None = Field(
        default=None, description="what all cells written at a time may take; with cell_current_uA"
    )
    largest_weight_sigmas: Positive | None = Field(
        default=None,
        description="largest weight of a column in standard deviations of its weights, where what "
        "is written is unknown; left out: that of as many normal numbers as a tile has rows",
    )
    endurance_cycles: Endurance = Field(description="write pulses that a cell survives")

    @model_validator(mode="after")
    def _one_origin_of_pulses(self) -> Self:
        if (self.pulses_per_cell is None) == (self.window_uS is None):
            raise ValueError(
                "give either pulses_per_cell or window_uS, from which it is computed "
                "(null takes one out)"
            )
        return self

    @model_validator(mode="after")
    def _one_origin_of_energy(self) -> Self:
        if (self.pulse_energy_pJ is None) == (self.pulse_voltage_V is None):
            raise ValueError(
                "give either pulse_energy_pJ or pulse_voltage_V, from which it is computed "
                "(null takes one out)"
            )
        if self.line_capacitance_fF is not None and self.pulse_voltage_V is None:
            raise ValueError("line_capacitance_fF is charged to pulse_voltage_V: give that too")
        return self

    @model_validator(mode="after")
    def _current(self) -> Self:
        if (self.cell_current_uA is None) != (self.current_limit_mA is None):
            raise ValueError("give cell_current_uA and current_limit_mA together, or neither")
        if self.cells_at_a_time == 0:
            raise ValueError(
                f"current_limit_mA {self.current_limit_mA} is less than the {self.cell_current_uA} "
                "uA of one cell (cell_current_uA): no cell could be written; raise it"
            )
        return self

    @property
    def cells_at_a_time(self) -> int | None:
        """Cells of the machine that the current suffices for; None without a limit."""
        if self.cell_current_uA is None or self.current_limit_mA is None:
            return None
        return int(self.current_limit_mA * 1e3 / self.cell_current_uA)


class Numerics(MachineBlock):
    """How exact analog tiles are; read by the accuracy path alone, never by the timing path."""

    device: dict[Name, JsonValue] | None = Field(
        default=None, description="device model {kind, its fields}; `write.window_uS` if left out"
    )
    device_source: Text | None = Field(default=None, description="citation, or `assumed: why`")
    scheme: Literal["differential", "offset", "signed"] | None = Field(
        default=None, description="`signed` where noise is stated on weights; else `coding`"
    )
    scaling: Literal["column", "tile", "tensor"] = Field(
        default="column", description="weights that share one scale onto conductances"
    )
    clip_sigma: Positive | None = Field(
        default=None, description="weights beyond this many standard deviations are clipped"
    )
    dac_range: Literal["token", "tile", "fixed", "calibrated"] = Field(
        default="token",
        description="what scales inputs: the largest of a vector, that of its part in a row of "
        "tiles, dac_full_scale, or samples",
    )
    dac_full_scale: Positive | None = Field(
        default=None, description="largest input, with dac_range `fixed`"
    )
    dac_codes: Literal["symmetric", "twos_complement"] = Field(
        default="symmetric", description="sign and magnitude, or all 2^b levels"
    )
    dac_percentile: Positive | None = Field(
        default=None, description="of the magnitudes of samples, with dac_range `calibrated`"
    )
    dac_sigmas: Positive | None = Field(
        default=None, description="standard deviations of samples about 0, in place of a percentile"
    )
    adc_range: Literal["fixed", "calibrated", "worst_case"] = Field(
        default="calibrated", description="what sets the full scale of conversions"
    )
    adc_codes: Literal["symmetric", "twos_complement", "unipolar"] = Field(
        default="symmetric", description="`unipolar` for column sums that are never negative"
    )
    adc_percentile: Positive | None = Field(
        default=None, description="of the magnitudes of column sums, with adc_range `calibrated`"
    )
    adc_sigmas: Positive | None = Field(
        default=None, description="standard deviations of column sums about 0, likewise"
    )
    adc_full_scale_ratio: Positive | None = Field(
        default=None, description="units of g_max at full input, with adc_range `fixed`"
    )
    adc_noise_ratio: Amount | None = Field(
        default=None, description="noise of every conversion, same units"
    )
    word_ohm: Amount | None = Field(
        default=None, description="word-line segment between two cells; 0 is a line without drop"
    )
    bit_ohm: Amount | None = Field(
        default=None, description="bit-line segment between two cells; 0 is a line without drop"
    )
    driver_ohm: Amount | None = Field(
        default=None, description="driver of a word line, before its first segment; 0 if left out"
    )
    sense_ohm: Amount | None = Field(
        default=None, description="converter of a bit line, behind its last segment; 0 if left out"
    )
    topology: Literal["crossed", "parallel"] = Field(
        default="crossed",
        description="wires of a tile: word lines across the bit lines, or source lines parallel to "
        "them, of which word_ohm and driver_ohm are then (rows are switched by gates)",
    )
    idle_rows: Literal["grounded", "open"] = Field(
        default="grounded",
        description="rows of a tile that a product does not use: at 0 V, or cells switched off",
    )
    compensation_read: Literal["exact", "converters"] = Field(
        default="exact",
        description="how drift compensation reads what drifted: cells, or through DAC and ADC",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.word_ohm is None) != (self.bit_ohm is None):
            raise ValueError("give word_ohm and bit_ohm together, or neither")
        if self.word_ohm is None and (self.driver_ohm, self.sense_ohm) != (None, None):
            raise ValueError(
                "driver_ohm and sense_ohm are ends of wires: give word_ohm and bit_ohm too (0 for "
                "none)"
            )
        if self.topology == "parallel" and self.word_ohm is None:
            raise ValueError("topology is that of wires: give word_ohm and bit_ohm too")
        if self.topology == "parallel" and self.idle_rows != "open":
            raise ValueError(
                "rows of parallel source lines are switched by gates: set idle_rows to open"
            )
        for end in ("dac", "adc"):
            rules = [getattr(self, f"{end}_{rule}") for rule in ("percentile", "sigmas")]
            if None not in rules:
                raise ValueError(f"give {end}_percentile or {end}_sigmas, not both")
            if rules != [None, None] and getattr(self, f"{end}_range") != "calibrated":
                raise ValueError(
                    f"{end}_percentile and {end}_sigmas belong to {end}_range `calibrated`"
                )
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


class CrossbarTiles(ModelledBlock):
    """Analog tiles: a crossbar with its DACs, ADCs, shift-and-add, digital scaling and buffers.

    A column is a pair of bit lines where `coding` is differential. A weight takes
    `cells_per_weight` neighbouring columns (bit slices), so that a tile holds
    `columns // cells_per_weight` weights a row.
    """

    device: Literal["rram", "pcm"] = Field(description="memory device of the cells")
    rows: Side = Field(description="word lines of a tile: inputs of one MVM")
    columns: Side = Field(description="columns of cells of a tile")
    tile_count: Count = Field(description="tiles that are built")
    tiers: Count | None = Field(
        default=None,
        description="arrays stacked in one tile over the same drivers and converters, of which one "
        "works at a time; 1 where left out",
    )
    weight_bits: Bits = Field(description="bits of one weight")
    cells_per_weight: Count = Field(
        description="neighbouring columns that hold one weight, bits slice by slice"
    )
    bits_per_cell: Bits = Field(description="levels of one cell, as bits")
    coding: Literal["differential", "offset"] = Field(
        description="sign by a pair of bit lines a column, or by an offset"
    )
    g_min_uS: Amount = Field(description="conductance of the lowest level")
    g_max_uS: Positive = Field(description="conductance of the highest level")
    input_bits: Bits = Field(description="bits of one input")
    input_pulses: Count = Field(description="read pulses an MVM takes; 1 is pulse width")
    integrator: Integrator | None = Field(
        default=None, description="pulses add up on the columns before a conversion; else one each"
    )
    dac_bits: ConverterBits = Field(description="input bits that one pulse carries")
    integration_ns: Pulse_ns = Field(description="one pulse")
    adc_bits: ConverterBits = Field(description="resolution of a conversion")
    adc_time_ns: Time_ns = Field(description="one conversion; 0 if within integration")
    columns_per_adc: Count = Field(description="columns that share one ADC")
    output_bits: Bits = Field(description="one result word as sent")
    load_ns: Time_ns = Field(description="input registers to word lines")
    shift_add_ns: Time_ns = Field(description="adding one conversion to its slices and pulses")
    affine_ns: Time_ns = Field(description="digital scaling of one output")
    affine_lanes: Count = Field(description="outputs scaled at a time")
    accumulate_ns: Time_ns = Field(description="one level of the partial-sum adders")
    adders: Literal["tree", "chain"] | None = Field(
        default=None,
        description="whether partial sums meet in pairs or one after the other; a tree where left "
        "out",
    )
    dac_energy_pJ: Amount = Field(
        description="one row, one pulse: converter, driver and word line, however many of its "
        "cells hold a weight"
    )
    cell_read_energy_fJ: Amount = Field(description="one cell, one pulse")
    adc_energy_pJ: Amount = Field(description="one conversion")
    sample_energy_fJ: Amount | None = Field(
        default=None,
        description="one column, one pulse: bit line, its driver, sample and hold; in "
        "adc_energy_pJ where left out",
    )
    shift_add_energy_pJ: Amount = Field(description="one conversion")
    affine_energy_pJ: Amount = Field(description="one output")
    accumulate_energy_pJ: Amount = Field(description="one addition of partial sums")
    buffer_energy_pJ_per_byte: Amount = Field(description="tile registers, each access")
    cell_area_um2: Amount = Field(description="one cell")
    dac_area_um2: Amount = Field(description="one row")
    adc_area_um2: Amount = Field(description="one ADC")
    sample_area_um2: Amount | None = Field(
        default=None,
        description="one column, with sample_energy_fJ; in adc_area_um2 where left out",
    )
    digital_area_um2: Amount = Field(
        description="shift-and-add, scaling, registers and control of one tile"
    )
    leakage_uW: Amount = Field(description="one tile that is on")
    power_states: PowerStates | None = Field(
        default=None, description="of one tile; always on where left out"
    )
    write: WriteScheme = Field(description="how cells are written")
    accuracy: Numerics | None = Field(
        default=None, description="how exact the tiles are; the timing path never reads it"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_gated(self.power_states, self.leakage_uW)
        if self.g_max_uS <= self.g_min_uS:
            raise ValueError(f"g_max_uS {self.g_max_uS} must exceed g_min_uS {self.g_min_uS}")
        if self.columns_per_adc > self.columns:
            raise ValueError(
                f"columns_per_adc {self.columns_per_adc} exceeds columns {self.columns}: one ADC "
                "serves at most all columns of its tile; lower columns_per_adc"
            )
        if (self.sample_energy_fJ is None) != (self.sample_area_um2 is None):
            raise ValueError("give sample_energy_fJ and sample_area_um2 together, or neither")
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
        if self.integrator is not None and self.integrator.phases > self.input_pulses:
            raise ValueError(
                f"integrator.phases {self.integrator.phases} exceeds input_pulses "
                f"{self.input_pulses}: a phase has a pulse at least; lower integrator.phases"
            )
        if self.integrator is not None and (
            (most := max(self.integrator.pulses(self.input_pulses))) > PULSES_LIMIT
        ):
            raise ValueError(
                f"integrator: a phase of {most} pulses takes 2^{most} - 1 cycles, at most "
                f"{PULSES_LIMIT} pulses are taken; raise integrator.phases"
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
        """Area of one tile (um2): cells, DACs, ends of columns, ADCs and its digital part."""
        return (
            self.rows * self.columns * self.cell_area_um2
            + self.rows * self.dac_area_um2
            + self.adc_count * self.adc_area_um2
            + self.columns * (self.sample_area_um2 or 0.0)
            + self.digital_area_um2
        )
