"""A study: one task model with its adapter on a mapping, from files and settings to the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cimsim.accuracy.evaluate import evaluate, protected_for
from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.accuracy.section import Named, section
from cimsim.accuracy.trials import Trials
from cimsim.errors import TaskError
from cimsim.frontend.dora import with_folded_dora
from cimsim.functional.sites import check_layers, find_sites
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.report import Accuracy
from cimsim.report.recalibration import recalibration
from cimsim.report.writes import adapter_switch, whole_reload
from cimsim.spec import Architecture
from cimsim.tasks import Task, TaskModel, label_count, load_model, load_task
from cimsim.tasks.load import TaskSource
from cimsim.training import load_trained
from cimsim.training.adapters import MODEL_FILE, weights_file
from cimsim.training.record import digest_of_examples, digest_of_weights
from cimsim.values.arguments import checked
from cimsim.values.display import brief
from cimsim.values.history import settings_made
from cimsim.version import VERSION

Progress = Callable[[int, int], None]


@brief
@dataclass(frozen=True, eq=False)
class Subject:
    """A task model as it is to be measured: bare, with an adapter, or trained as a whole.

    `name` is what reports call what training left in `directory`.
    """

    base: TaskModel
    module: nn.Module
    directory: Path | None = None
    name: str | None = None

    @staticmethod
    def of(base: TaskModel, directory: Path | None, name: str | None = None) -> Subject:
        """What training left in `directory`, or the bare model; raises TaskError.

        The name is that of the directory if left out.
        """
        if directory is None:
            return Subject(base, base.module)
        return Subject(
            base, load_trained(base, directory), directory, name or directory.resolve().name
        )

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


def model_of(
    workload: Workload, model: str | Path | None = None, folder: Path | None = None
) -> str:
    """The model whose weights belong to `workload`: `model`, or the one it was traced from.

    A directory that it was traced from is looked for as it was written, then in `folder`, that of
    the workload's file. Raises TaskError where neither says which.
    """
    found = model or workload.origin.get("model")
    if found is None:
        raise TaskError(
            f"workload {workload.name!r} does not say which model it was traced from: give the "
            "model (--model): minilm, smollm2 or a model directory."
        )
    if model is None and folder is not None and not Path(str(found)).is_dir():
        beside = folder / str(found)
        return str(beside if beside.is_dir() else found)
    return str(found)


def load(
    model: TaskModel | str | Path, task: TaskSource, scoring: str = "likelihood"
) -> tuple[TaskModel, Task]:
    """A model with as many labels as the task has, and the task; what is loaded stays as it is."""
    if not isinstance(model, TaskModel):
        labels = label_count(task) if isinstance(task, str | Path) else None
        model = load_model(str(model)) if labels is None else load_model(str(model), labels=labels)
    return model, load_task(task, model, scoring)


def check_subject(subject: Subject, workload: Workload, mapping: Mapping) -> None:
    """Raise, before anything is measured, what `measure` would where they are of other layers."""
    module = as_mapped(subject.module, mapping)
    check_adapter(workload, mapping, subject.module)
    check_layers(find_sites(with_folded_dora(module)), mapping)


@checked(TaskError)
def measure(
    subject: Subject,
    task: Task,
    workload: Workload,
    mapping: Mapping,
    machine: Architecture,
    trials: Trials | None = None,
    *,
    progress: Progress | None = None,
) -> Accuracy:
    """The accuracy section of `subject` on `mapping`, with what it costs to load it.

    Raises what `evaluate` does, and MappingError where adapter and workload do not agree.
    """
    trials = trials or Trials()
    module = as_mapped(subject.module, mapping)
    check_adapter(workload, mapping, subject.module)
    module = protected_for(task, module, mapping, workload)
    found = evaluate(task, module, mapping, machine, trials, progress=progress)
    inputs = subject.digests() | {
        "workload": workload.name,
        "mapping_sha256": mapping.digest(),
        "test_sha256": digest_of_examples(task.test[: found.examples]),
        "version": VERSION,
        **settings_made(machine),
        **({} if trials.precision is None else {"precision": trials.precision}),
    }
    named = Named(
        subject.base.name, subject.base.note, subject.name, inputs,
        trials.converters, trials.dac_bits,
        recalibration(machine, mapping, found.recalibrated_on) if trials.recalibrate else None,
    )  # fmt: skip
    reload = (
        whole_reload(machine, mapping)
        if subject.whole
        else adapter_switch(workload, machine, mapping)
    )
    return section(found, named, reload)


def names_of(directories: Sequence[Path]) -> list[str]:
    """Short names of adapters: of the folder, with the folder above where two are called alike."""
    names = [path.resolve().name for path in directories]
    if len(set(names)) == len(names):
        return names
    longer = ["/".join(path.resolve().parts[-2:]) for path in directories]
    if len(set(longer)) < len(longer):
        raise TaskError(f"adapters cannot be told apart by name: {', '.join(longer)}.")
    return longer
