"""cimsim accuracy: a task on the chips of a machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.accuracy_options import Asked, asking
from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    HtmlOption,
    JsonOption,
    MapperOption,
    ReplicateOption,
    SetOption,
    digest,
    machine_of,
    mapper_of,
    refuse_without_effect,
)
from cimsim.cli.outputs import Outcome, finish, reserve, write
from cimsim.cli.progress import counting, progress
from cimsim.cli.streams import emit
from cimsim.errors import TaskError
from cimsim.shelves import WORKLOADS

if TYPE_CHECKING:
    from cimsim.accuracy import Subject, Trials
    from cimsim.ir import Workload
    from cimsim.mappers import Mapper
    from cimsim.mapping import Mapping
    from cimsim.report import Accuracy, AccuracyReport
    from cimsim.spec import Architecture
    from cimsim.tasks import Task, TaskModel


@asking
def accuracy(
    context: typer.Context,
    architecture: ArchitectureArg,
    source: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD|MODEL",
            help="Traced workload (JSON, or a name of `cimsim list`), or minilm, smollm2 or a "
            "model directory.",
            show_default=False,
        ),
    ],
    asked: Asked,
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    replicate: ReplicateOption = None,
    settings: SetOption = None,
    tokens: Annotated[
        int, typer.Option(help="Length that a MODEL is traced with; it moves no weight.")
    ] = 32,
    by_age: Annotated[
        bool,
        typer.Option(
            "--by-age",
            help="Also swap the adapters by the clock: each from the age that it was trained for.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Write accuracy.json and accuracy.png here."
        ),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a task on ARCH over noise draws, noise models and times after programming.

    With several --adapter each is compared with the first, chip by chip; with
    --by-age so is the chip whose adapter is swapped as it ages.
    """
    reserve(context, output)
    from cimsim.studies.accuracy import require_torch

    require_torch()
    machine = machine_of(architecture, settings)
    trials = asked.trials(machine)
    laid = mapper_of(mapper, replicate)
    workload = _workload(source)
    if workload is not None:
        why = "with a traced workload, which has a length of its own: name the model instead"
        refuse_without_effect(context, ("tokens",), why)
    bare = not asked.adapter and (workload is None or workload.adapter is None)
    if bare and adapt is not None and not _holds_bare(adapt):
        why = "on a model as it is: name what was trained with --adapter, or leave it out"
        refuse_without_effect(context, ("adapt",), why)
    chosen = _model_name(source, workload, asked.model)
    ages = _ages(asked.adapter or [], trials) if by_age else []
    with progress() as tell:
        tell(f"loading {chosen}")
        base, data = asked.load(chosen)
        subjects = _subjects(base, asked.adapter or [])
        placed = [_placed(subject, workload, machine, adapt, laid, tokens) for subject in subjects]
    inputs = {
        "architecture_file": architecture.name,
        "architecture_sha256": digest(architecture),
    }
    results = [
        _measured(subject, data, work, mapping, machine, trials)
        for subject, (work, mapping) in zip(subjects, placed, strict=True)
    ]
    results = [one.model_copy(update={"inputs": one.inputs | inputs}) for one in results]
    if by_age:
        from cimsim.accuracy import by_age as taking_turns

        results.append(taking_turns(results, ages))
    report = _report(machine, placed[0][0], results)
    outcome = None if output is None else _write(report, output)
    if html is not None:
        from cimsim.views.pages.measured import save_accuracy_page

        save_accuracy_page(report, machine, html)
    if json:
        emit(report.to_json())
    else:
        from cimsim.cli.tables import print_accuracy

        print_accuracy(report)
    finish(outcome, quiet=json)


def _write(report: AccuracyReport, output: Path) -> Outcome:
    from cimsim.views.accuracy import save_accuracy

    return write(
        output, "accuracy.json", report.save, {"accuracy.png": partial(save_accuracy, report)}
    )


def _workload(source: str) -> Workload | None:
    """The workload file that `source` is, or None for a model."""
    named = source in WORKLOADS.names()
    if not named and not source.endswith(".json") and not Path(source).is_file():
        return None
    from cimsim.ir import load_workload

    return load_workload(WORKLOADS.find(source))


def _holds_bare(adapt: str) -> bool:
    """Whether an adaptation makes any difference to a model without an adapter."""
    from cimsim.adaptation import BaseAlone, Protected, adaptation_named

    return isinstance(adaptation_named(adapt), BaseAlone | Protected)


def _model_name(source: str, workload: Workload | None, model: str | None) -> str:
    if workload is None:
        if model is not None:
            raise TaskError(f"two models were given, {source} and --model {model}: give one.")
        return source
    from cimsim.accuracy.study import model_of

    return model_of(workload, model, Path(source).parent)


def _ages(directories: list[Path], trials: Trials) -> list[float]:
    """The age of each adapter; raises, before anything is measured, where they take no turns."""
    from cimsim.accuracy.ages import check_turns, trained_age_s
    from cimsim.accuracy.study import names_of

    ages = [trained_age_s(path) for path in directories]
    check_turns(names_of(directories), ages, trials.times_s)
    return ages


def _subjects(base: TaskModel, directories: list[Path]) -> list[Subject]:
    """Every adapter by a short name; the bare model without one."""
    from cimsim.accuracy.study import Subject, names_of

    if not directories:
        return [Subject.of(base, None)]
    names = names_of(directories)
    return [Subject.of(base, path, name) for name, path in zip(names, directories, strict=True)]


def _placed(
    subject: Subject,
    workload: Workload | None,
    machine: Architecture,
    adapt: str | None,
    mapper: Mapper,
    tokens: int,
) -> tuple[Workload, Mapping]:
    from cimsim.accuracy.placing import has_adapter, mapping_of, trace_task_model
    from cimsim.adaptation import adaptation_for

    adapted = subject.module if has_adapter(subject.module) else None
    if workload is None:
        workload = trace_task_model(subject.base, adapted, tokens=tokens)
    asked = "none" if adapt is None and adapted is None else adapt
    chosen = adaptation_for(machine, asked)
    return workload, mapping_of(workload, machine, chosen, mapper)


def _measured(
    subject: Subject,
    task: Task,
    workload: Workload,
    mapping: Mapping,
    machine: Architecture,
    trials: Trials,
) -> Accuracy:
    """The section of one adapter, with a progress bar."""
    from cimsim.accuracy import measure

    with counting(f"{task.name} {subject.name or ''}") as tell:
        return measure(subject, task, workload, mapping, machine, trials, progress=tell)


def _report(machine: Architecture, workload: Workload, results: list[Accuracy]) -> AccuracyReport:
    from cimsim.accuracy.section import paired
    from cimsim.report import AccuracyReport

    return AccuracyReport(
        architecture=machine.name,
        workload=workload.name,
        results=tuple(results),
        paired=tuple(line for other in results[1:] for line in paired(results[0], other)),
    )
