"""The model on noisy tiles as a function of the training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cimsim.adaptation import Protected
from cimsim.errors import TaskError
from cimsim.functional import AnalogModel, Redraw, hardware_of, program_chip, protected
from cimsim.functional.mode import learning
from cimsim.functional.padding import by_name
from cimsim.ir import Workload
from cimsim.mapping import Mapping as WeightMapping
from cimsim.noise import Device, Gaussian
from cimsim.spec import Architecture
from cimsim.tasks.task import Example, Task
from cimsim.training.parts import Injection
from cimsim.values.arguments import checked
from cimsim.values.display import brief

LEVELS = 16
"""Steps in which a ramp raises sigma; each needs the weights laid out again."""


def ramp_level(step: int, steps: int, ramp: float) -> int:
    """How many sixteenths of the full sigma `step` of `steps` sees."""
    span = ramp * steps
    return LEVELS if step >= span else int(LEVELS * step / span)


def at_level(noise: Device, level: int) -> Device:
    """`noise` with `level` sixteenths of its sigma."""
    if level == LEVELS:
        return noise
    assert isinstance(noise, Gaussian)
    share = level / LEVELS
    return replace(
        noise, sigma_ratio=noise.sigma_ratio * share, sigma_uS=noise.sigma_uS * share
    )  # fmt: skip


@brief
@dataclass
class NoisyModel:
    """`model` on the chip of `mapping`, sharing its parameters, noise as `injection` says.

    What a step sees depends on the seed and on the step alone. Converter ranges that have to be
    calibrated are so once, on `samples` and the weights that `model` has when this is made.
    """

    model: nn.Module
    injection: Injection
    mapping: WeightMapping
    architecture: Architecture
    seed: int
    steps: int
    samples: Mapping[str, Any]
    workload: Workload | None = None

    def __post_init__(self) -> None:
        self._protect()
        hardware = hardware_of(self.architecture, self.injection.noise)
        adc, coding = hardware.adc, hardware.coding
        if self.injection.adc_noise is not None:
            adc = replace(adc, noise_ratio=self.injection.adc_noise)
        if self.injection.clip_sigma is not None:
            coding = replace(coding, clip_sigma=self.injection.clip_sigma, clip_percentile=None)
        self._hardware = replace(hardware, adc=adc, coding=coding)
        self._needs_samples = self.injection.converters and hardware.needs_samples
        self._level = ramp_level(0, self.steps, self.injection.ramp)
        self._now = self._build(self._level, None)

    def _protect(self) -> None:
        """Run the model as `protected` does, where the mapping was made with it."""
        adaptation = self.mapping.adaptation
        if not isinstance(adaptation, Protected) or not adaptation.changes:
            return
        if self.workload is None:
            raise TaskError(
                "a model that is mapped with protected is trained as its workload says what reads "
                "what: give the workload that was mapped."
            )
        self.model = protected(
            self.model, self.mapping, self.workload, self.samples, trainable=True
        )

    def at(self, step: int) -> AnalogModel:
        """The model of `step`, in training mode."""
        level = ramp_level(step, self.steps, self.injection.ramp)
        if level != self._level:
            self._level, self._now = level, self._build(level, self._now)
        # HaLoRA, Algorithm 1: step 0 has the first draw to itself, and a step that redraws has run
        # its forward pass before: draw ceil(step / redraw_every).
        self._now.seek(step + self.injection.redraw_every - 1)
        return self._now

    def _build(self, level: int, before: AnalogModel | None) -> AnalogModel:
        hardware = replace(self._hardware, device=at_level(self.injection.noise, level))
        chip = program_chip(self.model, self.mapping, self.architecture, hardware, self.seed)
        first = self._needs_samples and before is None
        noisy = chip.at(
            self.injection.age_s,
            compensate=self.injection.compensate,
            path="torch",
            redraw=Redraw(self.injection.redraw_every),
            converters=self.injection.converters,
            ranges_of=before if self._needs_samples else None,
            samples=self.samples if first else None,
        )
        learning(noisy)
        return noisy


@checked(TaskError)
def inputs_of(task: Task, model: nn.Module, examples: Sequence[Example]) -> dict[str, Any]:
    """The arguments, by name, with which `task` calls `model` first to score `examples`.

    Raises TaskError for a task that never calls it.
    """
    seen: list[dict[str, Any]] = []

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not seen:
            seen.append(by_name(model, args, kwargs))

    hook = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        task.scores(model, examples)
    finally:
        hook.remove()
    if not seen:
        raise TaskError(f"task {task.name!r} scores examples without calling the model.")
    return seen[0]
