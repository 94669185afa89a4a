"""Plan: a Program with what each actor stands for and what its work costs in energy."""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.engines.program import IntArray, Program
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class Charge:
    """Dynamic energy (J) of one component of one stage, one entry a phase."""

    stage: str
    unit: str
    component: str
    energy_J: tuple[float, ...]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ActorInfo:
    """What an actor stands for.

    `occupies` has one (unit, number of units) for each timed verb of the actor, in order;
    `phase` gives the phase of each iteration.
    """

    stage: str
    layer: str
    part: str
    occupies: tuple[tuple[str, int], ...]
    phase: IntArray


@dataclass(frozen=True, slots=True)
class Activation:
    """Tokens of `producer` that pass through the global buffer in the program's `buffer`."""

    producer: str
    buffer: int
    bytes_per_token: float


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A scheduled workload: program, meaning and energy.

    `unit_counts` says how many units of each kind the mapping uses; `block_tokens` the block that
    each cluster stage was given in prefill; `tcdm_bytes` what that block needs; `spill_bytes` what
    of it goes to the buffer and back, for LoRA stages whose block does not fit.
    """

    program: Program
    phases: tuple[str, ...]
    actors: tuple[ActorInfo, ...]
    charges: tuple[Charge, ...]
    activations: tuple[Activation, ...]
    unit_counts: dict[str, int]
    block_tokens: dict[str, int]
    tcdm_bytes: dict[str, int]
    spill_bytes: dict[str, int]
