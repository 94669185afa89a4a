"""sweep(): the rows of many points, evaluated once each and stored as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.adaptation import Adaptation
from cimsim.baseline import Gpu
from cimsim.errors import CimsimError, SpecError
from cimsim.exploration.checks import check_keys, check_points, check_space
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor, ManyProcesses, OneProcess, rows_of
from cimsim.exploration.front import Front, front_of
from cimsim.exploration.objectives import Constraint, Objective, parse_objectives
from cimsim.exploration.outputs import ACCURACY, OUTPUTS, needs_accuracy
from cimsim.exploration.points import Base, Point, refused, resolve
from cimsim.exploration.rivals import Leaders, check_bounded
from cimsim.exploration.rows import Row
from cimsim.exploration.samplers import Sampling, parse_sample
from cimsim.exploration.scoring import Scoring, check_scoring, scoring_of
from cimsim.exploration.space import Axis, Choice, Settings, Space
from cimsim.exploration.store import Store, open_store
from cimsim.exploration.tables import Again, json_lines, to_pandas, write_rows
from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.runtime.workers import cores
from cimsim.schedule.pipelines import Auto, Pipeline
from cimsim.shipped import gpu, machine
from cimsim.shipped import workload as workload_named
from cimsim.spec import Architecture
from cimsim.values.arguments import checked, plain
from cimsim.values.display import brief

if TYPE_CHECKING:
    from pandas import DataFrame


@brief
@dataclass
class Reached:
    """How far a sweep is: points of `total`, of which `found` were stored before, `infeasible` do
    not fit, `pruned` were ruled out by their bounds, and `same` are designs that other settings
    make too.
    """

    total: int
    found: int = 0
    done: int = 0
    infeasible: int = 0
    pruned: int = 0
    same: int = 0

    @property
    def points(self) -> int:
        """Those that are through."""
        return self.stored + self.same

    @property
    def stored(self) -> int:
        """Those that have a row."""
        return self.found + self.done + self.infeasible + self.pruned


Tell = Callable[[Reached], None]


@brief
@dataclass(frozen=True, eq=False)
class Sweep:
    """A finished sweep: its rows, in the store that holds them."""

    store: Store = field(repr=False)
    space: Space
    outputs: tuple[str, ...]
    reached: Reached

    @property
    def rows(self) -> list[Row]:
        """The rows of this sweep's points, in their order, one a design."""
        return list(self.each())

    def front(
        self, objectives: Sequence[Objective] | str, require: Sequence[Constraint | str] = ()
    ) -> Front:
        """What no other row of this sweep beats; see `front_of`."""
        return front_of(self.again, objectives, require)

    def each(self) -> Iterator[Row]:
        """As `rows`, one at a time."""
        return self.store.asked()

    @property
    def absent(self) -> tuple[str, ...]:
        """Outputs that no design has: a unit or GPU of another name, most likely."""
        left = set(self.outputs)
        for row in self.each():
            if row.status != "done":
                continue
            left -= {key for key, value in row.values.items() if value is not None}
            if not left:
                return ()
        return tuple(key for key in self.outputs if key in left) if self.reached.points else ()

    @property
    def feasible(self) -> bool:
        """Whether a design is done."""
        return any(row.status == "done" for row in self.each())

    @property
    def again(self) -> Again:
        """As `each`, to be gone through more than once."""
        return Again(self.each)

    def to_pandas(self) -> DataFrame:
        """The rows as a data frame; raises CimsimError without pandas."""
        return to_pandas(self.again)

    def to_json(self) -> str:
        """Counts of points, and the rows."""
        return "".join(self.json_lines())

    def json_lines(self) -> Iterator[str]:
        """As `to_json`, in pieces."""
        points = json.dumps(asdict(self.reached), indent=2).replace("\n", "\n  ")
        yield f'{{\n  "points": {points},\n  "rows": '
        yield from json_lines(self.each(), "  ")
        yield "\n}\n"

    def save(self, path: str | Path) -> None:
        """Write the rows as the ending of the name says: .csv, .parquet or .json.

        Completely or not at all; raises OutputError, SpecError for another ending, CimsimError
        without the packages that Parquet takes.
        """
        write_rows(self.again, path)


@checked(CimsimError)
def sweep(
    workload: Workload | str | Path | None,
    architecture: Architecture | str | Path | None,
    vary: Mapping[str, object] | None = None,
    *,
    points: Sequence[Mapping[str, object]] | None = None,
    sample: Sampling | str = "grid",
    seed: int = 0,
    outputs: Sequence[str] = OUTPUTS,
    adaptation: Adaptation | str | None = None,
    pipeline: Pipeline | Auto | str | None = None,
    mapper: Mapper | str | None = None,
    baselines: Sequence[Gpu | str | Path] = (),
    accuracy: Scoring | Mapping[str, object] | str | None = None,
    folder: Path | None = None,
    store: str | Path | None = None,
    workers: int | None = 1,
    executor: Callable[[Evaluator], Executor] | None = None,
    prune: Sequence[str] | str = (),
    progress: Tell | None = None,
) -> Sweep:
    """Evaluate the points of a space, each once, and keep a row of every one.

    `vary` maps axes to their values: an `Axis`, a list, or one value. An axis is a field path of
    the machine or a name of `cimsim.exploration.points.RESERVED`; a workload or architecture that
    is varied is given as None. `points` are settings one by one, instead. `sample` is `grid`,
    `list`, `random:N`, `lhs:N` or `sobol:N` (see `Sampling`). `outputs` are dotted keys of the JSON
    of a report, and `bound`. `accuracy` is a task that is measured on every design (`Scoring`, its
    fields, or a name); its mean over chips is the output `accuracy`. `folder` is where files that
    axes name are looked for first.

    Rows go into the SQLite file `store` as they come; what is there by the digest of the resolved
    point is not evaluated again. `progress` is called after every point. `workers` processes share
    the points (None: one a core); `executor` makes something else that does.

    With `prune`, a list of objectives such as `latency_s,energy_J`, a point is not run where its
    bounds show before that a row of this sweep beats it in all of them: its row is `pruned`, and
    the front in these objectives is that of a sweep without.

    Points that do not fit are rows with their shortage. Raises, before anything runs, SpecError
    for axes that collide, for a path or an output that is unknown, for a value that no point can
    have, for an objective without bounds, and for a store of something else; OutputError where the
    store cannot be written: what was stored stays.
    """
    sought = parse_objectives(prune) if prune else ()
    check_bounded(sought)
    outputs = tuple(dict.fromkeys((*outputs, *(one.key for one in sought))))
    evaluate = evaluator_of(
        workload, architecture, outputs, adaptation=adaptation, pipeline=pipeline, mapper=mapper,
        baselines=baselines, accuracy=accuracy, folder=folder, store=store,
    )  # fmt: skip
    base = evaluate.base
    chosen = parse_sample(sample, seed) if isinstance(sample, str) else sample
    space, settings, total = _asked(evaluate, vary, points, chosen)
    check_keys(base, space, evaluate.outputs)
    reached = Reached(total)
    kept = open_store(store, {**base.facts, "outputs": ", ".join(evaluate.outputs)})
    try:
        run = executor_of(evaluate, workers, executor)
        leaders = Leaders(sought) if sought else None
        _run(base, settings, run, kept, reached, progress or (lambda _: None), leaders)
    except BaseException:
        kept.close()
        raise
    return Sweep(kept, space, evaluate.outputs, reached)


def axis_of(name: str, given: object) -> Axis:
    """An axis as it is, a list of values, or a single one; raises SpecError, which names it."""
    if isinstance(given, Axis):
        return given
    found = plain(given.tolist() if hasattr(given, "tolist") else given)
    listed = found if isinstance(found, list | tuple | range) else [found]
    try:
        return Choice(tuple(listed))
    except SpecError as problem:
        raise SpecError(f"{name}: {problem}") from None


def evaluator_of(
    workload: Workload | str | Path | None,
    architecture: Architecture | str | Path | None,
    outputs: Sequence[str],
    *,
    adaptation: Adaptation | str | None,
    pipeline: Pipeline | Auto | str | None,
    mapper: Mapper | str | None,
    baselines: Sequence[Gpu | str | Path],
    accuracy: Scoring | Mapping[str, object] | str | None,
    folder: Path | None,
    store: str | Path | None,
) -> Evaluator:
    """What evaluates points of this start, with the accuracy among the outputs if it is measured.

    Takes and raises what `sweep` does.
    """
    base = Base(
        None if workload is None else _workload(workload),
        None if architecture is None else _machine(architecture),
        adaptation, pipeline, mapper, tuple(map(_gpu, baselines)),
        folder, scoring_of(accuracy),
    )  # fmt: skip
    if base.scoring is not None:
        check_scoring(base.scoring, folder)
        outputs = outputs if needs_accuracy(outputs) else (*outputs, ACCURACY)
    return Evaluator(base, outputs, None if store is None else Path(os.path.abspath(store)))


def executor_of(
    evaluate: Evaluator, workers: int | None, make: Callable[[Evaluator], Executor] | None
) -> Executor:
    """What `make` makes, else so many processes (None: one a core)."""
    if make is not None:
        return make(evaluate)
    count = cores() if workers is None else workers
    if count < 1:
        raise CimsimError(f"{count} workers were asked for; at least 1 is needed.")
    return OneProcess(evaluate) if count == 1 else ManyProcesses(evaluate, count)


def _asked(
    evaluate: Evaluator,
    vary: Mapping[str, object] | None,
    points: Sequence[Mapping[str, object]] | None,
    sample: Sampling,
) -> tuple[Space, Iterator[Settings], int]:
    """The space, its points and their number, all checked."""
    if points is not None:
        if vary is not None:
            raise CimsimError("axes and points were given: leave one of them out.")
        listed: list[Settings] = [plain(dict(settings)) for settings in points]
        return check_points(evaluate.base, listed, evaluate.scores), iter(listed), len(listed)
    space = Space({name: axis_of(name, given) for name, given in (vary or {}).items()})
    total = sample.size(space)
    check_space(evaluate.base, space, evaluate.scores)
    return space, sample.settings(space), total


def _run(
    base: Base,
    settings: Iterator[Settings],
    executor: Executor,
    store: Store,
    reached: Reached,
    tell: Tell,
    leaders: Leaders | None,
) -> None:
    def pending() -> Iterator[Point]:
        for each in settings:
            point = point_of(base, each)
            if not store.ask(point.digest, each):
                reached.same += 1
            elif (stored := store.row(point.digest)) is not None and _holds(stored, leaders):
                reached.found += 1
                if leaders is not None:
                    leaders.add(stored)
            elif isinstance(point, Row):
                _keep(point, store, reached)
            else:
                yield point if leaders is None else replace(point, rivals=leaders.now)
                continue
            tell(reached)

    tell(reached)
    with rows_of(executor, pending()) as rows:
        for row in rows:
            _keep(row, store, reached)
            if leaders is not None:
                leaders.add(row)
            tell(reached)


def _holds(stored: Row, leaders: Leaders | None) -> bool:
    """Whether a stored row stands for its point: one that was pruned, if it would be again."""
    if stored.status != "pruned":
        return True
    return leaders is not None and leaders.now.rule_out(stored.bounds)


def point_of(base: Base, settings: Settings) -> Point | Row:
    """The point that settings make; where they make none, the row that says so."""
    try:
        return resolve(base, settings)
    except CimsimError as problem:
        return Row(refused(settings, base), settings, "infeasible", {}, str(problem), 0.0)


def _keep(row: Row, store: Store, reached: Reached) -> None:
    store.add(row)
    if row.status == "done":
        reached.done += 1
    elif row.status == "pruned":
        reached.pruned += 1
    else:
        reached.infeasible += 1


def _workload(given: Workload | str | Path) -> Workload:
    return given if isinstance(given, Workload) else workload_named(given)


def _machine(given: Architecture | str | Path) -> Architecture:
    return given if isinstance(given, Architecture) else machine(given)


def _gpu(given: Gpu | str | Path) -> Gpu:
    return given if isinstance(given, Gpu) else gpu(given)
