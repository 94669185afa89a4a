"""Scenario: many tasks on one machine, the stream of requests for them, and what is compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cimsim.errors import SpecError
from cimsim.files import beside, describe_validation, load_json
from cimsim.ir import Workload
from cimsim.serving.requests import Levelling, Requests, RequestStream, Residency, Trace
from cimsim.shipped import workload
from cimsim.values.arguments import checked
from cimsim.values.bounds import Endurance, Flag, Name, Size, Text
from cimsim.values.display import shown
from cimsim.values.frozen import Frozen

TASKS_MAX = 10_000
"""Choice: most tasks; each pair of tasks that follow each other is priced."""


class ServedTask(Frozen):
    """A task: its name, and its workload where that is not the scenario's."""

    name: Name
    workload: Name | None = Field(default=None, description="path, or name of `cimsim list`")
    rank: Size | None = Field(default=None, description="another rank of its LoRA adapter")


class Scenario(Frozen):
    """A scenario file. Paths of workloads are those from the file's folder.

    A number of tasks in place of their names calls them task-1 and so on. The machine holds
    the pretrained model when the first request comes, or the task `start`.
    """

    format: Literal[1] = 1
    name: Name
    description: Text = ""
    workload: Name = Field(description="path, or name of `cimsim list`")
    tasks: tuple[ServedTask, ...] = Field(min_length=1, max_length=TASKS_MAX)
    requests: Requests
    strategies: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=TASKS_MAX,
        description="adaptations, as --adapt takes them; all that the machine can run if left out",
    )
    residency: Residency | None = Field(
        default=None, description="adapters kept in the buffer; every switch loads if left out"
    )
    levelling: Levelling | None = Field(
        default=None, description="moves of what switches write to other units; none if left out"
    )
    overlap: Flag = Field(
        default=True,
        description="cells of a layer are written as soon as the request before has used them; "
        "else after it has ended, before the next one begins",
    )
    start: Name | None = Field(
        default=None,
        description="task that the machine holds at first; the pretrained model if left out",
    )
    endurances: tuple[Endurance, ...] = Field(
        default=(1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12),
        min_length=1,
        max_length=100,
        description="write pulses that a cell survives, for the lifetimes",
    )  # choice: the span that memristors are reported with, and beyond
    pipeline: Name = Field(default="auto", description="as --pipeline takes it")

    @model_validator(mode="before")
    @classmethod
    def _tasks_named(cls, data: Any) -> Any:
        """A number of tasks, or bare names, as tasks."""
        given = data.get("tasks") if isinstance(data, dict) else None
        if isinstance(given, int) and not isinstance(given, bool):
            if not 0 < given <= TASKS_MAX:
                raise ValueError(f"tasks: 1 to {TASKS_MAX} tasks, got {given}")
            given = [f"task-{number}" for number in range(1, given + 1)]
        if not isinstance(given, list | tuple):
            return data
        named = [{"name": task} if isinstance(task, str) else task for task in given]
        return {**data, "tasks": named}

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        twice = [name for name, n in Counter(t.name for t in self.tasks).items() if n > 1]
        if twice:
            raise ValueError(f"tasks: {twice[0]!r} stands twice: one task has one adapter")
        asked = [("start", self.start)] if self.start is not None else []
        if self.residency is not None:
            asked += [(f"residency.pinned.{i}", n) for i, n in enumerate(self.residency.pinned)]
        if isinstance(self.requests, Trace):
            asked += [(f"requests.trace.{i}", n) for i, (_, n) in enumerate(self.requests.trace)]
        known = set(self.names)
        for field, name in asked:
            if name not in known:
                raise ValueError(
                    f"{field}: {shown(name)} has no adapter, it is none of `tasks`: add it there, "
                    "or name one of them"
                )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.tasks)

    def stream(self) -> RequestStream:
        """The requests, drawn."""
        return self.requests.stream(self.names)

    def workloads(self, folder: Path | None = None) -> tuple[Workload, ...]:
        """The workload of each task, equal ones the same object; paths are those from `folder`.

        Raises WorkloadError for one that cannot be read or has no adapter to change the rank of.
        """
        read: dict[str, Workload] = {}
        made: dict[tuple[str, int | None], Workload] = {}
        for task in self.tasks:
            given = task.workload or self.workload
            if given not in read:
                read[given] = workload(beside(given, folder))
            key = given, task.rank
            if key not in made:
                made[key] = read[given] if task.rank is None else read[given].with_rank(task.rank)
        return tuple(made[task.workload or self.workload, task.rank] for task in self.tasks)


@checked(SpecError)
def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file; raises SpecError naming the file and the field."""
    data = load_json(path, SpecError, "scenario")
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error, Scenario)) from None
