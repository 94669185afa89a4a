"""Scenes that stand several times against the groups that they stand for."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crews import lanes, some_kept

from cimsim.engines import run, run_for_ends
from cimsim.engines.critical import critical_path
from cimsim.engines.program import Actor, Get, Hold, Program, Put, Resource, Use, unlimited
from cimsim.engines.scenes import ActorScene, BufferShelf, Groups, ShelfAgain, Stores


def staged(rng: random.Random) -> tuple[Program, Program]:
    """Two random programs, the first of them several times and the other once, in some order.

    With scenes, and written out. All that stand share some of their resources.
    """
    several, once = lanes(rng), lanes(rng)
    times, width = rng.randint(2, 4), len(several.resources)
    at = np.arange(times)
    shared = {n for n in range(width) if rng.random() < 0.4}
    own = {n: n + 0 * at if n in shared else n + width * at for n in range(width)}
    names = tuple("" if time == 0 else f"{time}:" for time in range(times))
    buffers = {n: n + several.buffer_count * at for n in range(several.buffer_count)}
    scene = ActorScene(tuple(several.groups), names, buffers, own)
    begin = times * several.buffer_count
    other = ActorScene(tuple(once.groups), ("",), None, None)
    moved = tuple(_moved(group, begin) for group in other.groups)
    shelf = BufferShelf(tuple(several.stores), "")
    stores = Stores([ShelfAgain(shelf, name) for name in names] + list(once.stores))
    resources = tuple(
        Resource(f"{r.name}{time}", r.servers, r.policy)
        for time in range(times)
        for r in several.resources
    )
    order = [0] * times
    order.insert(rng.randint(0, times), 1)
    groups = Groups([scene, ActorScene(moved)], order)
    program = Program(groups, stores, resources)
    return program, Program(tuple(groups), tuple(stores), resources)


def _moved(group: Any, by: int) -> Any:
    """A group at buffers that are further behind."""
    here = ActorScene((group,), ("", ""), _Behind(by), {n: np.array([n, n]) for n in range(9)})
    return here.standing(1)[0]


class _Behind(dict[int, Any]):
    def __init__(self, by: int) -> None:
        self.by = by

    def __missing__(self, buffer: int) -> Any:
        return np.array([buffer, buffer + self.by])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_scene_is_its_groups(seed: int) -> None:
    rng = random.Random(seed)
    program, plain = staged(rng)
    assert program.stands
    assert not plain.stands
    assert program.describe(999) == plain.describe(999)
    assert (program.actor_count, program.buffer_count) == (plain.actor_count, plain.buffer_count)
    assert len(program.groups) == len(plain.groups)
    for (numbers, sizes), (theirs, others) in zip(program.cast, plain.cast, strict=True):
        assert (numbers.tolist(), sizes.tolist()) == (theirs.tolist(), others.tolist())
    right = run(plain, "simpy")
    for found in (run(program), run(plain)):
        assert found.layout.interval_offset == right.layout.interval_offset
        assert found.start_ps.tolist() == right.start_ps.tolist()
        assert found.end_ps.tolist() == right.end_ps.tolist()
        assert found.iteration_end_ps.tolist() == right.iteration_end_ps.tolist()
    kept = some_kept(program, rng)
    whole, ends = right.ends(kept), run_for_ends(program, kept)
    assert ends.end_ps.tolist() == whole.end_ps.tolist()
    assert ends.working_ps == whole.working_ps
    free, singly = run(unlimited(program)), run(unlimited(plain), "simpy")
    assert free.end_ps.tolist() == singly.end_ps.tolist()
    ours, theirs_too = critical_path(run(program)), critical_path(right)
    for column in ("actor", "iteration", "step", "start_ps", "end_ps", "wait"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs_too, column))


def pair(times: int, *, buffers: Any = None, resources: Any = None) -> Program:
    """A producer and a consumer that stand several times."""
    groups = (Actor("0a", 2, (Hold(3), Put(0))), Actor("0b", 2, (Get(0), Use(0, 5))))
    at = np.arange(times)
    scene = ActorScene(
        groups, tuple(map(str, at)),
        {0: at} if buffers is None else buffers, {0: 0 * at} if resources is None else resources,
    )  # fmt: skip
    shelf = BufferShelf((lanes(random.Random(1)).stores[0],), "")
    stores = Stores([ShelfAgain(shelf, str(n)) for n in range(times)])
    return Program(Groups([scene], [0] * times), stores, (Resource("r"),))


def test_by_hand() -> None:
    """Each of three pairs hands over at 3 and 6; the unit of all serves one after the other."""
    program = pair(3)
    assert [actor.name for actor in program.actors] == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert run(program).makespan_ps == 3 + 6 * 5


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"buffers": {0: np.array([0, 0])}}, "one producing actor allowed, both '0a' and '1a' are"),
        ({"buffers": {0: np.array([0, 7])}}, "buffer index must be within 0..1, got 7"),
        ({"resources": {0: np.array([0, 1])}}, "resource index must be within 0..0, got 1"),
    ],
)
def test_scenes_that_cannot_be(change: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("..", r"\.\.")):
        pair(2, **change)


def test_a_scene_stands_as_often_as_it_has_names() -> None:
    scene = ActorScene((Actor("a", 1, (Hold(1),)),), ("", "1"), {}, {})
    with pytest.raises(ValueError, match="as often as it has names"):
        Groups([scene], [0])
