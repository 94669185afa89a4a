"""Which part of a run a picture shows: a window of time, a step of the generation, a layer."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cimsim.engines.program import IntArray, timed_verbs
from cimsim.errors import CimsimError
from cimsim.ir import Workload
from cimsim.report.occupancy import phase_marks_ps
from cimsim.simulation import Simulation
from cimsim.units import PS_PER_S, prefix_of, ps_to_seconds, seconds_to_ps
from cimsim.values.display import brief, shown


@brief
@dataclass(frozen=True, slots=True)
class RunPart:
    """The time from `start_ps` to `end_ps`, and with `layer` the work of that layer alone.

    `name` says in words which part of the run it is.
    """

    start_ps: int
    end_ps: int
    name: str
    layer: str | None = None

    def shows(self, layer: str) -> bool:
        """Whether work of `layer` is among what is shown."""
        return self.layer is None or is_within(layer, self.layer)


def is_within(layer: str, asked: str) -> bool:
    """Whether `layer` is the one that was asked for, or a part of it."""
    return layer == asked or layer.startswith((f"{asked}.", f"{asked}/"))


def part_of(
    simulation: Simulation,
    *,
    window_s: tuple[float, float] | None = None,
    layer: str | None = None,
    step: int | None = None,
) -> RunPart:
    """The part of a run in a window (s), in one step, or of one layer; the whole run if none.

    `step` counts from 1 in the last phase that has several. `layer` is a name of `layers.csv`, or
    the part of one up to a dot, such as `model.layers.3`; without a window it is shown from its
    first to its last work in the step, or in the first phase in which it works. A window is cut at
    the end of the run. Raises CimsimError for what is not there.
    """
    marks = phase_marks_ps(simulation.plan, simulation.run)
    span = whole = 0, marks[-1]
    if window_s is not None and step is not None:
        raise CimsimError("a window and a step both choose the time: give one of them.")
    if window_s is not None:
        span = _window(window_s, marks[-1])
    elif step is not None:
        edges = step_ends(simulation, step_phase(simulation.workload, step), marks)
        span = int(edges[step - 1]), int(edges[step])
    if layer is not None:
        span = _of_layer(simulation, layer, marks, span, cut=window_s is None)
    words = _phases(simulation, marks, span)
    if layer is not None:
        words += f"; layer {layer}"
    elif span == whole:
        words = f"the whole run: {words}"
    time = f"{span_text(*span)} of {span_text(marks[-1], marks[-1])}"
    return RunPart(*span, f"{time}; {words}", layer)


def span_text(start_ps: int, end_ps: int) -> str:
    """Two times, or one where they are the same, with as many digits as tell them apart."""
    factor, prefix = prefix_of(ps_to_seconds(end_ps))
    scale = factor * PS_PER_S
    apart = (end_ps - start_ps or end_ps) / scale
    digits = min(12, max(0, 2 - math.floor(math.log10(apart)))) if apart else 0
    texts = [_plain(f"{time / scale:.{digits}f}") for time in dict.fromkeys((start_ps, end_ps))]
    return f"{' to '.join(texts)} {prefix}s"


def _plain(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _window(window_s: tuple[float, float], end_ps: int) -> tuple[int, int]:
    try:
        start, end = (seconds_to_ps(time) for time in window_s)
    except ValueError as problem:
        raise CimsimError(f"no window of time: {problem}.") from None
    if start >= end:
        raise CimsimError(
            f"the window is empty: its start ({start} ps) is not before its end ({end} ps)."
        )
    if start >= end_ps:
        raise CimsimError(
            f"the window begins at {span_text(start, start)}, when the run has ended "
            f"({span_text(end_ps, end_ps)}): choose an earlier one."
        )
    return start, min(end, end_ps)


def stepped_phase(workload: Workload) -> int | None:
    """The last phase that has several steps."""
    phases = enumerate(workload.phases)
    return max((number for number, phase in phases if phase.steps > 1), default=None)


def step_phase(workload: Workload, step: int) -> int:
    """The phase that has the steps; raises CimsimError where it has no such step."""
    phase = stepped_phase(workload)
    if phase is None:
        raise CimsimError(
            f"step {step} was asked for, but {shown(workload.name)} has no phase of several "
            "steps: choose a window or a layer."
        )
    found = workload.phases[phase]
    if not 1 <= step <= found.steps:
        raise CimsimError(
            f"step {step} was asked for, {shown(found.name)} has the steps 1 to {found.steps}."
        )
    return phase


def step_ends(simulation: Simulation, phase: int, marks: list[int]) -> IntArray:
    """When the phase begins and each of its steps ends (ps).

    Every step has the same blocks, so that an actor's iterations of the phase fall into equal
    parts; those of replicas, which take turns over steps, end before those that collect them.
    """
    steps = simulation.workload.phases[phase].steps
    ends = np.zeros(steps, np.int64)
    for number, info in enumerate(simulation.plan.actors):
        first, last = np.searchsorted(info.phase, [phase, phase + 1])
        if last > first and (last - first) % steps == 0:
            finished = simulation.run.finish_ps(number)[first:last].reshape(steps, -1)
            ends = np.maximum(ends, finished.max(axis=1))
    return np.append(marks[phase], np.maximum.accumulate(ends))


def _phases(simulation: Simulation, marks: list[int], span: tuple[int, int]) -> str:
    """The phases that a span touches, and of the one with several steps which of them."""
    names: list[str] = []
    for number, (start, end) in enumerate(pairwise(marks)):
        if max(start, span[0]) >= min(end, span[1]):
            continue
        phase = simulation.workload.phases[number]
        words: str = phase.name
        if number == stepped_phase(simulation.workload) and (span[0] > start or span[1] < end):
            edges = step_ends(simulation, number, marks)
            first = int(np.searchsorted(edges, max(span[0], start), side="right"))
            last = int(np.searchsorted(edges, min(span[1], end), side="left"))
            several = f"steps {first} to {last}" if last > first else f"step {first}"
            words = f"{phase.name} {several} of {phase.steps}"
        names.append(words)
    return ", ".join(names)


def _of_layer(
    simulation: Simulation, layer: str, marks: list[int], span: tuple[int, int], *, cut: bool
) -> tuple[int, int]:  # fmt: skip
    """The span in which a layer is shown: with `cut` its time in the first phase that it works in.

    Raises CimsimError for a layer that is not there or does not work in the span.
    """
    _check_layer(simulation, layer)
    phases = ((max(start, span[0]), min(end, span[1])) for start, end in pairwise(marks))
    worked = (_worked(simulation, layer, *phase) for phase in phases if phase[0] < phase[1])
    found = next((one for one in worked if one is not None), None)
    if found is None:
        raise CimsimError(
            f"layer {shown(layer)} does not work in {span_text(*span)}: choose another time."
        )
    return found if cut else span


def _check_layer(simulation: Simulation, layer: str) -> None:
    layers = list(dict.fromkeys(info.layer for info in simulation.plan.actors))
    if not any(is_within(known, layer) for known in layers):
        near = difflib.get_close_matches(layer, layers, n=3, cutoff=0.4) or layers[:3]
        raise CimsimError(
            f"no layer is called {shown(layer)}; near it: {', '.join(near)} (layers.csv of "
            "--bounds has all)."
        )


def _worked(
    simulation: Simulation, layer: str, start_ps: int, end_ps: int
) -> tuple[int, int] | None:
    """From when to when work of a layer runs within a span, if any does."""
    first, last = end_ps, start_ps
    for number, info in enumerate(simulation.plan.actors):
        if is_within(info.layer, layer):
            for verb in timed_verbs(simulation.plan.program.actors[number].steps):
                start, end = simulation.run.intervals(number, verb)
                inside = (end > start) & (end > start_ps) & (start < end_ps)
                if inside.any():
                    first = min(first, int(start[inside].min()))
                    last = max(last, int(end[inside].max()))
    return (max(first, start_ps), min(last, end_ps)) if last > first else None
