"""Options that say what a sweep is, and the plan that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cimsim.cli.options import values_of
from cimsim.errors import SpecError
from cimsim.values.parsing import parse_list

if TYPE_CHECKING:
    from cimsim.exploration.plan import LoadedPlan

OF_A_PLAN = (
    "vary", "sample", "seed", "outputs", "accuracy", "adapt", "pipeline", "mapper", "settings",
    "baseline", "prune",
)  # fmt: skip
"""Options that a sweep file takes the place of."""


@dataclass(frozen=True)
class Wanted:
    """The options as they were given."""

    vary: Sequence[str]
    sample: str
    seed: int
    outputs: str | None
    accuracy: str | None
    adapt: str | None
    pipeline: str | None
    mapper: str | None
    settings: list[str] | None
    baseline: Sequence[Path]
    prune: str | None

    def plan(self, architecture: str, workload: str) -> LoadedPlan:
        """The plan of ARCH and WORKLOAD; raises SpecError for what cannot be read.

        Where one of them is varied, it is one of its values.
        """
        from cimsim.exploration.outputs import OUTPUTS
        from cimsim.exploration.plan import LoadedPlan, span_of
        from cimsim.exploration.samplers import parse_sample
        from cimsim.exploration.text import parse_axes

        space = parse_axes(self.vary)
        fixed = {"architecture": architecture, "workload": workload}
        for name, given in list(fixed.items()):
            axis = space.axes.get(name)
            if axis is not None:
                _require_among(name, given, axis)
                del fixed[name]
        sample = parse_sample(self.sample, self.seed)
        outputs = OUTPUTS if self.outputs is None else parse_list(self.outputs, str.strip)
        return LoadedPlan.of({
            **fixed,
            "set": values_of(self.settings),
            "vary": {name: span_of(axis) for name, axis in space.axes.items()},
            "sample": {"method": sample.method, "points": sample.points, "seed": sample.seed},
            "outputs": tuple(outputs),
            "adaptation": self.adapt,
            "pipeline": self.pipeline,
            "mapper": self.mapper,
            "baselines": tuple(map(str, self.baseline)),
            "accuracy": None if self.accuracy is None else _scoring(self.accuracy),
            "prune": () if self.prune is None else _objectives(self.prune),
        })  # fmt: skip


def _require_among(name: str, given: str, axis: Any) -> None:
    values = getattr(axis, "values", ())
    if given not in values:
        raise SpecError(
            f"{name} is varied, and {given} is not among its values: name it first there "
            f"(--vary {name}={given},...)."
        )


def _scoring(text: str) -> dict[str, Any]:
    """TASK:OPTION=VALUE,... as fields of a `Scoring`; raises SpecError."""
    from cimsim.exploration.scoring import scoring_text

    return scoring_text(text).model_dump()


def _objectives(text: str) -> tuple[str, ...]:
    """Objectives in a list with commas; raises CimsimError for what is none."""
    from cimsim.exploration.objectives import parse_objectives

    return tuple(one.text for one in parse_objectives(text))
