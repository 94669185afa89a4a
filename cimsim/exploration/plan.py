"""A sweep as a file: what is fixed, what is varied, and what is kept of every point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError

from cimsim import shelves, shipped
from cimsim.errors import SpecError
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor
from cimsim.exploration.outputs import OUTPUTS
from cimsim.exploration.samplers import Method, Sampling
from cimsim.exploration.scoring import Scoring
from cimsim.exploration.space import Axis, Choice, Range
from cimsim.exploration.sweep import Sweep, Tell, sweep
from cimsim.files import beside, describe_validation, load_json
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.bounds import ITEMS_MAX, Count, CountOrNone, Flag, Name, Number, Text
from cimsim.values.display import brief
from cimsim.values.frozen import Frozen


class Span(Frozen):
    """Numbers from low to high, both included: any, whole ones, or those of a step."""

    low: Number
    high: Number
    whole: Flag = False
    step: Number | None = None
    log: Flag = Field(default=False, description="drawn evenly in the logarithm")

    def axis(self) -> Range:
        """The same as an axis; raises SpecError."""
        return Range(self.low, self.high, self.whole, self.step, self.log)


class Draw(Frozen):
    """Which points are taken: `grid` and `list` (values side by side) all, the others `points`."""

    method: Method = "grid"
    points: Count | None = None
    seed: CountOrNone = 0


class SweepPlan(Frozen):
    """A sweep file. Paths in it are those from its folder, names those of `cimsim list`."""

    format: Literal[1] = 1
    name: Name | None = None
    description: Text = ""
    workload: Name | None = Field(default=None, description="left out where it is varied")
    architecture: Name | None = Field(default=None, description="left out where it is varied")
    set: dict[Name, JsonValue] = Field(
        default_factory=dict, description="field path -> value: the machine that points start from"
    )
    vary: dict[Name, Annotated[list[JsonValue], Field(max_length=ITEMS_MAX)] | Span] | None = Field(
        default=None, description="axis -> its values, or the range of its numbers"
    )
    points: tuple[dict[Name, JsonValue], ...] | None = Field(
        default=None, max_length=ITEMS_MAX, description="settings one by one, in place of `vary`"
    )
    sample: Draw = Draw()
    outputs: tuple[Name, ...] = Field(
        default=OUTPUTS, description="dotted keys of a report's JSON, and `bound`"
    )
    adaptation: Name | None = Field(default=None, description="as --adapt takes it")
    pipeline: Name | None = Field(default=None, description="as --pipeline takes it")
    mapper: Name | None = Field(default=None, description="as --mapper takes it")
    baselines: tuple[Name, ...] = Field(default=(), description="GPUs beside every point")
    accuracy: Scoring | None = None
    prune: tuple[Name, ...] = Field(
        default=(), description="objectives: points that a row beats in all of them are not run"
    )

    def axes(self) -> dict[str, Axis] | None:
        """What is varied; raises SpecError, which names the axis."""
        if self.vary is None:
            return None
        return {name: _axis(name, given) for name, given in self.vary.items()}


@brief
@dataclass(frozen=True)
class LoadedPlan:
    """A plan, and the folder that its paths are from; None for the current one."""

    plan: SweepPlan
    folder: Path | None = None

    @staticmethod
    def of(content: dict[str, Any]) -> LoadedPlan:
        """A plan of the current folder; raises SpecError for what no sweep file may hold."""
        try:
            return LoadedPlan(SweepPlan.model_validate(content))
        except ValidationError as error:
            raise SpecError(describe_validation("sweep", error, SweepPlan)) from None

    def run(
        self,
        *,
        store: str | Path | None = None,
        workers: int | None = 1,
        executor: Callable[[Evaluator], Executor] | None = None,
        progress: Tell | None = None,
    ) -> Sweep:
        """The rows of the plan's points; takes and raises what `sweep` does."""
        return sweep(
            **self.arguments(), store=store, workers=workers, executor=executor, progress=progress
        )

    def arguments(self) -> dict[str, Any]:
        """What `sweep` is given, but for where and how it runs; files are read."""
        plan = self.plan
        machine = self._machine()
        sample = plan.sample
        return {
            "workload": plan.workload and shipped.workload(beside(plan.workload, self.folder)),
            "architecture": machine,
            "vary": plan.axes(),
            "points": plan.points,
            "sample": Sampling(sample.method, sample.points, sample.seed),
            "outputs": plan.outputs,
            "adaptation": plan.adaptation,
            "pipeline": plan.pipeline,
            "mapper": plan.mapper,
            "baselines": tuple(
                shelves.GPUS.find(beside(name, self.folder)) for name in plan.baselines
            ),
            "accuracy": plan.accuracy,
            "prune": plan.prune,
            "folder": self.folder,
        }

    def _machine(self) -> Architecture | None:
        plan, given = self.plan, self.plan.architecture
        machine = None if given is None else shipped.machine(beside(given, self.folder))
        if not plan.set:
            return machine
        if machine is None:
            raise SpecError("values are set, but the architecture is varied: vary them too.")
        if twice := sorted({*plan.set} & {*(plan.vary or {})}):
            raise SpecError(f"{', '.join(twice)}: set and varied; leave one of them out.")
        return machine.with_values(plan.set, "set in the sweep")  # type: ignore[arg-type]


@checked(SpecError)
def load_sweep(path: str | Path) -> LoadedPlan:
    """Read a sweep file; raises SpecError naming the file and the field."""
    data = load_json(path, SpecError, "sweep")
    try:
        return LoadedPlan(SweepPlan.model_validate(data), Path(path).parent)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error, SweepPlan)) from None


def span_of(axis: Axis) -> list[Any] | Span:
    """What a plan holds of an axis."""
    if isinstance(axis, Choice):
        return list(axis.values)
    return Span(low=axis.low, high=axis.high, whole=axis.whole, step=axis.step, log=axis.log)


def _axis(name: str, given: list[JsonValue] | Span) -> Axis:
    try:
        return given.axis() if isinstance(given, Span) else Choice(tuple(given))  # type: ignore[arg-type]
    except SpecError as problem:
        raise SpecError(f"vary.{name}: {problem}") from None
