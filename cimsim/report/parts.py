"""Parts that results share: phases, units and writes, and how a result is read from a file.

Times in s, energies in J.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json
from cimsim.unit_kinds import WriteCost
from cimsim.values.bounds import Name, Number, Whole
from cimsim.values.frozen import Frozen

_Model = TypeVar("_Model", bound=Frozen)


def read_value(path: str | Path, kind: type[_Model], what: str) -> _Model:
    """The value that a file of JSON holds; raises SpecError naming the file and the field."""
    data: Any = load_json(path, SpecError, what)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error, kind)) from None


class PhaseResult(Frozen):
    """One phase. `tokens` are processed in prefill, generated in decode."""

    latency_s: Number = Field(description="from the end of the phase before to the end of this one")
    energy_J: Number = Field(
        description="dynamic energy of the phase's work, and leakage meanwhile"
    )
    tokens: Whole = Field(description="processed in prefill, generated in decode")
    tokens_per_s: Number = Field(
        description="tokens over latency_s; 0 where the phase takes no time"
    )


class UnitTime(Frozen):
    """Busy and idle time (s) of one kind of unit, mean over `units`; they sum to the makespan."""

    units: Whole = Field(description="units of the kind that work was given to")
    busy_s: Number = Field(description="time at work, mean over the units")
    idle_s: Number = Field(description="the rest of the makespan, mean over the units")


class Reprogramming(Frozen):
    """Cost of one write: the first programming of the model, or a switch of adapter.

    What is "expected" is the mean over what cells held before and over pulses that a cell takes by
    chance.
    """

    cells_written: Whole = Field(description="analog cells that hold what is written")
    energy_J: Number = Field(
        description="of everything that is written, its way over the link, and load_energy_J"
    )
    time_s: Number = Field(description="from the first byte to the last cell")
    sram_bits_written: Whole = Field(description="bits written into SRAM units")
    tcdm_bytes_written: Whole = Field(description="bytes written into the clusters' memory")
    wear: Number = Field(
        description="share of the endurance that the write uses up, mean over cells_written"
    )
    cells_changed: Number = Field(
        default=0.0, description="cells whose level differs and which alone take pulses (expected)"
    )
    pulses: Number = Field(default=0.0, description="pulses of all these cells (expected)")
    hottest_pulses: Number = Field(
        default=0.0, description="pulses of the cell that takes most (expected)"
    )
    register_bits_written: Whole = Field(
        default=0, description="digital state beside the units: masks and scales of a task"
    )
    also_written: dict[str, Whole] = Field(
        default_factory=dict, description="amounts of other kinds of unit, such as `edram_bits`"
    )

    loaded_from: Name | None = Field(
        default=None,
        description="memory out of which it was brought: dram or buffer; None where that is no "
        "part of the cost",
    )
    loaded_bytes: Whole = Field(default=0, description="bytes brought out of that memory")
    load_energy_J: Number = Field(default=0.0, description="the part of energy_J for bringing them")

    @model_serializer(mode="wrap")
    def _without_nothing(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = set() if self.loaded_from else {"loaded_from", "loaded_bytes", "load_energy_J"}
        left_out |= set() if self.register_bits_written else {"register_bits_written"}
        left_out |= set() if self.cells_written else {"cells_changed", "pulses", "hottest_pulses"}
        return {k: v for k, v in whole(self).items() if v != {} and k not in left_out}

    @classmethod
    def of(cls, costs: Iterable[WriteCost]) -> Reprogramming:
        """The sum of `costs`, one write after the other."""
        costs = list(costs)
        amounts: Counter[str] = Counter()
        for cost in costs:
            amounts.update(cost.amounts)
        pulsed = [cost.cells for cost in costs if cost.cells is not None]
        named = ("cells_written", "sram_bits_written", "tcdm_bytes_written",
                 "register_bits_written")  # fmt: skip
        return cls(
            **{name: amounts.pop(name, 0) for name in named},
            energy_J=sum(cost.energy_J for cost in costs),
            time_s=sum(cost.time_s for cost in costs),
            wear=max((cost.wear for cost in costs), default=0.0),
            cells_changed=sum(cells.changed for cells in pulsed),
            pulses=sum(cells.pulses for cells in pulsed),
            hottest_pulses=max((c.counts.hottest(c.cells) for c in pulsed), default=0.0),
            also_written=dict(amounts),
        )


class ModelWrite(Reprogramming):
    """The first programming of the model, and what a switch of its adapter costs after that."""

    adapter_switch: Reprogramming = Field(
        description="another adapter of the same shape, once the model is in place"
    )
