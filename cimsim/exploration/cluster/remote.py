"""What happens on a worker: its cimsim is compared with ours, then it evaluates points.

What is sent is sent as code, not by name, so that a worker with another cimsim, or none, and a
scheduler without one can take it, and say so.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cimsim.errors import ClusterError
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.points import Point
from cimsim.exploration.rows import Row

if TYPE_CHECKING:
    from distributed import Worker, WorkerPlugin

Task = Callable[[bytes], Row | str]
"""From `packed` to a row; to what a worker has installed where that is not what is here."""


def packed(evaluate: Evaluator, point: Point) -> bytes:
    """A point, and the digest of its workload, which a worker may read from a file by its name."""
    return pickle.dumps((point, evaluate.base.digest(point.traced)))


def evaluated(evaluate: Evaluator, payload: bytes) -> Row:
    """The row of what `packed` made; raises ClusterError for another workload by its name."""
    point, workload = pickle.loads(payload)
    if evaluate.base.digest(point.traced) != workload:
        raise ClusterError(
            f"workload {point.traced.workload!r} is another one on a worker than here: give a file "
            "that both read."
        )
    return evaluate(point)


def identity_code() -> Callable[[], str]:
    """A function that tells what cimsim is installed where it runs."""

    def identity() -> str:
        from hashlib import sha256
        from pathlib import Path

        try:
            from cimsim.version import VERSION
            from cimsim.version import __file__ as place
        except ImportError:
            return "no cimsim"
        digest = sha256()
        for path in sorted(Path(str(place)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
        shown = 12  # choice: digits that tell sources apart
        return f"cimsim {VERSION}, sources {digest.hexdigest()[:shown]}"

    return identity


def plugin(name: str, evaluate: Evaluator) -> WorkerPlugin:
    """What every worker gets once, also one that comes later: the evaluator, unread."""
    from distributed import WorkerPlugin

    identity = identity_code()

    class Deposit(WorkerPlugin):
        def __init__(self, name: str, wanted: str, kept: bytes) -> None:
            self.name, self.wanted, self.kept = name, wanted, kept
            self.evaluate: Any = None

        def setup(self, worker: Worker) -> None:
            from threading import Lock

            self.lock = Lock()  # of the threads of a worker one evaluates at a time

        def run(self, payload: bytes) -> Any:
            import pickle

            with self.lock:
                if self.evaluate is None:
                    found = identity()
                    if found != self.wanted:
                        return found
                    self.evaluate = pickle.loads(self.kept)
                from cimsim.exploration.cluster.remote import evaluated

                return evaluated(self.evaluate, payload)

    return Deposit(name, identity(), pickle.dumps(evaluate))


def task(name: str) -> Task:
    """The function that a worker runs for every point."""

    def run(payload: bytes) -> Any:
        from distributed import get_worker

        mine: Any = get_worker().plugins[name]
        return mine.run(payload)

    return run
