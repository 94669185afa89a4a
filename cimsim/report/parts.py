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
        raise SpecError(describe_validation(path, error)) from None


class PhaseResult(Frozen):
    """One phase. `tokens` are processed in prefill, generated in decode."""

    latency_s: Number
    energy_J: Number
    tokens: Whole
    tokens_per_s: Number


class UnitTime(Frozen):
    """Busy and idle time (s) of one kind of unit, mean over `units`; they sum to the makespan."""

    units: Whole
    busy_s: Number
    idle_s: Number


class Reprogramming(Frozen):
    """Cost of one write: the first programming of the model, or a switch of adapter.

    `cells_written` are those that hold what is written, `cells_changed` those of them whose level
    differs, which alone take `pulses` (both expected); `hottest_pulses` are those of the cell that
    takes most, `wear` the share of the endurance that the write uses up, mean over all
    `cells_written`. `register_bits_written` are
    digital state beside the units: masks and scales of a task. `loaded_from` is the memory
    out of which what is written was brought, `load_energy_J` that part of the energy; None where
    that is no part of the cost.
    """

    cells_written: Whole
    energy_J: Number
    time_s: Number
    sram_bits_written: Whole
    tcdm_bytes_written: Whole
    wear: Number
    cells_changed: Number = 0.0
    pulses: Number = 0.0
    hottest_pulses: Number = 0.0
    register_bits_written: Whole = 0
    also_written: dict[str, Whole] = Field(
        default_factory=dict, description="amounts of other kinds of unit, such as `edram_bits`"
    )

    loaded_from: Name | None = None
    loaded_bytes: Whole = 0
    load_energy_J: Number = 0.0

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

    adapter_switch: Reprogramming
