"""evaluate(): a task on programmed chips, for noise models, times after programming and draws."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from cimsim.accuracy.batches import evenly, in_batches, pass_over
from cimsim.accuracy.noises import noise_label
from cimsim.accuracy.processes import spread_over
from cimsim.accuracy.statistics import Spread, spread
from cimsim.analog.coding import Coding
from cimsim.analog.converters import Adc, Dac
from cimsim.analog.crossbar import ReadNoiseMode, Wires
from cimsim.analog.hardware import Hardware, hardware_of
from cimsim.errors import TaskError
from cimsim.functional import (
    AnalogModel,
    Chip,
    SaturationWarning,
    in_evaluation,
    program_chip,
)
from cimsim.functional.model import Samples
from cimsim.mapping import Mapping
from cimsim.noise import Device, device_of
from cimsim.noise.protocol import LONGEST_s
from cimsim.spec import Architecture
from cimsim.tasks.task import Example, Metric, Task
from cimsim.training import inputs_of
from cimsim.values.arguments import checked
from cimsim.values.display import brief

BATCH = 64
DRAWS_MAX = 10_000
"""An interval of a fiftieth of the spread between chips; more changes nothing that is printed."""


@brief
@dataclass(frozen=True)
class Measured:
    """The metric of every draw under one noise, at one time.

    `saturated_ratio` is the share of saturated conversions in the worst layer of all draws.
    """

    noise: Device
    t_s: float
    compensated: bool
    values: tuple[float, ...]
    saturated_ratio: float

    @property
    def spread(self) -> Spread:
        """Mean, standard deviation and interval over the draws."""
        return spread(self.values)


@brief
@dataclass(frozen=True)
class Evaluation:
    """A task with its metric on the digital model and on chips, point by point.

    `points` go by noise, then by time, then uncompensated before compensated; value k of each
    belongs to the chip of `seeds[k]`.
    """

    task: str
    metric: Metric
    examples: int
    examples_available: int
    digital: float
    seeds: tuple[int, ...]
    points: tuple[Measured, ...]


@dataclass(eq=False)
class _Setting:
    """All that a process needs to measure any draw.

    `latest` is the number of the chip measured last, and that chip right after programming.
    """

    task: Task
    model: nn.Module
    mapping: Mapping
    architecture: Architecture
    hardware: Hardware
    converters: bool
    examples: tuple[Example, ...]
    batches: list[list[int]]
    samples: Samples | None
    latest: tuple[int, AnalogModel] | None = None


@dataclass(frozen=True)
class _Draw:
    """A chip, by its number in this evaluation, at one time; without noise the digital model."""

    noise: Device | None
    chip: int = 0
    seed: int = 0
    t_s: float = 0.0
    compensate: bool = False


@checked(TaskError)
def evaluate(
    task: Task,
    model: nn.Module,
    mapping: Mapping,
    architecture: Architecture,
    *,
    noises: Sequence[Device | str | None] = (None,),
    times_s: Sequence[float] = (0.0,),
    seeds: int | Sequence[int] = 5,
    compensate: bool | Literal["both"] = False,
    converters: bool = True,
    coding: Coding | None = None,
    dac: Dac | None = None,
    adc: Adc | None = None,
    wires: Wires | None = None,
    read_noise: ReadNoiseMode = "frozen",
    calibration: Sequence[Example] | None = None,
    limit: int | None = None,
    batch: int = BATCH,
    workers: int | None = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The metric of `model` on the test examples of `task`, digital and on chips of `mapping`.

    Every noise (None: the device of `architecture`) meets every time of `times_s` (s after
    programming) on every chip seed; a number of seeds stands for 0, 1, ... The same seed is the
    same chip for every model, so that two methods can be compared draw by draw. Coding,
    converters and wires are as in `hardware_of`; without `converters` the weights are noisy and
    nothing else. Calibrated converter ranges are set once, right after programming, on
    `calibration` (spread over the task's training examples if left out, never its test data).
    `limit` takes the first examples only. `workers` processes of one thread each share the draws
    (None: one a core); neither they nor `batch` change a number. `progress` is called with the
    passes done and those to do.

    Raises TaskError for settings that make no sense, MappingError where model and mapping do not
    belong together, SpecError for values out of range.
    """
    named = [None if noise is None else device_of(noise) for noise in noises]
    check_settings(named, times_s, seeds, limit, workers)
    if batch < 1:
        raise TaskError(f"a batch holds at least 1 example, {batch} were asked for.")
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    hardware = hardware_of(
        architecture, named[0], coding=coding, dac=dac, adc=adc, wires=wires, read_noise=read_noise
    )  # fmt: skip
    devices = [hardware.device if noise is None else noise for noise in named]
    examples = _examples(task, limit)
    samples = None
    if converters and hardware.needs_samples:
        samples = _samples(task, model, calibration)
    setting = _Setting(
        task, model, mapping, architecture, hardware, converters, examples,
        in_batches(examples, batch), samples,
    )  # fmt: skip
    modes = (False, True) if compensate == "both" else (compensate,)
    chips = [(n, seed) for n in devices for seed in chosen]
    states = [(t, c) for t in map(float, times_s) for c in modes]
    for device in devices:  # what does not fit is told before anything runs
        _programmed(setting, device, chosen)
    # Chip by chip, so that its converters are calibrated once for all times.
    draws = [_Draw(n, k, seed, t, c) for k, (n, seed) in enumerate(chips) for t, c in states]
    found = spread_over(_measure, setting, [_Draw(None), *draws], _count(workers), progress)
    (digital, _), *rest = found
    of = {(d.chip, d.t_s, d.compensate): r for d, r in zip(draws, rest, strict=True)}
    size = len(chosen)
    return Evaluation(
        task=task.name,
        metric=task.metric,
        examples=len(examples),
        examples_available=len(task.test),
        digital=digital,
        seeds=chosen,
        points=tuple(
            Measured(n, t, c, tuple(v for v, _ in of_point), max(s for _, s in of_point))
            for j, n in enumerate(devices)
            for t, c in states
            for of_point in ([of[k, t, c] for k in range(j * size, (j + 1) * size)],)
        ),
    )


def _measure(setting: _Setting, draw: _Draw) -> tuple[float, float]:
    """The metric of a draw, and the worst share of saturated conversions in a layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SaturationWarning)  # counted and reported instead
        model = setting.model if draw.noise is None else _read(setting, draw)
        metric = pass_over(setting.task, model, setting.examples, setting.batches)
    if not math.isfinite(metric):
        where = "the digital model" if draw.noise is None else f"draw {draw.seed}"
        raise TaskError(
            f"{setting.task.name}: the {setting.task.metric} of {where} is {metric}: the scores "
            "are not finite numbers; lower the noise or repair the checkpoint."
        )
    saturated = model.saturation().values() if isinstance(model, AnalogModel) else ()
    return metric, max(saturated, default=0.0)


def _programmed(setting: _Setting, noise: Device | None, seed: int | Sequence[int]) -> Chip:
    hardware = setting.hardware
    return program_chip(
        setting.model, setting.mapping, setting.architecture, noise, seed,
        coding=hardware.coding, dac=hardware.dac, adc=hardware.adc, wires=hardware.wires,
        read_noise=hardware.read_noise,
    )  # fmt: skip


def _read(setting: _Setting, draw: _Draw) -> AnalogModel:
    chip = _programmed(setting, draw.noise, draw.seed)
    ranges = None
    if setting.samples is not None:
        ranges = _calibrated(setting, draw, chip)
        if draw.t_s == 0.0 and not draw.compensate:
            return ranges  # the same chip at the same time
    return chip.at(
        draw.t_s, compensate=draw.compensate, ranges_of=ranges, converters=setting.converters
    )


def _calibrated(setting: _Setting, draw: _Draw, chip: Chip) -> AnalogModel:
    """The chip of `draw` right after programming."""
    if setting.latest is None or setting.latest[0] != draw.chip:
        setting.latest = None  # frees its memory first
        setting.latest = (draw.chip, chip.at(0.0, samples=setting.samples))
    return setting.latest[1]


def _samples(task: Task, model: nn.Module, calibration: Sequence[Example] | None) -> Samples:
    chosen = evenly(task.train) if calibration is None else list(calibration)
    if not chosen:
        raise TaskError(
            f"the converter ranges of the machine are calibrated, and task {task.name!r} has no "
            "training examples to calibrate them on: leave the converters out, or give them ranges "
            "of their own (rram.accuracy.adc_range and dac_range)."
        )
    with in_evaluation(model):
        return inputs_of(task, model, chosen)


def _examples(task: Task, limit: int | None) -> tuple[Example, ...]:
    examples = tuple(task.test[:limit])
    if not examples:
        raise TaskError(f"task {task.name!r} has no test examples to evaluate on.")
    return examples


def check_settings(
    noises: Sequence[Device | None],
    times_s: Sequence[float],
    seeds: int | Sequence[int],
    limit: int | None,
    workers: int | None,
) -> None:
    """Raise TaskError unless `evaluate` can work with these values."""
    for name, listed in (("noise models", noises), ("times", times_s)):
        if not listed:
            raise TaskError(f"the list of {name} is empty; at least 1 is needed.")
    for position, noise in enumerate(noises):
        if noise in noises[:position]:
            label = "the machine's own device" if noise is None else noise_label(noise)
            raise TaskError(f"noise {label} is named twice; every noise model counts once.")
    for position, t_s in enumerate(times_s):
        if not 0.0 <= t_s <= LONGEST_s:
            raise TaskError(
                f"a time of {t_s:g} s after programming was asked for; times are 0 to "
                f"{LONGEST_s:g} s."
            )
        if t_s in times_s[:position]:
            raise TaskError(f"the time {t_s:g} s is named twice; every time counts once.")
    draws = seeds if isinstance(seeds, int) else len(seeds)
    if draws < 1:
        raise TaskError(f"{draws} noise draws were asked for; at least 1 is needed.")
    if draws > DRAWS_MAX:
        raise TaskError(f"{draws} noise draws were asked for; at most {DRAWS_MAX} are measured.")
    for what, value in (("test examples", limit), ("processes", workers)):
        if value is not None and value < 1:
            raise TaskError(f"{value} {what} were asked for; at least 1 is needed.")


def _count(workers: int | None) -> int:
    """Processes to use; None for as many as there are cores for this process."""
    if workers is not None:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
