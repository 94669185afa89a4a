"""Options that choose the part of a run in its Gantt chart, and how they become values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.errors import CimsimError
from cimsim.units import PREFIXES
from cimsim.values.display import shown
from cimsim.values.parsing import parse_real

if TYPE_CHECKING:
    from cimsim.ir import Workload
    from cimsim.simulation import Simulation
    from cimsim.views.part import RunPart

WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="START:END",
        help="Time that gantt.png shows, such as 1.2ms:1.3ms (s, ms, us, ns, ps).",
        show_default=False,
    ),
]
StepOption = Annotated[
    int | None,
    typer.Option(
        "--step", help="Step of the decode, from 1, that gantt.png shows.", show_default=False
    ),
]
LayerOption = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="Layer, or all under a name such as model.layers.3, that gantt.png shows.",
        show_default=False,
    ),
]
UNITS = {f"{prefix}s": factor for factor, prefix in PREFIXES}
"""Unit of time -> seconds."""


@dataclass(frozen=True)
class Chosen:
    """What the options ask for."""

    window_s: tuple[float, float] | None
    step: int | None
    layer: str | None

    @classmethod
    def of(
        cls, workload: Workload, window: str | None, step: int | None, layer: str | None
    ) -> Chosen:
        """The options read; raises CimsimError for what is wrong whatever the run."""
        if window is not None and step is not None:
            raise CimsimError("--window and --step both choose the time: give one of them.")
        if step is not None:
            from cimsim.views.part import step_phase

            step_phase(workload, step)
        return cls(None if window is None else window_of(window), step, layer)

    @property
    def is_given(self) -> bool:
        """Whether anything less than the whole run is asked for."""
        return self != Chosen(None, None, None)

    def part(self, simulation: Simulation) -> RunPart:
        """The part of a run; raises CimsimError where the run has none such."""
        from cimsim.views.part import part_of

        return part_of(simulation, window_s=self.window_s, step=self.step, layer=self.layer)


def window_of(text: str) -> tuple[float, float]:
    """Start and end (s) of START:END, each a number with its unit; raises CimsimError."""
    start, _, end = text.partition(":")
    times = _seconds(start, text), _seconds(end, text)
    if times[0] >= times[1]:
        raise CimsimError(f"--window {shown(text)} is empty: its start is not before its end.")
    return times


def _seconds(time: str, text: str) -> float:
    unit = next((u for u in sorted(UNITS, key=len, reverse=True) if time.endswith(u)), None)
    if unit is not None:
        try:
            value = parse_real(time.removesuffix(unit))
        except ValueError:
            value = -1.0
        if value >= 0.0:
            return value * UNITS[unit]
    raise CimsimError(
        "--window takes START:END, each a time of 0 or more with its unit (s, ms, us, ns or ps), "
        f"such as 1.2ms:1.3ms, got {shown(text)}"
    )
