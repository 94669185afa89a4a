"""What a task scores on the design of a point, measured once for all points that score alike.

The accuracy path reads of a design where its weights are (the mapping with its adaptation) and what
its tiles do to numbers (`cimsim.analog.hardware.Hardware`), and nothing else: no clock, no order of
work, no energy. Points that agree in these, in noise and in seeds, share one measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from cimsim.adaptation import Adaptation, adaptation_of, adaptation_text
from cimsim.errors import MappingError, SpecError, TaskError
from cimsim.exploration.measured import StoredScores, content_of, key_of
from cimsim.files import beside, describe_validation
from cimsim.ir import Workload
from cimsim.mappers import Mapper, build_mapping
from cimsim.mapping import Mapping
from cimsim.report import Accuracy
from cimsim.simulation import Sized
from cimsim.spec import Architecture
from cimsim.studies.accuracy import require_torch
from cimsim.values.bounds import Amount, Count, CountOrNone, Flag, Name
from cimsim.values.codec.grammar import bare, parts_of, word
from cimsim.values.display import brief, shown
from cimsim.values.frozen import Frozen
from cimsim.values.latest import Latest
from cimsim.values.parsing import parse_value

if TYPE_CHECKING:
    from cimsim.accuracy import Subject, Trials
    from cimsim.tasks import Task

KEPT = 4096
"""Choice: measurements that are kept, those used last; one takes a few kilobytes."""


class Scoring(Frozen):
    """A task that is measured on every design, and on which chips (see `cimsim accuracy`)."""

    task: Name = Field(
        description="sentiment, news, ..., a JSON Lines file or a data set, as --task takes it"
    )
    model: Name | None = Field(
        default=None, description="model or its directory; what the workload names if left out"
    )
    adapter: Name | None = Field(default=None, description="directory with what training left")
    noise: Name | None = Field(
        default=None, description="device model, as --noise takes it; the machine's if left out"
    )
    seeds: Count = Field(default=5, description="noise draws: chips programmed anew")
    seed: CountOrNone = Field(default=0, description="seed of the first chip; others follow it")
    time_s: Amount = Field(default=0.0, description="time after programming")
    compensate: Flag = Field(default=False, description="global compensation of drift")
    converters: Flag = Field(default=True, description="false: noise on weights and nothing else")
    limit: Count | None = Field(default=None, description="the first test examples only")

    def trials(self) -> Trials:
        """What is measured on a chip; raises TaskError or SpecError for what cannot be."""
        from cimsim.accuracy import Trials

        return Trials(
            noises=(self.noise,),
            times_s=(self.time_s,),
            seeds=tuple(range(self.seed, self.seed + self.seeds)),
            compensate=self.compensate,
            converters=self.converters,
            limit=self.limit,
        )

    def told(self) -> str:
        """What it measures, in a line."""
        return ", ".join(f"{key} {value}" for key, value in self if value not in (None, False))


@dataclass(frozen=True, eq=False)
class Mapped:
    """What decides where the weights of a design are."""

    workload: Workload
    architecture: Architecture
    adaptation: Adaptation
    mapper: Mapper

    def mapping(self) -> Mapping:
        """Where they are; raises MappingError, or CapacityError where there is no room."""
        adapted = self.adaptation.apply(self.workload)
        return build_mapping(adapted, self.architecture, self.adaptation, self.mapper)


@brief
class Scores:
    """Measurements by what they depend on; models, tasks and adapters are loaded once.

    Paths are those from `folder` where they are there, else from the current one. With `kept`
    other processes, and those that go on later, share what was measured.
    """

    def __init__(self, folder: Path | None, kept: StoredScores | None = None) -> None:
        self.folder, self.kept = folder, kept
        self.measured = 0
        self._contents: dict[str, str] = {}
        self._subjects: dict[tuple[str, str, str | None], tuple[Subject, Task]] = {}
        self._found: Latest[Accuracy] = Latest(KEPT)

    def of(self, done: Sized, asked: Scoring) -> Accuracy:
        """The accuracy of a finished simulation; raises what `with_accuracy` does."""
        key = self._key(done, asked)
        return self._found.get(key, lambda: self._shared(key, done, asked))

    def check(self, job: Mapped, asked: Scoring) -> None:
        """Raise, before anything runs, what `of` would raise of what can be known by then.

        Model, task and adapter are loaded, and held against the mapping that the job has. Raises
        TaskError, SpecError or MappingError; CapacityError where the mapping does not fit.
        """
        from cimsim.accuracy.study import check_subject, model_of
        from cimsim.analog.hardware import hardware_of

        hardware_of(job.architecture, asked.noise)
        model = model_of(job.workload, asked.model, self.folder)
        subject, _ = self._loaded(self._path(model), self._source(asked.task), asked.adapter)
        mapping = job.mapping()
        try:
            check_subject(subject, job.workload, mapping)
        except MappingError as problem:
            raise MappingError(
                f"{asked.task} cannot be measured on {job.workload.name!r}: {problem} An accuracy "
                "is that of the workload's own model: leave out `model` or name the one it was "
                "traced from, or measure in a sweep of its own over the same axes."
            ) from None

    def _key(self, done: Sized, asked: Scoring) -> str:
        from cimsim.accuracy.study import model_of
        from cimsim.analog.hardware import hardware_of
        from cimsim.tasks.tables import MARK

        tiles = hardware_of(done.architecture, asked.noise)
        adaptation = adaptation_text(adaptation_of(done.mapping))
        model = model_of(done.workload, asked.model, self.folder)
        task = asked.task.partition(MARK)[0]
        files = [self._content(name) for name in (model, task, asked.adapter)]
        scored = done.workload.digest(), done.mapping.digest(), adaptation, tiles
        return key_of(asked.model_dump_json(), model, *files, *scored)

    def _content(self, name: str | None) -> str:
        """The digest of the files that a name stands for, "" where it is none of files."""
        if name is not None and name not in self._contents:
            self._contents[name] = content_of(self._path(name))
        return "" if name is None else self._contents[name]

    def _shared(self, key: str, done: Sized, asked: Scoring) -> Accuracy:
        known = None if self.kept is None else self.kept.get(key)
        if known is not None:
            return known
        found = self._measure(done, asked)
        if self.kept is not None:
            self.kept.add(key, found)
        return found

    def _measure(self, done: Sized, asked: Scoring) -> Accuracy:
        from cimsim.accuracy import measure
        from cimsim.accuracy.study import model_of

        model = model_of(done.workload, asked.model, self.folder)
        subject, task = self._loaded(self._path(model), self._source(asked.task), asked.adapter)
        found = measure(
            subject, task, done.workload, done.mapping, done.architecture, asked.trials()
        )
        self.measured += 1
        return found

    def _loaded(self, model: str, task: str, adapter: str | None) -> tuple[Subject, Task]:
        from cimsim.accuracy import Subject
        from cimsim.accuracy.study import load

        key = model, task, adapter
        if key not in self._subjects:
            base, data = load(model, task)
            directory = None if adapter is None else Path(self._path(adapter))
            self._subjects[key] = Subject.of(base, directory), data
        return self._subjects[key]

    def _source(self, task: str) -> str:
        """A task by name, or its file or data set, with what is said about its columns."""
        from cimsim.tasks.tables import MARK

        path, mark, columns = task.partition(MARK)
        return f"{self._path(path)}{mark}{columns}"

    def _path(self, name: str) -> str:
        return str(beside(name, self.folder, Path.exists))


def check_scoring(asked: Scoring, folder: Path | None) -> None:
    """Raise, before anything runs, what is wrong with a measurement that can be known then."""
    require_torch()
    asked.trials()
    if asked.adapter is not None:
        places = [Path(asked.adapter), *([] if folder is None else [folder / asked.adapter])]
        if not any(place.is_dir() for place in places):
            raise TaskError(f"{asked.adapter}: there is no such directory with an adapter.")


def scoring_text(text: str) -> Scoring:
    """The measurement that TASK or TASK:OPTION=VALUE,... names; raises SpecError."""
    kinds = {name: field.annotation for name, field in Scoring.model_fields.items()}
    try:
        task, pairs = parts_of(text)
        given: dict[str, Any] = {"task": task}
        for option, value in pairs:
            if option not in kinds or option == "task" or option in given:
                known = ", ".join(name for name in kinds if name != "task")
                raise SpecError(f"accuracy {shown(text)}: options are {known}, once each.")
            given[option] = bare(word(value)) if kinds[option] == Name | None else _value(value)
        return Scoring.model_validate(given)
    except ValidationError as error:
        raise SpecError(describe_validation("accuracy", error, Scoring)) from None
    except ValueError as problem:
        raise SpecError(f"accuracy {shown(text)}: {problem}.") from None


def _value(text: str) -> object:
    found = parse_value(text)
    return {"yes": True, "no": False}.get(found, found) if isinstance(found, str) else found


def scoring_of(given: Any) -> Scoring | None:
    """A measurement as it is, a task's name, or fields; None for None."""
    if given is None or isinstance(given, Scoring):
        return given
    try:
        return Scoring.model_validate({"task": given} if isinstance(given, str) else dict(given))
    except ValidationError as error:
        raise SpecError(describe_validation("accuracy", error, Scoring)) from None
