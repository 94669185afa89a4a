"""evaluate(): a task on programmed chips, for noise models, times after programming and draws."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Named
from dataclasses import dataclass, replace

from torch import nn

from cimsim.accuracy.batches import Pass, evenly, in_batches, pass_over
from cimsim.accuracy.processes import spread_over
from cimsim.accuracy.statistics import Spread, spread
from cimsim.accuracy.trials import Trials
from cimsim.adaptation import Protected
from cimsim.analog.hardware import Hardware, hardware_of, with_bits
from cimsim.errors import TaskError
from cimsim.functional import (
    AnalogModel,
    Chip,
    SaturationWarning,
    clipping_losses,
    in_evaluation,
    program_chip,
    protected,
)
from cimsim.functional.devices import on_device
from cimsim.functional.model import SAMPLE_VECTORS, Samples
from cimsim.functional.operands import KeptCells
from cimsim.functional.padding import by_name
from cimsim.functional.precision import multiplying
from cimsim.functional.sites import analog
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.noise import Device
from cimsim.runtime.workers import cores
from cimsim.spec import Architecture
from cimsim.tasks.task import Example, Metric, Task
from cimsim.training import inputs_of
from cimsim.values.arguments import checked
from cimsim.values.display import brief

SAMPLE_TOKENS = 256
"""Choice: tokens that what clipping takes is measured on."""
KEPT_BYTES = 4e9
"""Choice: cells kept at a time by all processes; those of larger models are programmed again."""
ALONE = 1e9
"""Choice: weights on tiles times examples times passes, up to which this process is done before
others have started (MiniLM, 24 examples, 5 passes: 8 s of a core, starting two takes 7 s).
"""


_Shares = tuple[float, float, float]


@brief
@dataclass(frozen=True)
class Measured:
    """The metric of every draw under one noise, at one time, with ADCs of `adc_bits` (None: as the
    machine has them).

    Shares of conversions are those of the worst layer of all draws: saturated ones, shifted words
    that overflowed, and that lost bits. `unanswered_ratio` is the mean share of examples without
    an answer, of tasks that read what a model writes.
    """

    noise: Device
    t_s: float
    compensated: bool
    values: tuple[float, ...]
    saturated_ratio: float
    overflowed_ratio: float
    shortened_ratio: float
    unanswered_ratio: float = 0.0
    adc_bits: int | None = None

    @property
    def spread(self) -> Spread:
        """Mean, standard deviation and interval over the draws."""
        return spread(self.values)


@brief
@dataclass(frozen=True)
class Evaluation:
    """A task with its metric on the digital model and on chips, point by point.

    `points` go by noise, then by bits of the ADCs, then by time, then uncompensated before
    compensated; value k of each belongs to the chip of `seeds[k]`. `recalibrated_on` vectors a
    layer the columns were fitted.
    """

    task: str
    metric: Metric
    examples: int
    examples_available: int
    digital: float
    seeds: tuple[int, ...]
    recalibrated_on: int
    clipping: Named[str, float]
    points: tuple[Measured, ...]
    digital_unanswered_ratio: float = 0.0


@dataclass(eq=False)
class _Setting:
    """All that a process needs to measure any draw.

    `keep` says whether the cells of a chip are kept for its other times. `chip` is the chip
    measured last with its number, `latest` that chip right after programming, `read` what was read
    last and when.
    """

    task: Task
    model: nn.Module
    mapping: Mapping
    architecture: Architecture
    hardware: Hardware
    converters: bool
    recalibrate: bool
    examples: tuple[Example, ...]
    batches: list[list[int]]
    samples: Samples | None
    precision: str | None = None
    keep: bool = False
    chip: tuple[int, Chip] | None = None
    latest: tuple[int, AnalogModel] | None = None
    read: tuple[tuple[int, float, bool], AnalogModel] | None = None


@dataclass(frozen=True)
class _Draw:
    """A chip, by its number in this evaluation, at one time; without noise the digital model."""

    noise: Device | None
    chip: int = 0
    seed: int = 0
    t_s: float = 0.0
    compensate: bool = False
    adc_bits: int | None = None

    @property
    def state(self) -> tuple[int, float, bool]:
        """Equal where the same cells are read in the same state."""
        return self.chip, self.t_s, self.compensate


@checked(TaskError)
def evaluate(
    task: Task,
    model: nn.Module,
    mapping: Mapping,
    architecture: Architecture,
    trials: Trials | None = None,
    *,
    hardware: Hardware | None = None,
    calibration: Sequence[Example] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The metric of `model` on the test examples of `task`, digital and on chips of `mapping`.

    `trials` are the noises, times and chips (`Trials()` if left out). `hardware` is what the tiles
    do to numbers where that is not what the file of `architecture` says; its device is the one of
    trials without a noise of their own. Calibrated converter ranges are set once, right after
    programming, on `calibration` (spread over the task's training examples if left out, never its
    test data). `progress` is called with the passes done and those to do.

    Raises TaskError for tasks without examples, MappingError where model and mapping do not belong
    together, SpecError for values out of range.
    """
    trials = trials or Trials()
    model = on_device(model, trials.device)
    tiles = _tiles(architecture, hardware, trials)
    devices = [tiles.device if noise is None else noise for noise in trials.devices]
    examples = _examples(task, trials.limit)
    samples = None
    if trials.recalibrate or (trials.converters and tiles.needs_samples):
        samples = _samples(task, model, calibration)
    seeds, states, widths = trials.chips, trials.states, trials.widths
    passes = 1 + len(devices) * len(seeds) * len(states) * len(widths)
    workers = trials.workers or 1
    if trials.workers is None and _computes_on_cpu(model):
        workers = _worth(_weights(mapping) * len(examples) * passes)
    setting = _Setting(
        task, model, mapping, architecture, tiles, trials.converters, trials.recalibrate, examples,
        in_batches(examples, trials.batch), samples, trials.precision,
        len(states) > 1 and workers * _bytes_of_cells(mapping, tiles) <= KEPT_BYTES,
    )  # fmt: skip
    chips = [(n, seed) for n in devices for seed in seeds]
    # what does not fit is told before anything runs
    programmed = [_programmed(setting, device, seeds) for device in devices]
    # Chip by chip, so that its converters are calibrated once for all times, and time by time, so
    # that its cells are read once for all converters.
    draws = [
        _Draw(noise, k, seed, t, c, bits)
        for k, (noise, seed) in enumerate(chips)
        for t, c in states
        for bits in widths
    ]
    found = spread_over(_measure, setting, [_Draw(None), *draws], workers, progress)
    (exact, _), *rest = found
    of = {(*d.state, d.adc_bits): r for d, r in zip(draws, rest, strict=True)}
    size = len(seeds)
    return Evaluation(
        task=task.name,
        metric=task.metric,
        examples=len(examples),
        examples_available=len(task.test),
        digital=exact.metric,
        digital_unanswered_ratio=exact.unanswered_ratio,
        seeds=seeds,
        recalibrated_on=_vectors(model, samples) if trials.recalibrate else 0,
        clipping=_clipping(setting, programmed[0]) if trials.converters else {},
        points=tuple(
            _point(noise, t, c, bits, [of[j * size + k, t, c, bits] for k in range(size)])
            for j, noise in enumerate(devices)
            for bits in widths
            for t, c in states
        ),
    )


def _computes_on_cpu(model: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in model.parameters())


def _point(
    noise: Device, t_s: float, compensated: bool, adc_bits: int | None,
    draws: Sequence[tuple[Pass, _Shares]],
) -> Measured:  # fmt: skip
    saturated, overflowed, shortened = map(max, zip(*(worst for _, worst in draws), strict=True))
    unanswered = sum(found.unanswered_ratio for found, _ in draws) / len(draws)
    values = tuple(found.metric for found, _ in draws)
    return Measured(
        noise, t_s, compensated, values, saturated, overflowed, shortened, unanswered, adc_bits
    )  # fmt: skip


def _tiles(architecture: Architecture, given: Hardware | None, trials: Trials) -> Hardware:
    """The hardware of `trials`; a machine that names no device will do where every trial does."""
    first = trials.devices[0] if None not in trials.devices else None
    tiles = hardware_of(architecture, given or first)
    tiles = with_bits(tiles, dac_bits=trials.dac_bits)
    # what no converter has is told before anything runs
    made = [with_bits(tiles, adc_bits=bits) for bits in trials.widths]
    return made[0]


def _measure(setting: _Setting, draw: _Draw) -> tuple[Pass, _Shares]:
    """What a draw does, and the worst shares of conversions in a layer (`Measured`)."""
    with warnings.catch_warnings(), multiplying(setting.precision):
        warnings.simplefilter("ignore", SaturationWarning)  # counted and reported instead
        model = setting.model if draw.noise is None else _converted(setting, draw)
        found = pass_over(setting.task, model, setting.examples, setting.batches)
    metric = found.metric
    if not math.isfinite(metric):
        where = "the digital model" if draw.noise is None else f"draw {draw.seed}"
        raise TaskError(
            f"{setting.task.name}: the {setting.task.metric} of {where} is {metric}: the scores "
            "are not finite numbers; lower the noise or repair the checkpoint."
        )
    if not isinstance(model, AnalogModel):
        return found, (0.0, 0.0, 0.0)
    shares = model.saturation(), model.overflow(), model.shortening()
    saturated, overflowed, shortened = (max(of.values(), default=0.0) for of in shares)
    return found, (saturated, overflowed, shortened)


def _programmed(setting: _Setting, noise: Device, seed: int | Sequence[int]) -> Chip:
    hardware = replace(setting.hardware, device=noise)
    return program_chip(setting.model, setting.mapping, setting.architecture, hardware, seed)


def _converted(setting: _Setting, draw: _Draw) -> AnalogModel:
    """The chip of `draw` in its state, with its converters."""
    if setting.recalibrate:  # what columns are fitted to went through the converters
        return _read(setting, draw)
    if setting.read is None or setting.read[0] != draw.state:
        setting.read = None  # frees its memory first
        setting.read = draw.state, _read(setting, draw)
    model = setting.read[1]
    if draw.adc_bits is not None:
        model.convert(draw.adc_bits)
    return model


def _read(setting: _Setting, draw: _Draw) -> AnalogModel:
    assert draw.noise is not None
    chip = _chip(setting, draw)
    if draw.adc_bits is not None:
        chip = replace(chip, hardware=with_bits(chip.hardware, adc_bits=draw.adc_bits))
    ranges = None
    if setting.samples is not None and setting.hardware.needs_samples:
        ranges = _calibrated(setting, draw, chip)
        if draw.t_s == 0.0 and not draw.compensate and not setting.recalibrate:
            return ranges  # the same chip at the same time
    return chip.at(
        draw.t_s, compensate=draw.compensate, ranges_of=ranges, converters=setting.converters,
        recalibrate=setting.samples if setting.recalibrate else None,
    )  # fmt: skip


def _clipping(setting: _Setting, chip: Chip) -> dict[str, float]:
    """Share of each layer's output norm that clipped weights take (`clipping_losses`)."""
    coding = chip.hardware.coding
    if coding == coding.unclipped():
        return {}
    task, model, samples = setting.task, setting.model, setting.samples
    if samples is None:
        chosen = evenly(task.train or setting.examples, SAMPLE_TOKENS)
        with in_evaluation(model):
            samples = inputs_of(task, model, chosen)
    return clipping_losses(chip, samples)


def _chip(setting: _Setting, draw: _Draw) -> Chip:
    """The chip of `draw`, whose cells are kept if they fit."""
    assert draw.noise is not None
    if setting.chip is None or setting.chip[0] != draw.chip:
        before, setting.chip = setting.chip, None  # frees its memory first
        if before is None:
            chip = _programmed(setting, draw.noise, draw.seed)
        else:  # of the same weights, which were checked
            hardware = replace(before[1].hardware, device=draw.noise)
            chip = replace(before[1], hardware=hardware, seeds=(draw.seed,), kept=None)
        del before
        setting.chip = draw.chip, replace(chip, kept=KeptCells() if setting.keep else None)
    return setting.chip[1]


def _worth(size: float) -> int:
    """The processes that are worth starting: one, or one a core."""
    return 1 if size <= ALONE else cores()


def _weights(mapping: Mapping) -> int:
    """Weights on tiles, copies too."""
    grids = [(p.grid, p.replicas) for p in analog(mapping).values()]
    return sum(grid.rows * grid.columns * copies for grid, copies in grids)


def _bytes_of_cells(mapping: Mapping, tiles: Hardware) -> int:
    """What the cells of a chip take: target, conductance and a trait of each, in float32."""
    return 3 * 4 * _weights(mapping) * tiles.coding.cell_count  # counted: three float32 a cell


def _calibrated(setting: _Setting, draw: _Draw, chip: Chip) -> AnalogModel:
    """The chip of `draw` right after programming."""
    if setting.latest is None or setting.latest[0] != draw.chip:
        setting.latest = None  # frees its memory first
        setting.latest = (draw.chip, chip.at(0.0, samples=setting.samples))
    return setting.latest[1]


def protected_for(task: Task, model: nn.Module, mapping: Mapping, workload: Workload) -> nn.Module:
    """What `protected` makes of `model` where the mapping asks for it, else `model` itself.

    Scales come from the training examples that converter ranges are calibrated on.
    """
    adaptation = mapping.adaptation
    if not isinstance(adaptation, Protected) or not adaptation.changes:
        return model
    rescaled = adaptation.rescale is not None
    samples = _samples(task, model, None) if rescaled else None
    return protected(model, mapping, workload, samples)


def _vectors(model: nn.Module, samples: Samples | None) -> int:
    """Vectors that each layer is given of `samples`, padding left out."""
    args, kwargs = ((), samples) if isinstance(samples, Named) else (samples or (), {})
    call = by_name(model, args, kwargs)
    mask = call.get("attention_mask")
    tokens = call["input_ids"].numel() if mask is None else int((mask != 0).sum())
    return min(int(tokens), SAMPLE_VECTORS)


def _samples(task: Task, model: nn.Module, calibration: Sequence[Example] | None) -> Samples:
    chosen = evenly(task.train) if calibration is None else list(calibration)
    if not chosen:
        raise TaskError(
            f"converter ranges, columns or rescaled inputs are to be calibrated, and task "
            f"{task.name!r} has no training examples to calibrate them on: leave the converters "
            "out, or give them ranges of their own (rram.accuracy.adc_range and dac_range), and "
            "leave recalibration and rescaling out."
        )
    with in_evaluation(model):
        return inputs_of(task, model, chosen)


def _examples(task: Task, limit: int | None) -> tuple[Example, ...]:
    examples = tuple(task.test[:limit])
    if not examples:
        raise TaskError(f"task {task.name!r} has no test examples to evaluate on.")
    return examples
