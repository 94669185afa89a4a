"""A workload with fewer of its equal layers and one decode step, to try schedules on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cimsim.ir import Linear, Op, Phase, Workload
from cimsim.search.repeats import CACHE, Repeat, repeats


@dataclass(frozen=True, slots=True)
class Sample:
    """A shorter `workload`; `layers` of it are left of the `of` that repeat.

    `steps` are those of each phase of the whole workload, of which one is left.
    """

    workload: Workload
    layers: int
    of: int
    steps: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.layers == self.of and max(self.steps) == 1


def samples(workload: Workload, kept: Sequence[int]) -> list[Sample]:
    """`workload` with each number of layers `kept`, or one with all where none repeat that often.

    A decode step that is kept is the middle one, with its real context.
    """
    steps = tuple(phase.steps for phase in workload.phases)
    runs = [run for run in repeats(workload) if len(run.layers) > max(kept)]
    of = sum(len(run.layers) for run in runs)
    cuts = [(keep, _Cut.of(workload, runs, keep)) for keep in kept] if runs else []
    found = [
        Sample(cut.workload(workload), keep * len(runs), of, steps)
        for keep, cut in cuts
        if cut is not None
    ]
    return found or [with_all_layers(workload)]


def with_all_layers(workload: Workload) -> Sample:
    """`workload` with the middle one of its steps."""
    steps = tuple(phase.steps for phase in workload.phases)
    return Sample(_Cut(frozenset(), {}).workload(workload), 1, 1, steps)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Ops that are left out, and which op stands in for each of the last layer."""

    gone: frozenset[str]
    instead: Mapping[str, str]

    @classmethod
    def of(cls, workload: Workload, runs: Sequence[Repeat], keep: int) -> _Cut | None:
        """All but the first `keep` layers of each run; None where later ops read those between."""
        gone: set[str] = set()
        instead: dict[str, str] = {}
        for run in runs:
            for layer in run.layers[keep:]:
                gone.update(layer)
            instead |= dict(zip(run.layers[-1], run.layers[keep - 1], strict=True))
        cut = cls(frozenset(gone), instead)
        read = (name for _, op in workload.ops() if op.name not in gone for name in op.inputs)
        lost = gone - set(instead)
        return None if any(name.removeprefix(CACHE) in lost for name in read) else cut

    def workload(self, whole: Workload) -> Workload:
        """`whole` without them."""
        return whole.model_copy(update={"phases": tuple(map(self._phase, whole.phases))})

    def _phase(self, phase: Phase) -> Phase:
        middle = phase.steps // 2
        ops = tuple(self._op(op, middle) for op in phase.ops if op.name not in self.gone)
        tokens = phase.tokens + middle * phase.tokens_growth
        alone = {"ops": ops, "steps": 1, "tokens": tokens, "tokens_growth": 0}
        return phase.model_copy(update=alone)

    def _op(self, op: Op, step: int) -> Op:
        found: Op = op.at(step)
        update: dict[str, Any] = {"inputs": tuple(map(self._input, op.inputs))}
        if isinstance(op, Linear) and op.adapts is not None:
            update["adapts"] = self._input(op.adapts)
        return found.model_copy(update=update)

    def _input(self, name: str) -> str:
        plain = name.removeprefix(CACHE)
        mark = CACHE if name != plain else ""
        return mark + (self.instead[plain] if plain in self.gone else plain)
