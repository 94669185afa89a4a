"""What the analog tiles of an architecture do to numbers: coding, device, converters, wires."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.places import ReadNoiseMode
from cimsim.analog.wires import Wires
from cimsim.blocks import CrossbarTiles, Numerics
from cimsim.errors import MappingError, SpecError
from cimsim.noise import Device, Ideal, Target, WriteVerify, device_from_json, device_of
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import brief

CompensationRead = Literal["exact", "converters"]


@checked(SpecError)
@brief
@dataclass(frozen=True)
class Hardware:
    """Everything that every tile of a machine has in common; `hardware_of` reads a machine's.

    `dataclasses.replace(hardware, adc=Adc(6))` is the same with another part. Raises SpecError for
    a device that cannot hold conductances of the coding's range. `compensation` says how the factor
    of a drift compensation is measured: `exact` from the conductances of all cells of a tile, or
    through the `converters` (`cimsim.analog.compensation`).
    """

    coding: Coding
    device: Device
    dac: Dac
    adc: Adc
    wires: Wires | None = None
    read_noise: ReadNoiseMode = "frozen"
    compensation: CompensationRead = "exact"

    def __post_init__(self) -> None:
        # What the device cannot be asked for is told here, not in the middle of a model.
        ends = np.array([[self.coding.g_min_uS, self.coding.g_max_uS]], np.float32)
        self.device.program(Target(ends, self.coding.g_max_uS), np.random.default_rng(0))
        if self.adc.codes == "unipolar" and not self._never_negative:
            raise SpecError(
                "unipolar ADC codes are for column sums that are never negative: offset coding "
                f"and one-bit pulses, not {self.coding.scheme} coding and pulses of "
                f"{self.dac.pulse_bits or self.dac.bits} bits: set rram.accuracy.adc_codes to "
                "symmetric or twos_complement."
            )

    @property
    def _never_negative(self) -> bool:
        return self.coding.scheme == "offset" and self.dac.pulse_bits == 1

    @property
    def needs_samples(self) -> bool:
        """Whether a converter has a range that is calibrated on sample inputs."""
        return self.dac.range == "calibrated" or (
            self.adc.range == "calibrated" and self.adc.bits is not None
        )


@checked(SpecError)
def hardware_of(
    architecture: Architecture, hardware: Hardware | Device | str | None = None
) -> Hardware:
    """The tiles of `architecture`: as its file says, with another device model, or as given.

    A given Hardware comes back as it is; its coding must keep `rram.cells_per_weight`, which fixes
    the tiles that the mapping counts. Raises MappingError where it does not and for a machine
    without analog tiles, SpecError where no device is given and the file names none.
    """
    rram = architecture.rram
    if rram is None:
        raise MappingError(
            f"architecture {architecture.name!r} has no `rram` block: there are no analog tiles "
            "whose accuracy could be simulated."
        )
    if isinstance(hardware, Hardware):
        cells = hardware.coding.cells_per_weight
        if cells != rram.cells_per_weight:
            raise MappingError(
                f"the coding takes {cells} cells a weight, the tiles of {architecture.name!r} are "
                f"laid out for {rram.cells_per_weight}: change rram.cells_per_weight and map again."
            )
        return hardware
    facts = rram.accuracy or Numerics(sources={})
    return Hardware(
        coding=_coding(rram, facts),
        device=_device(architecture.name, rram) if hardware is None else device_of(hardware),
        dac=_dac(rram, facts),
        adc=_adc(rram, facts),
        wires=_wires(facts),
        compensation=facts.compensation_read,
    )


@checked(SpecError)
def with_bits(
    hardware: Hardware, *, dac_bits: int | None = None, adc_bits: int | None = None
) -> Hardware:
    """Converters of so many bits (None: as they are); a DAC's pulses stay as wide as they are."""
    dac, adc = hardware.dac, hardware.adc
    if dac_bits is not None:
        pulse = dac.pulse_bits and min(dac.pulse_bits, dac_bits)
        dac = replace(dac, bits=dac_bits, pulse_bits=pulse)
    if adc_bits is not None:
        adc = replace(adc, bits=adc_bits)
    return replace(hardware, dac=dac, adc=adc)


def without_errors(hardware: Hardware) -> Hardware:
    """The same tiles with continuous exact cells and ideal converters."""
    coding = replace(hardware.coding.unclipped(), bits_per_cell=None)
    return Hardware(coding, Ideal(), Dac(bits=None), Adc(bits=None, range="worst_case"))


def _wires(facts: Numerics) -> Wires | None:
    if facts.word_ohm is None or facts.bit_ohm is None:
        return None
    ends = facts.driver_ohm or 0.0, facts.sense_ohm or 0.0
    return Wires(facts.word_ohm, facts.bit_ohm, *ends, facts.idle_rows, facts.topology)


def _coding(rram: CrossbarTiles, facts: Numerics) -> Coding:
    scheme = facts.scheme or rram.coding
    return Coding(
        scheme=scheme,
        g_min_uS=0.0 if scheme == "signed" else rram.g_min_uS,
        g_max_uS=rram.g_max_uS,
        cells_per_weight=rram.cells_per_weight,
        bits_per_cell=rram.bits_per_cell,
        scaling=facts.scaling,
        clip_sigma=facts.clip_sigma,
    )


def _device(name: str, rram: CrossbarTiles) -> Device:
    if rram.accuracy is not None and rram.accuracy.device is not None:
        return device_from_json(rram.accuracy.device, f"{name}: rram.accuracy.device")
    if rram.write.window_uS is not None:
        return WriteVerify(tolerance_uS=rram.write.window_uS)
    raise SpecError(
        f"architecture {name!r} names no device model: pass one, or set rram.accuracy.device or "
        "rram.write.window_uS."
    )


def _dac(rram: CrossbarTiles, facts: Numerics) -> Dac:
    if (circuit := rram.integrator) is not None:
        each, serial = -(-rram.input_bits // circuit.phases), circuit.phases > 1
    else:
        each, serial = rram.dac_bits, rram.input_pulses > 1
    return Dac(
        bits=rram.input_bits,
        range=facts.dac_range,
        full_scale=facts.dac_full_scale,
        percentile=facts.dac_percentile or Dac.percentile,
        pulse_bits=each if serial else None,
        codes=facts.dac_codes,
        sigmas=facts.dac_sigmas,
    )


def _adc(rram: CrossbarTiles, facts: Numerics) -> Adc:
    return Adc(
        bits=rram.adc_bits,
        range=facts.adc_range,
        full_scale_ratio=facts.adc_full_scale_ratio,
        percentile=facts.adc_percentile or Adc.percentile,
        codes=facts.adc_codes,
        sigmas=facts.adc_sigmas,
        noise_ratio=facts.adc_noise_ratio or 0.0,
    )
