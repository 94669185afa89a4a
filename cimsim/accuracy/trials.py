"""What a measurement varies: noise models, times after programming, chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cimsim.accuracy.noises import with_sigmas
from cimsim.analog.hardware import hardware_of
from cimsim.errors import TaskError
from cimsim.functional.devices import torch_device
from cimsim.functional.precision import check_precision
from cimsim.noise import Device, device_of, format_device
from cimsim.noise.protocol import LONGEST_s
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import brief

BATCH = 64
DRAWS_MAX = 10_000
"""An interval of a fiftieth of the spread between chips; more changes nothing that is printed."""


@checked(TaskError)
@brief
@dataclass(frozen=True)
class Trials:
    """Every noise meets every time on every chip; what is not said is as the machine is.

    `noises`: device models, or their text; None is the device of the machine. `times_s`: seconds
    after programming. `seeds`: of the chips; a number stands for 0, 1, ... The same seed is the
    same chip for every model, so that two methods can be compared draw by draw. `compensate`:
    global drift compensation, "both" for with and without. `recalibrate`: at every time, scale and
    offset of each column of each tile are fitted to training examples. Without `converters` the
    weights are noisy, none is clipped, and that is all; `dac_bits` and `adc_bits` are other bits
    than the machine's. Several `adc_bits` read the same cells of every chip. `limit` takes the
    first test examples only. `workers` processes of one thread each share the draws (None: one a
    core, or for little work this one alone); `device` is where the model computes (cpu, cuda, mps;
    where it is if left out), an accelerator in one process. Neither workers nor `batch` (examples
    at a time) change a number; `precision` does: that of the model's own products, those of tiles
    without converters among them (`highest`, `high`, `medium`: torch's, as it is set if left out).

    Raises TaskError for values that make no sense.
    """

    noises: Sequence[Device | str | None] = (None,)
    times_s: Sequence[float] = (0.0,)
    seeds: int | Sequence[int] = 5
    compensate: bool | Literal["both"] = False
    recalibrate: bool = False
    converters: bool = True
    dac_bits: int | None = None
    adc_bits: int | Sequence[int] | None = None
    limit: int | None = None
    workers: int | None = 1
    device: str | None = None
    batch: int = BATCH
    precision: str | None = None

    def __post_init__(self) -> None:
        _check_lists(self.devices, self.times_s, self.widths)
        _check_counts(self)
        if not self.converters and (self.dac_bits, self.adc_bits) != (None, None):
            raise TaskError(
                "bits of converters were given for noise on weights only, without converters: "
                "leave one of them out."
            )
        check_precision(self.precision, self.device)
        away = self.device is not None and torch_device(self.device).type != "cpu"
        if away and self.workers not in (None, 1):
            raise TaskError(
                f"{self.workers} processes were asked for on device {self.device!r}, which "
                "computes in one: leave workers out."
            )
        if not self.converters and self.recalibrate:
            raise TaskError(
                "recalibration reads columns through their converters, and noise on weights only "
                "was asked for: leave one of them out."
            )

    @property
    def devices(self) -> tuple[Device | None, ...]:
        """The noises as models; None stands for the machine's own."""
        return tuple(None if noise is None else device_of(noise) for noise in self.noises)

    @property
    def widths(self) -> tuple[int | None, ...]:
        """Bits of the ADCs, one after the other; None stands for the machine's own."""
        bits = self.adc_bits
        return (bits,) if bits is None or isinstance(bits, int) else tuple(bits)

    @property
    def chips(self) -> tuple[int, ...]:
        """The seed of every chip."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)

    @property
    def states(self) -> tuple[tuple[float, bool], ...]:
        """(time in s, whether drift is compensated) of every read-out of a chip."""
        modes = (False, True) if self.compensate == "both" else (self.compensate,)
        return tuple((t_s, mode) for t_s in map(float, self.times_s) for mode in modes)


def with_sigmas_of(
    machine: Architecture, noises: Sequence[Device | None], sigmas: Sequence[float]
) -> tuple[Device, ...]:
    """The one noise of `noises`, or the machine's own, with other sigmas."""
    if len(noises) != 1:
        raise TaskError(f"sigmas vary one noise model, {len(noises)} were given: name one.")
    return tuple(with_sigmas(noises[0] or hardware_of(machine).device, sigmas))


def _check_lists(
    noises: Sequence[Device | None], times_s: Sequence[float], widths: Sequence[int | None]
) -> None:
    for name, listed in (("noise models", noises), ("times", times_s), ("ADC bits", widths)):
        if not listed:
            raise TaskError(f"the list of {name} is empty; at least 1 is needed.")
    for position, noise in enumerate(noises):
        if noise in noises[:position]:
            label = "the machine's own device" if noise is None else format_device(noise)
            raise TaskError(f"noise {label} is named twice; every noise model counts once.")
    for position, t_s in enumerate(times_s):
        if not 0.0 <= t_s <= LONGEST_s:
            raise TaskError(
                f"a time of {t_s:g} s after programming was asked for; times are 0 to "
                f"{LONGEST_s:g} s."
            )
        if t_s in times_s[:position]:
            raise TaskError(f"the time {t_s:g} s is named twice; every time counts once.")
    for position, bits in enumerate(widths):
        if bits in widths[:position]:
            raise TaskError(f"ADCs of {bits} bits are named twice; every number counts once.")


def _check_counts(trials: Trials) -> None:
    seeds = trials.seeds
    draws = seeds if isinstance(seeds, int) else len(seeds)
    if draws < 1:
        raise TaskError(f"{draws} noise draws were asked for; at least 1 is needed.")
    if draws > DRAWS_MAX:
        raise TaskError(f"{draws} noise draws were asked for; at most {DRAWS_MAX} are measured.")
    for what, value in (("test examples", trials.limit), ("processes", trials.workers)):
        if value is not None and value < 1:
            raise TaskError(f"{value} {what} were asked for; at least 1 is needed.")
    if trials.batch < 1:
        raise TaskError(f"a batch holds at least 1 example, {trials.batch} were asked for.")
