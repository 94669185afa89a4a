"""What a switch from one task to another writes and costs, as a whole and weight by weight.

`cimsim.adaptation.switched` says what is written, `cimsim.report.writes` what that costs. The time
of several weights is not the sum of their times, as drivers write some at once: each queue that
writes share (drivers of a kind of unit, the link) has for a weight the time by which it makes the
writes of those before it longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from cimsim.adaptation import AdaptedTask, moved_bits, switched, task_bits, whole
from cimsim.costs.loading import fetch_energy_J, loaded_s
from cimsim.costs.memory import share_ps
from cimsim.costs.programming import PulseCounts
from cimsim.mapping import IntArray, LevelChange, Registers, Written
from cimsim.mapping import Mapping as Places
from cimsim.report import Reprogramming
from cimsim.report.writes import reprogramming, write_costs
from cimsim.spec import Architecture
from cimsim.units import seconds_to_ps
from cimsim.values.display import brief

Part = Written | Registers
LINK = "cluster_link"


@brief
@dataclass(frozen=True, slots=True)
class WeightWrite:
    """What of a switch is one weight's: `bits` come to be written, alone in `written_s`.

    `queued_ps` has for each queue the time (ps) that it adds there.
    """

    bits: int
    written_s: float
    queued_ps: Mapping[str, int]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class PulsedUnits:
    """Units of one kind in which cells of one weight are written: `cells` in each, and `counts`,
    the pulses of a cell, of the `endurance_pulses` that it survives.
    """

    unit: str
    units: IntArray
    cells: npt.NDArray[np.float64]
    counts: PulseCounts
    endurance_pulses: float


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """A switch: `whole` as one write, without loading; `weights` in the order of their queues.

    `pulsed` are the writes into cells that wear out.
    """

    whole: Reprogramming
    bits: int
    weights: Mapping[str, WeightWrite]
    pulsed: tuple[PulsedUnits, ...]


@brief
@dataclass(eq=False)
class Switches:
    """Prices the switches of one mapping, each kind of them once.

    `order` has the weights in the order in which a request is done with them.
    """

    architecture: Architecture
    mapping: Places
    order: Sequence[str]
    _by_names: dict[tuple[str, str, frozenset[str]], Switch] = field(default_factory=dict)
    _by_content: dict[bytes, Switch] = field(default_factory=dict)

    def between(
        self, before: AdaptedTask, after: AdaptedTask, moved: frozenset[str] = frozenset()
    ) -> Switch:
        """The switch from `before` to `after`, which writes the weights `moved` whole.

        Raises MappingError as `switched` does.
        """
        names = before.name, after.name, moved
        if names not in self._by_names:
            parts = self._parts(before, after, moved)
            key = _content(parts)
            if key not in self._by_content:
                self._by_content[key] = self._priced(parts)
            self._by_names[names] = self._by_content[key]
        return self._by_names[names]

    def _parts(
        self, before: AdaptedTask, after: AdaptedTask, moved: frozenset[str]
    ) -> tuple[Part, ...]:
        parts = switched(self.mapping, before, after)
        if not moved:
            return parts
        stay = (p for p in parts if isinstance(p, Registers) or p.weight not in moved)
        return (*stay, *whole(self.mapping, moved))

    def kept_bits(self, task: AdaptedTask) -> int:
        """Bits that memory keeps of a task; raises MappingError as `task_bits` does."""
        return task_bits(self.architecture, self.mapping, task)

    def _priced(self, parts: Sequence[Part]) -> Switch:
        by_weight: dict[str, list[Part]] = defaultdict(list)
        for part in parts:
            by_weight[part.weight].append(part)
        rank = {name: at for at, name in enumerate(self.order)}
        names = sorted(by_weight, key=lambda name: (rank.get(name, len(rank)), name))
        queues = _Queues(self.architecture)
        weights = {}
        for name in names:
            mine = by_weight[name]
            bits = sum(moved_bits(self.architecture, part) for part in mine)
            written_s = reprogramming(self.architecture, mine).time_s
            weights[name] = WeightWrite(bits, written_s, queues.add(mine, bits))
        together = reprogramming(self.architecture, parts)
        return Switch(together, sum(w.bits for w in weights.values()), weights, self._pulsed(parts))

    def _pulsed(self, parts: Sequence[Part]) -> tuple[PulsedUnits, ...]:
        found = []
        for part in parts:
            if isinstance(part, Registers) or not part.units.size:
                continue
            (cost,) = write_costs(self.architecture, [part])[part.unit]
            if cost.cells is None or not cost.cells.counts.mean:
                continue
            here = part.values > 0
            cells = part.values[here].astype(np.float64) * (cost.cells.cells / part.count)
            found.append(
                PulsedUnits(
                    part.unit, part.units[here], cells, cost.cells.counts, cost.endurance_pulses
                )
            )
        return tuple(found)


class _Queues:
    """Queues that grow write by write."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.parts: dict[str, list[Part]] = defaultdict(list)
        self.through_ps: dict[str, int] = defaultdict(int)
        self.bits = 0

    def add(self, parts: Sequence[Part], bits: int) -> dict[str, int]:
        """Time (ps) that further writes of `bits` in all add to each queue that they use."""
        self.bits += bits
        link = self.architecture.cluster_link
        through = {LINK: seconds_to_ps(self.bits / 8.0 / (link.bandwidth_GBps * 1e9))}
        for unit in dict.fromkeys(part.unit for part in parts):
            self.parts[unit] += [part for part in parts if part.unit == unit]
            through[unit] = seconds_to_ps(reprogramming(self.architecture, self.parts[unit]).time_s)
        added = {}
        for queue, time_ps in through.items():
            added[queue] = max(0, time_ps - self.through_ps[queue])
            self.through_ps[queue] += added[queue]
        return added


def _content(parts: Sequence[Part]) -> bytes:
    """A digest of what is written: equal where it is."""
    sha = sha256()
    for part in parts:
        if isinstance(part, Registers):
            sha.update(repr(("registers", part.weight, part.unit, part.bits)).encode())
            continue
        sha.update(repr((part.weight, part.unit, part.units.shape)).encode())
        sha.update(part.units.tobytes() + part.values.tobytes())
        if isinstance(part.change, LevelChange):
            sha.update(repr(part.change.share.shape).encode() + part.change.share.tobytes())
        elif part.change is not None:
            sha.update(repr((type(part.change).__name__, *astuple(part.change))).encode())
    return sha.digest()


@dataclass(frozen=True, slots=True)
class Loading:
    """Where the bits of a switch come from: `dram_bits` out of DRAM, all others out of the buffer.

    With `adapters_in` `dram` both pass the buffer, which those of DRAM are put into first.
    """

    architecture: Architecture

    def written_ps(self, bits: int, written_s: float, *, from_dram: bool) -> int:
        """Time (ps) until `bits` are in their units, which alone take `written_s`."""
        if not bits:
            return seconds_to_ps(written_s)
        machine = self.architecture
        source = machine.dram if from_dram else None
        overlapped = machine.adapter_loading == "overlapped"
        return seconds_to_ps(
            loaded_s(machine.buffer, source, bits, written_s, overlapped=overlapped)
        )

    def energy_J(self, bits: int, dram_bits: int) -> float:
        """Energy (J) to bring `bits` to the link, `dram_bits` of them out of DRAM."""
        machine = self.architecture
        kept = fetch_energy_J(machine.buffer, None, bits - dram_bits)
        return kept + fetch_energy_J(machine.buffer, machine.dram, dram_bits)

    def dram_ps(self, bits: int) -> int:
        """Time (ps) for which `bits` take all of DRAM."""
        return share_ps(self.architecture.dram, bits)

    def buffer_ps(self, bits: int) -> int:
        """Time (ps) for which `bits` take all of the buffer, once."""
        return share_ps(self.architecture.buffer, bits)
