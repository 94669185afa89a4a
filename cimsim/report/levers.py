"""Levers: what moves the bounds of a run, and by how much: numbers of the machine, copies of its
weights, smaller blocks.

The predicted gain is half the time on the critical path that a lever acts on, but no more than the
bounds leave: no other unit kind gets shorter, and more servers do not shorten the dependency
chain. A knob acts on its units at work, without what no rate shortens, or on the path's wait for
its shared units; copies on the path's wait for weights that are busy with the block before; smaller
blocks on the path's time in clusters that the next stage waits for. It is an estimate:
all of that time is taken to follow, and neither a second path that is nearly as long nor another
layout is seen. `measured_s` of `Lever` tells the simulation beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, Protocol, TypeAlias

from cimsim.errors import CimsimError
from cimsim.mappers import DensePacking, Mapper, OneBlockPerTile
from cimsim.report.bottlenecks import COPIED
from cimsim.report.bounds import Bottlenecks, Lever, PhaseBounds
from cimsim.schedule.pipelines import (
    Blocks,
    GivenBlock,
    Pipeline,
    ShapedBlock,
    SplitBlock,
    Strategy,
    WholeStep,
)
from cimsim.schedule.pipelines.blocks import DEFAULT_BLOCK
from cimsim.spec import Architecture
from cimsim.values.display import brief

LEVERS = 3
"""Choice: levers told of a phase."""
SAVED = 0.5
"""Counted: the share of a time that goes where a rate or a number of servers doubles."""


@brief
@dataclass(frozen=True, slots=True)
class RunSetting:
    """What levers change of a run, and the tokens of a step of each of its phases."""

    machine: Architecture
    pipeline: Pipeline
    mapper: Mapper
    tokens: Mapping[str, int]


Values: TypeAlias = dict[str, Any]
"""What a lever changes: name -> value."""
Latencies = Mapping[str, float]
"""Latency (s) of each phase by name, and of the whole run as `total`."""
TOTAL = "total"


class Turned(Protocol):
    """Something that may be changed about a run."""

    @property
    def units(self) -> tuple[str, ...]:
        """Kinds of unit whose part of the path it shortens."""

    @property
    def acts_on(self) -> str:
        """What of them."""

    def predicted_s(self, part: PhaseBounds, tokens: int) -> float:
        """The gain (s) to expect, at least 0, of a part with steps of at most `tokens`."""

    def turned(self, setting: RunSetting) -> tuple[Values, Values, Callable[[], RunSetting]] | None:
        """Old and new values, and what makes the setting with these; None where there is none.

        What it makes may raise CimsimError.
        """


@brief
@dataclass(frozen=True, slots=True)
class Knob:
    """Numbers of the machine, each with the factor on it that doubles a rate or what is there.

    It acts on the `work` of `units` (of clusters without what engines do, where `cores`), or on
    waiting for those that are `shared`.
    """

    units: tuple[str, ...]
    acts_on: Literal["work", "shared"]
    factors: tuple[tuple[str, float], ...]
    cores: bool = False

    def predicted_s(self, part: PhaseBounds, tokens: int = 1) -> float:
        """See the head of this module."""
        times = part.shared_by_unit_s()
        if self.acts_on == "work":
            fixed = part.latency_by_unit_s
            times = {unit: time - fixed.get(unit, 0.0) for unit, time in part.by_unit_s.items()}
        acted = math.fsum(times.get(unit, 0.0) for unit in self.units)
        if self.cores:
            acted -= part.engine_s
        floors = [t for unit, t in part.busiest_by_unit_s.items() if unit not in self.units]
        if self.acts_on == "shared" and part.chain is not None:
            floors.append(part.chain.time_s)
        return _left(SAVED * acted, part, floors)

    def turned(self, setting: RunSetting) -> tuple[Values, Values, Callable[[], RunSetting]] | None:
        """The machine with the numbers times their factors."""
        machine = setting.machine
        old = {field: _value(machine, field) for field, _ in self.factors}
        new = {field: old[field] * factor for field, factor in self.factors}

        def made() -> RunSetting:
            return replace(setting, machine=machine.with_values(new, "a lever, on trial"))

        return old, new, made


@brief
@dataclass(frozen=True, slots=True)
class Copies:
    """Twice as many copies of every weight, each with units of its own, as `--replicate "*=2"`."""

    units: tuple[str, ...] = COPIED
    acts_on: str = "order"

    def predicted_s(self, part: PhaseBounds, tokens: int) -> float:
        """Half of the path's wait for weights that are busy with the block before."""
        floors = [t for unit, t in part.busiest_by_unit_s.items() if unit not in self.units]
        return _left(SAVED * part.weights_order_s, part, floors)

    def turned(self, setting: RunSetting) -> tuple[Values, Values, Callable[[], RunSetting]] | None:
        """The mapper with a copy more of every weight; None for one of the user's own."""
        mapper = setting.mapper
        if not isinstance(mapper, OneBlockPerTile | DensePacking) or mapper.replicate:
            return None
        more = replace(mapper, replicate=(("*", 2),))
        return {"copies": 1}, {"copies": 2}, lambda: replace(setting, mapper=more)


@brief
@dataclass(frozen=True, slots=True)
class SmallerBlocks:
    """Blocks of half as many tokens in clusters."""

    units: tuple[str, ...] = ("pmca", "dma")
    acts_on: str = "blocks"

    def predicted_s(self, part: PhaseBounds, tokens: int) -> float:
        """Half of the path's time in clusters that the next stage waits for, where a step has
        several tokens.

        What waits for the block before has as much to do in small ones. Nobody's work gets less:
        all busiest times are floors.
        """
        if tokens == 1:
            return 0.0
        waits = (part.waits_by_unit_s.get(unit, {}).get("data", 0.0) for unit in self.units)
        acted = math.fsum(waits)
        return _left(SAVED * acted, part, part.busiest_by_unit_s.values())

    def turned(self, setting: RunSetting) -> tuple[Values, Values, Callable[[], RunSetting]] | None:
        """The strategy with halved blocks; None where blocks are searched, or of one token."""
        strategy = setting.pipeline
        if not isinstance(strategy, Strategy):
            return None
        blocks, longest = strategy.blocks, max(setting.tokens.values(), default=1)
        halved: Blocks
        match blocks:
            case ShapedBlock():
                old = {f"sizes.{shape}": size for shape, size in blocks.sizes}
                new = {name: max(1, size // 2) for name, size in old.items()}
                halved = replace(
                    blocks, sizes=tuple(zip(dict(blocks.sizes), new.values(), strict=True))
                )
            case WholeStep():
                old, new = {"block_tokens": longest}, {"block_tokens": max(1, longest // 2)}
                halved = GivenBlock(new["block_tokens"])
            case GivenBlock() | SplitBlock(block_tokens=int()):
                size = min(blocks.block_tokens or DEFAULT_BLOCK, longest)
                old, new = {"block_tokens": size}, {"block_tokens": max(1, size // 2)}
                halved = replace(blocks, block_tokens=new["block_tokens"])
            case _:
                return None
        if old == new:
            return None
        return old, new, lambda: replace(setting, pipeline=replace(strategy, blocks=halved))


# counted: a time halved is a rate doubled
KNOBS = (
    Knob(("rram",), "work", (("rram.integration_ns", 0.5),)),
    Knob(("adc",), "work", (("rram.adc_time_ns", 0.5),)),
    Knob(("sram",), "work", (("sram.clock_MHz", 2),)),
    Knob(("pmca",), "work", (("pmca.clock_MHz", 2),)),
    Knob(("pmca",), "work", (("pmca.cores", 2),), cores=True),
    Knob(("pmca", "dma"), "shared", (("pmca.pool_clusters", 2),)),
    Knob(("dma",), "work", (("pmca.dma_bytes_per_cycle", 2), ("cluster_link.bandwidth_GBps", 2))),
    Knob(("link",), "work", (("tile_link.bandwidth_GBps", 2),)),
    Knob(("buffer",), "work", (("buffer.bandwidth_GBps", 2),)),
    Knob(("buffer",), "shared", (("buffer.banks", 2),)),
    Knob(("dram",), "work", (("dram.bandwidth_GBps", 2),)),
    Knob(("dram",), "shared", (("dram.channels", 2),)),
    Knob(("die_to_die",), "work", (("package.bandwidth_GBps", 2),)),
    Knob(("cluster_link",), "work", (("cluster_link.bandwidth_GBps", 2),)),
    Knob(("rram_write",), "work", (("rram.write.pulse_ns", 0.5), ("rram.write.verify_ns", 0.5))),
    Knob(("sram_write",), "work", (("sram.write_bits_per_cycle", 2),)),
)
"""Which numbers belong to which unit and wait."""
COPIES, BLOCKS = Copies(), SmallerBlocks()
ALL: tuple[Turned, ...] = (*KNOBS, COPIES, BLOCKS)
"""All levers."""


def with_levers(
    found: Bottlenecks, setting: RunSetting, again: Callable[[RunSetting], Latencies] | None
) -> Bottlenecks:
    """`found` with the levers of every phase and of the run, in the order of their gains.

    With `again`, which simulates another setting, each has its measured gain too, or why it has
    none. Smaller blocks gain in the run what they do in its phases.
    """
    tried: dict[Turned, Latencies | str] = {}

    def levers(name: str, part: PhaseBounds, gains: list[tuple[float, Turned]]) -> PhaseBounds:
        best = sorted((g for g in gains if g[0] > 0), key=lambda g: -g[0])
        made = (_lever(lever, gain, name, part) for gain, lever in best)
        told = tuple(islice((lever for lever in made if lever is not None), LEVERS))
        return part.model_copy(update={"levers": told})

    def _lever(lever: Turned, gain_s: float, name: str, part: PhaseBounds) -> Lever | None:
        turned = lever.turned(setting)
        if turned is None:
            return None
        old, new, make = turned
        if lever not in tried:
            tried[lever] = _tried(make, again)
        outcome = tried[lever]
        measured = refused = None
        if isinstance(outcome, str):
            refused = outcome
        elif outcome:
            measured = part.latency_s - outcome[name]
        return Lever(
            units=lever.units, acts_on=lever.acts_on, old=old, new=new,
            predicted_s=gain_s, measured_s=measured, refused=refused,
        )  # fmt: skip

    gains: dict[str, list[tuple[float, Turned]]] = {
        name: [(lever.predicted_s(part, setting.tokens[name]), lever) for lever in ALL]
        for name, part in found.phases.items()
    }
    longest = max(setting.tokens.values(), default=1)
    of_run: list[tuple[float, Turned]] = [
        (lever.predicted_s(found.total, longest), lever) for lever in (*KNOBS, COPIES)
    ]
    of_run.append(
        (sum(gain for each in gains.values() for gain, of in each if of is BLOCKS), BLOCKS)
    )
    phases = {name: levers(name, part, gains[name]) for name, part in found.phases.items()}
    return found.model_copy(update={"total": levers(TOTAL, found.total, of_run), "phases": phases})


def _left(gain_s: float, part: PhaseBounds, floors: Iterable[float]) -> float:
    """`gain_s`, at least 0, as far as bounds of `floors` leave it."""
    return max(0.0, min(gain_s, part.latency_s - max(floors, default=0.0)))


def _value(machine: Architecture, field: str) -> Any:
    value: Any = machine
    for name in field.split("."):
        value = getattr(value, name)
    return value


def _tried(
    make: Callable[[], RunSetting], again: Callable[[RunSetting], Latencies] | None
) -> Latencies | str:
    """Latencies of the changed setting, none where it is not simulated, or why it cannot be."""
    try:
        changed = make()
        return again(changed) if again is not None else {}
    except CimsimError as error:
        return str(error)
