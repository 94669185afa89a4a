"""Plan: a Program with what each actor stands for and what its work costs in energy."""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.engines.program import Duration, IntArray, Program
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class Charge:
    """Dynamic energy (J) of one component for one op of one stage, one entry a phase."""

    stage: str
    op: str
    unit: str
    component: str
    energy_J: tuple[float, ...]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """The part of a timed verb that is work on one op: its time (ps) in every iteration."""

    op: str
    duration: Duration


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ActorInfo:
    """What an actor stands for.

    `occupies` has one (unit, number of units) for each timed verb of the actor, in order;
    `phase` gives the phase of each iteration. `portions` has for each timed verb the ops that it
    works on, one after another, whose times sum to the verb's; none where the op that names the
    stage is the only one.
    """

    stage: str
    layer: str
    part: str
    occupies: tuple[tuple[str, int], ...]
    phase: IntArray
    portions: tuple[tuple[Portion, ...], ...]


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
    each cluster stage was given in prefill, `shapes` what it works on (see `shape_of`);
    `tcdm_bytes` what that block takes; `spill_bytes` what it moves only because it does not fit
    whole: A and B of LoRA anew, X.W to the buffer and back; `on_cores` the stages of which products
    were given to cores, as faster than the matrix engine beside them; `crossed_bits` what passes
    die-to-die links by phase, once for every link.
    """

    program: Program
    phases: tuple[str, ...]
    actors: tuple[ActorInfo, ...]
    charges: tuple[Charge, ...]
    activations: tuple[Activation, ...]
    unit_counts: dict[str, int]
    block_tokens: dict[str, int]
    shapes: dict[str, str]
    tcdm_bytes: dict[str, int]
    spill_bytes: dict[str, int]
    on_cores: frozenset[str]
    crossed_bits: tuple[float, ...] = ()
