"""A study: one task model with its adapter on a mapping, from files and settings to the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from cimsim.accuracy.evaluate import check_settings, evaluate
from cimsim.accuracy.noises import with_sigmas
from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.accuracy.section import Named, section
from cimsim.analog.hardware import hardware_of
from cimsim.errors import TaskError
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.noise import Device, device_of
from cimsim.report import Accuracy, Reprogramming
from cimsim.spec import Architecture
from cimsim.training import load_trained
from cimsim.training.adapters import MODEL_FILE, weights_file
from cimsim.training.record import digest_of_examples, digest_of_weights
from cimsim.values.arguments import checked
from cimsim.values.display import brief
from cimsim.values.history import settings_made
from cimsim.version import VERSION

if TYPE_CHECKING:
    from cimsim.tasks import Task, TaskModel

Progress = Callable[[int, int], None]


@brief
@dataclass(frozen=True)
class Trials:
    """What is varied and how it is measured; see `evaluate`. Bits of None: the machine's own."""

    noises: tuple[Device | str | None, ...] = (None,)
    times_s: tuple[float, ...] = (0.0,)
    seeds: int = 5
    compensate: bool | Literal["both"] = False
    converters: bool = True
    dac_bits: int | None = None
    adc_bits: int | None = None
    limit: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        check_settings(self.devices, self.times_s, self.seeds, self.limit, self.workers)
        if not self.converters and (self.dac_bits, self.adc_bits) != (None, None):
            raise TaskError(
                "bits of converters were given for noise on weights only, without converters: "
                "leave one of them out."
            )

    @property
    def devices(self) -> tuple[Device | None, ...]:
        """The noises as models; None stands for the machine's own."""
        return tuple(None if noise is None else device_of(noise) for noise in self.noises)


def with_sigmas_of(
    machine: Architecture, noises: Sequence[Device | None], sigmas: Sequence[float]
) -> tuple[Device, ...]:
    """The one noise of `noises`, or the machine's own, with other sigmas."""
    if len(noises) != 1:
        raise TaskError(f"sigmas vary one noise model, {len(noises)} were given: name one.")
    return tuple(with_sigmas(noises[0] or hardware_of(machine).device, sigmas))


@brief
@dataclass(frozen=True, eq=False)
class Subject:
    """A task model as it is to be measured: bare, with an adapter, or trained as a whole."""

    base: TaskModel
    module: nn.Module
    directory: Path | None = None

    @staticmethod
    def of(base: TaskModel, directory: Path | None) -> Subject:
        """What training left in `directory`, or the bare model; raises TaskError."""
        module = base.module if directory is None else load_trained(base, directory)
        return Subject(base, module, directory)

    @property
    def whole(self) -> bool:
        """Whether all weights are others, so that loading it programs every cell."""
        return self.directory is not None and weights_file(self.directory).name == MODEL_FILE

    def digests(self) -> dict[str, str | int]:
        """What identifies the weights."""
        found: dict[str, str | int] = {"model_sha256": digest_of_weights(self.base.module)}
        if self.directory is not None:
            found["adapter_sha256"] = hashlib.sha256(
                weights_file(self.directory).read_bytes()
            ).hexdigest()
        return found


@checked(TaskError)
def measure(
    subject: Subject,
    task: Task,
    workload: Workload,
    mapping: Mapping,
    machine: Architecture,
    settings: Trials,
    *,
    reload: Reprogramming,
    name: str | None = None,
    progress: Progress | None = None,
) -> Accuracy:
    """The accuracy section of `subject` on `mapping`; `name` is what to call its adapter.

    `reload` is what it costs to put the subject in place of another one: a switch of adapter, or
    where it is `whole` the first programming (`cimsim.report.writes`).

    Raises what `evaluate` does, and MappingError where adapter and workload do not agree.
    """
    model = as_mapped(subject.module, mapping)
    check_adapter(workload, mapping, subject.module)
    found = evaluate(
        task,
        model,
        mapping,
        machine,
        noises=settings.devices,
        times_s=settings.times_s,
        seeds=settings.seeds,
        compensate=settings.compensate,
        converters=settings.converters,
        limit=settings.limit,
        workers=settings.workers,
        progress=progress,
        **_converters(machine, settings),
    )
    inputs = subject.digests() | {
        "workload": workload.name,
        "mapping_sha256": mapping.digest(),
        "test_sha256": digest_of_examples(task.test[: found.examples]),
        "version": VERSION,
        **settings_made(machine),
    }
    named = Named(
        subject.base.name, subject.base.note, name, inputs,
        settings.converters, settings.dac_bits, settings.adc_bits,
    )  # fmt: skip
    return section(found, named, reload)


def _converters(machine: Architecture, settings: Trials) -> dict[str, Any]:
    """DAC and ADC of other bits; a DAC's pulses stay as wide as they are."""
    if settings.dac_bits is None and settings.adc_bits is None:
        return {}
    hardware = hardware_of(machine, settings.devices[0] if settings.devices else None)
    dac, adc = hardware.dac, hardware.adc
    if settings.dac_bits is not None:
        pulse = dac.pulse_bits and min(dac.pulse_bits, settings.dac_bits)
        dac = replace(dac, bits=settings.dac_bits, pulse_bits=pulse)
    if settings.adc_bits is not None:
        adc = replace(adc, bits=settings.adc_bits)
    return {"dac": dac, "adc": adc}


def names_of(directories: Sequence[Path]) -> list[str]:
    """Short names of adapters: of the folder, with the folder above where two are called alike."""
    names = [path.resolve().name for path in directories]
    if len(set(names)) == len(names):
        return names
    longer = ["/".join(path.resolve().parts[-2:]) for path in directories]
    if len(set(longer)) < len(longer):
        raise TaskError(f"adapters cannot be told apart by name: {', '.join(longer)}.")
    return longer
