"""A search at work: fronts equal brute force, nothing twice, nothing stored again, stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.exploration.front import front_of
from cimsim.exploration.objectives import Constraint, parse_objectives
from cimsim.exploration.points import Point
from cimsim.exploration.proposers import SearchSetup, proposer_named
from cimsim.exploration.rows import Row
from cimsim.exploration.seeking import Progress, SearchStage, Seeker
from cimsim.exploration.space import Choice, Settings, Space
from cimsim.exploration.store import Store, open_store

SPACE = Space({"a": Choice((0, 1, 2, 3)), "b": Choice((0, 1, 2)), "c": Choice(("x", "y"))})
OBJECTIVES = parse_objectives("time,area")


class Designs:
    """Made-up designs of `SPACE`: what they come to, and which points were evaluated."""

    def __init__(self, values: dict[tuple[Any, ...], tuple[float, float] | None]) -> None:
        self.values, self.evaluated = values, list[str]()

    def point(self, at: Settings, stage: str = "") -> Point:
        made = tuple(at.values())
        return cast(Point, _Point(f"{stage}{made}", at))

    def row(self, point: Point, share: float = 1.0) -> Row:
        self.evaluated.append(point.digest)
        found = self.values[tuple(point.settings.values())]
        if found is None:
            return Row(point.digest, point.settings, "infeasible", {}, "too large", 0.0)
        made = {"time": found[0] * share, "area": found[1]}
        return Row(point.digest, point.settings, "done", made, "", 0.0)


class _Point:
    def __init__(self, digest: str, at: Settings) -> None:
        self.digest, self.settings = digest, dict(at)


def drawn(seed: int) -> Designs:
    draw = np.random.default_rng(seed)
    return Designs({
        tuple(at.values()): None if draw.random() < 0.2 else tuple(draw.integers(1, 9, 2) * 1.0)
        for at in SPACE.grid()
    })  # type: ignore[misc]  # fmt: skip


def exact(designs: Designs) -> SearchStage:
    return SearchStage(designs.point, lambda row: dict(row.values), lambda row: row)


def sought(
    designs: Designs, trials: int, store: Store, *, sampler: str = "model", require: str = "",
    cheap: float | None = None, flight: int = 1, seed: int = 0,
) -> Progress:  # fmt: skip
    """Search `designs`; with `cheap` a first stage knows that share of the time, at best."""
    stages = [exact(designs)]
    if cheap is not None:
        hidden: Callable[[Settings], Point] = lambda at: designs.point(at, "cheap ")  # noqa: E731
        stages.insert(0, SearchStage(hidden, lambda row: dict(row.values), lambda row: row))
    reached = Progress(trials)
    seeker = Seeker(
        SPACE, proposer_named(sampler, SearchSetup(SPACE, 2, trials, seed)), stages, OBJECTIVES,
        (Constraint.of(require),) if require else (), store, reached, lambda _: None,
    )  # fmt: skip
    seeker.recall([row for row in store.rows() if not row.digest.startswith("cheap")])
    seeker.run(InFlight(designs, flight, cheap))
    return reached


@dataclass
class InFlight:
    """An executor that takes `flight` points before it gives the row of the last one taken."""

    designs: Designs
    flight: int
    cheap: float | None

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        left, waiting = iter(points), list[Point]()
        while True:
            while len(waiting) < self.flight and (point := next(left, None)) is not None:
                waiting.append(point)
            if not waiting:
                return
            point = waiting.pop()
            is_cheap = self.cheap is not None and point.digest.startswith("cheap")
            yield self.designs.row(point, cast(float, self.cheap) if is_cheap else 1.0)


@given(st.integers(0, 40), st.sampled_from(["model", "random"]))
@settings(max_examples=10, deadline=None)
def test_a_space_is_exhausted_without_a_point_twice(seed: int, sampler: str) -> None:
    designs = drawn(seed)
    with open_store(None, {}) as store:
        reached = sought(designs, 1000, store, sampler=sampler)
        assert sorted(designs.evaluated) == sorted({*designs.evaluated})
        assert len(designs.evaluated) == SPACE.size == reached.points == len(store)
        assert reached.infeasible == sum(found is None for found in designs.values.values())


def test_as_many_designs_as_trials_and_no_more() -> None:
    designs = drawn(1)
    with open_store(None, {}) as store:
        reached = sought(designs, 10, store)
    assert len(designs.evaluated) == reached.points == 10


class Processes:
    """An executor that says when its rows are closed; they are held, so that nothing else does."""

    def __init__(self, designs: Designs) -> None:
        self.designs, self.ended, self.held = designs, False, list[Iterator[Row]]()

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        self.held.append(self._rows(points))
        return self.held[-1]

    def _rows(self, points: Iterable[Point]) -> Iterator[Row]:
        try:
            yield from map(self.designs.row, points)
        finally:
            self.ended = True


def test_whatever_stops_a_search_ends_its_processes() -> None:
    designs = drawn(1)
    executor = Processes(designs)

    def interrupt(reached: Progress) -> None:
        if designs.evaluated:
            raise KeyboardInterrupt

    with open_store(None, {}) as store:
        proposer = proposer_named("random", SearchSetup(SPACE, 2, 10, 0))
        stages, reached = [exact(designs)], Progress(10)
        seeker = Seeker(SPACE, proposer, stages, OBJECTIVES, (), store, reached, interrupt)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            seeker.run(executor)
    assert executor.ended
    assert len(designs.evaluated) == 1


@pytest.mark.parametrize("flight", [1, 5])
def test_a_search_goes_on_with_what_is_stored(flight: int) -> None:
    designs = drawn(2)
    with open_store(None, {}) as store:
        sought(designs, 9, store, flight=flight)
        first = list(designs.evaluated)
        reached = sought(designs, 15, store, flight=flight)
        assert reached.found == 9
        assert len({*designs.evaluated}) == len(designs.evaluated) == 15
        assert designs.evaluated[:9] == first
        again = sought(designs, 15, store, flight=flight)
        assert (again.found, len(designs.evaluated)) == (15, 15)


def test_rows_of_other_spaces_are_left_alone() -> None:
    designs = drawn(3)
    with open_store(None, {}) as store:
        store.add(Row("(9,)", {"a": 9}, "done", {"time": 0.0, "area": 0.0}, "", 0.0))
        assert sought(designs, 8, store).found == 0


@given(st.integers(0, 60), st.sampled_from([0.2, 0.7, 1.0]), st.sampled_from([1, 4]))
@settings(max_examples=15, deadline=None)
def test_stages_leave_no_design_of_the_front_out(seed: int, cheap: float, flight: int) -> None:
    designs, straight = drawn(seed), drawn(seed)
    with open_store(None, {}) as staged, open_store(None, {}) as plain:
        reached = sought(designs, 1000, staged, sampler="random", cheap=cheap, flight=flight)
        sought(straight, 1000, plain, sampler="random")
        rows = [row for row in staged.rows() if not row.digest.startswith("cheap")]
        fronts = [front_of(found, OBJECTIVES) for found in (rows, plain.rows())]
        found = [{str(row.settings) for row in front.rows} for front in fronts]
        assert found[0] == found[1]
        dear = [digest for digest in designs.evaluated if not digest.startswith("cheap")]
        assert len(dear) + reached.spared + reached.infeasible == SPACE.size
    if cheap == 1.0:
        assert reached.spared > 0


def test_a_limit_broken_at_best_spares_the_dear_stage() -> None:
    designs = Designs({tuple(at.values()): (4.0, float(at["a"])) for at in SPACE.grid()})  # type: ignore[arg-type]
    with open_store(None, {}) as store:
        reached = sought(designs, 1000, store, require="area<=1", cheap=0.5)
        dear = [row for row in store.rows() if not row.digest.startswith("cheap")]
        assert {row.settings["a"] for row in dear} <= {0, 1}
        assert reached.spared >= 12


def test_designs_beyond_a_limit_are_rows_and_not_on_the_front() -> None:
    designs = Designs({tuple(at.values()): (4.0, float(at["a"])) for at in SPACE.grid()})  # type: ignore[arg-type]
    with open_store(None, {}) as store:
        reached = sought(designs, 1000, store, require="area>=2")
        assert (reached.beyond, reached.done) == (12, 12)
        front = front_of(store.rows(), OBJECTIVES, ["area>=2"])
        assert {row.settings["a"] for row in front.rows} == {2}


def test_settings_that_make_one_design_are_evaluated_once() -> None:
    designs = drawn(4)
    designs.values = dict.fromkeys(designs.values, (1.0, 2.0))
    designs.point = lambda at, stage="": cast(Point, _Point("one", at))
    with open_store(None, {}) as store:
        sought(designs, 1000, store, flight=6)
        assert designs.evaluated == ["one"]


def test_a_design_left_out_before_its_accuracy_is_learnt_without_figures() -> None:
    designs = Designs({tuple(at.values()): (4.0, float(at["a"])) for at in SPACE.grid()})  # type: ignore[arg-type]
    open_ended = SearchStage(
        lambda at: designs.point(at, "cheap "),
        lambda row: {**row.values, "time": float("-inf")},
        lambda row: row,
    )
    setup = SearchSetup(SPACE, 2, 1000, 0)
    with open_store(None, {}) as store:
        reached = Progress(1000)
        seeker = Seeker(
            SPACE, proposer_named("model", setup), [open_ended, exact(designs)], OBJECTIVES,
            (Constraint.of("area<=1"),), store, reached, lambda _: None,
        )  # fmt: skip
        seeker.run(InFlight(designs, 1, 1.0))
    assert (reached.done, reached.spared) == (12, 12)
