"""DaskWorkers: rows of points from the workers of a Dask cluster; the store stays here.

A point whose worker is lost goes to another one. Workers may come and go meanwhile.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cimsim.errors import ClusterError, WorkerError
from cimsim.exploration.cluster.places import WORKERS_S, Given, Place, place_named
from cimsim.exploration.cluster.remote import identity_code, packed, plugin, task
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.points import Point
from cimsim.exploration.rows import Row
from cimsim.values.display import brief, shown

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2
"""Choice: points in flight a worker, so that none waits for the next one to arrive."""
LOOK_S = 1.0
"""Choice: how often the number of workers is asked for."""
_log = logging.getLogger("cimsim")
STORED = "What was stored stays: start again to go on."


def on_dask(at: Any) -> Callable[[Evaluator], DaskWorkers]:
    """What `cimsim.sweep` takes as `executor`: workers of the cluster `at`.

    `at` is an address (`tcp://HOST:PORT`), `local[:N]`, `slurm[:JOBS]`, the file of a scheduler,
    or a cluster object of Dask's. Raises ClusterError for another text.
    """
    place = place_named(at) if isinstance(at, str) else Given(at)
    return lambda evaluate: DaskWorkers(evaluate, place)


@brief
@dataclass(frozen=True, eq=False)
class DaskWorkers:
    """An executor; `evaluate` goes to every worker once, `place` is where they are."""

    evaluate: Evaluator
    place: Place

    def rows(self, points: Iterable[Point]) -> Iterator[Row]:
        """A row of every point as they are done, two points a worker in flight.

        Raises ClusterError where no cluster answers, a worker has another cimsim, or there are no
        workers; WorkerError for a point that workers die with, and where the scheduler is lost.
        """
        remaining = iter(points)
        for first in remaining:  # no cluster for no points
            with self.place.client() as client, _deposited(client, self.evaluate) as name:
                crew = _Crew(client, self.place.patience_s)
                yield from _rows(client, name, crew, self.evaluate, chain([first], remaining))


@contextmanager
def _deposited(client: Client, evaluate: Evaluator) -> Iterator[str]:
    """The name under which every worker has the evaluator."""
    _check_python(client)
    name = f"cimsim-{uuid4().hex}"
    client.register_plugin(plugin(name, evaluate), name=name)
    try:
        yield name
    finally:
        with suppress(Exception):  # a scheduler that is gone has none left
            client.unregister_worker_plugin(name)


def _rows(
    client: Client, name: str, crew: _Crew, evaluate: Evaluator, points: Iterable[Point]
) -> Iterator[Row]:
    done: SimpleQueue[str] = SimpleQueue()
    flying: dict[str, tuple[Future[Any], Point]] = {}
    run = task(name)

    def taken() -> Row:
        future, point = flying.pop(_next(done, crew))
        return _row(future, point)

    try:
        for place, point in enumerate(points):
            key = f"{name}-{place}"
            future = client.submit(run, packed(evaluate, point), key=key, pure=False)
            flying[key] = future, point
            future.add_done_callback(lambda found: done.put(found.key))
            while len(flying) >= crew.room():
                yield taken()
        while flying:
            yield taken()
    finally:
        with suppress(Exception):  # a scheduler that is gone has nothing left
            client.cancel([future for future, _ in flying.values()])


def _next(done: SimpleQueue[str], crew: _Crew) -> str:
    """The key of the next future that is done; looks after the workers meanwhile."""
    while True:
        with suppress(Empty):
            return done.get(timeout=LOOK_S)
        crew.room()


def _row(future: Future[Any], point: Point) -> Row:
    from distributed import KilledWorker

    try:
        found = future.result()
    except KilledWorker:
        raise WorkerError(
            f"one worker after the other died with the point {shown(dict(point.settings))}, as "
            f"they do for want of memory: give workers more of it, or leave it out. {STORED}"
        ) from None
    except CancelledError:
        raise WorkerError(f"the Dask scheduler is lost. {STORED}") from None
    if isinstance(found, Row):
        return found
    raise ClusterError(
        f"a worker has {found}, here is {identity_code()()}: install the same on every machine."
    )


def _check_python(client: Client) -> None:
    """Raise ClusterError where scheduler or workers have another minor version of Python."""
    versions: Any = client.get_versions()
    ours = _minor(versions["client"])
    for who, has in {"scheduler": versions["scheduler"], **versions["workers"]}.items():
        if _minor(has) != ours:
            raise ClusterError(
                f"{who} of the Dask cluster has Python {_minor(has)}, here is {ours}: install the "
                "same on every machine."
            )


def _minor(versions: Any) -> str:
    return ".".join(str(dict(versions["host"])["python"]).split(".")[:2])


@dataclass
class _Crew:
    """The workers: how many there are, asked for now and then, and since when there are none."""

    client: Client
    patience_s: float | None
    count: int = 0
    seen: float = field(default_factory=time.monotonic)
    looked: float = -math.inf
    told: bool = False

    def room(self) -> int:
        """Points that may be in flight; raises WorkerError after too long without a worker."""
        now = time.monotonic()
        if now - self.looked >= LOOK_S:
            self.looked, self.count = now, self._asked()
            self.seen = now if self.count else self.seen
        if self.patience_s is None and now - self.seen > WORKERS_S and not self.told:
            self.told = True
            _log.warning("note: no worker of the Dask cluster is there yet; waiting for one.")
        if self.patience_s is not None and now - self.seen > self.patience_s:
            raise WorkerError(
                f"the Dask cluster has had no workers for {self.patience_s:g} s: start them (dask "
                f"worker ADDRESS). {STORED}"
            )
        return max(1, AHEAD * self.count)

    def _asked(self) -> int:
        with suppress(OSError, CancelledError):  # of a lost scheduler the futures tell
            return len(self.client.nthreads())
        return self.count
