"""with_accuracy(): a report with what a task scores on the chips of the same mapping."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.errors import MappingError, TaskError
from cimsim.report import Report
from cimsim.simulation import Simulation
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.accuracy import Subject, Trials
    from cimsim.tasks import TaskModel
    from cimsim.tasks.load import TaskSource

SAME = ("mapping_sha256", "architecture_content_sha256", "workload_content_sha256")
"""What the inputs of two reports share that are of one workload on one machine, laid out alike."""


@checked(TaskError)
def with_accuracy(
    report: Report,
    simulation: Simulation,
    task: TaskSource,
    model: Subject | TaskModel | str | Path | None = None,
    adapter: str | Path | None = None,
    *,
    trials: Trials | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """`report` with the accuracy of `task` on the mapping that `simulation` made it with.

    `task` is what `cimsim.tasks.load_task` takes, `model` what `load_model` takes, a loaded model,
    or a `Subject` with its adapter; the model that the workload was traced from if left out.
    `adapter` is a directory with what training left. `trials` (`cimsim.accuracy.Trials`) are
    noises, times after programming and chips: those of the machine, at once, on 5 chips if left
    out. The cost of loading this adapter over another is part of the result. `progress` is called
    with the passes done and those to do.

    Raises MappingError where report and simulation, or model and mapping, do not belong together,
    TaskError for task, model and trials that cannot be measured or without torch, and what
    `cimsim.accuracy.evaluate` does.
    """
    require_torch()
    _check_same(report, simulation)
    from cimsim.accuracy import Subject, measure
    from cimsim.accuracy.study import load, model_of

    workload = simulation.workload
    if isinstance(model, Subject):
        if adapter is not None:
            raise TaskError(
                f"an adapter, {adapter}, was given for a subject that is loaded with its own: "
                "leave one of them out."
            )
        subject, (_, data) = model, load(model.base, task)
    else:
        named = (
            model_of(workload, model) if model is None or isinstance(model, str | Path) else model
        )
        base, data = load(named, task)
        subject = Subject.of(base, None if adapter is None else Path(adapter))
    found = measure(
        subject, data, workload, simulation.mapping, simulation.architecture, trials,
        progress=progress,
    )  # fmt: skip
    return report.model_copy(update={"accuracy": found})


def _check_same(report: Report, simulation: Simulation) -> None:
    mine, theirs = report.inputs, simulation.report.inputs
    if differing := [name for name in SAME if mine.get(name) != theirs.get(name)]:
        raise MappingError(
            f"the report is of {report.workload!r} on {report.architecture!r}, the simulation of "
            f"{simulation.report.workload!r} on {simulation.report.architecture!r}, and their "
            f"{', '.join(differing)} differ: give the simulation that made the report."
        )


def require_torch() -> None:
    """Raise TaskError, with the lever, where the packages of the accuracy path are missing."""
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise TaskError(
            "accuracy of whole models needs torch, transformers and peft "
            f"({', '.join(missing)} missing): pip install torch==2.13.0, then pip install "
            "'.[torch]'."
        )
