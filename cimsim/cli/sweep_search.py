"""What cimsim sweep --optimize asks for, and what it shows of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cimsim.cli.front import print_front
from cimsim.cli.sheet import show
from cimsim.cli.streams import emit, say
from cimsim.cli.sweep_tables import write_table
from cimsim.errors import CimsimError
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor
from cimsim.exploration.optimize import FrontSearch, optimize
from cimsim.exploration.plan import LoadedPlan
from cimsim.exploration.sweep import Reached
from cimsim.exploration.tables import Again

OF_A_SEARCH = ("trials", "sampler", "require")
"""Options that a search alone has."""
SHOWN = 20
"""Choice: designs of the front that are printed; --json and `cimsim front` have all."""


@dataclass(frozen=True)
class Sought:
    """The options of a search as they were given."""

    objectives: str
    trials: int | None
    sampler: str
    require: tuple[str, ...]

    def run(
        self, plan: LoadedPlan, store: Path | None, workers: int | None,
        executor: Callable[[Evaluator], Executor] | None, tell: Callable[[Reached], None],
    ) -> FrontSearch:  # fmt: skip
        """Search what a plan varies; raises CimsimError without trials or for a list of points."""
        if self.trials is None:
            raise CimsimError("how many designs may a search evaluate? Say it: --trials 200.")
        given = plan.arguments()
        points, sample = given.pop("points"), given.pop("sample")
        given.pop("prune")  # a search leaves out what is beaten in any case
        if points is not None:
            raise CimsimError("a list of points is not searched: vary axes (--vary, `vary`).")
        return optimize(
            given.pop("workload"), given.pop("architecture"), given.pop("vary") or {},
            self.objectives, trials=self.trials, sampler=self.sampler, require=self.require,
            seed=sample.seed, store=store, workers=workers, executor=executor,
            progress=tell, **given,
        )  # fmt: skip


def show_search(found: FrontSearch, to: str | None, output: Path | None, *, json: bool) -> None:
    """Counts and the front, or JSON; all rows where a table of them was asked for."""
    if output is not None or to is not None:
        write_table(Again(found.store.rows), to, output)
        if to is not None and output is None:
            return
        say(f"wrote {len(found.store)} rows to {output}")
    if json:
        emit(found.to_json())
        return
    from cimsim.views.front.scene import scene_of

    show(found.told)
    print_front(found.front, scene_of(found.front, found.store.study), SHOWN)
