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
from cimsim.values.bounds import Number, Whole
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

    `wear` is the share of the cells' endurance that the write uses up.
    """

    cells_written: Whole
    energy_J: Number
    time_s: Number
    sram_bits_written: Whole
    tcdm_bytes_written: Whole
    wear: Number
    also_written: dict[str, Whole] = Field(
        default_factory=dict, description="amounts of other kinds of unit, such as `edram_bits`"
    )

    @model_serializer(mode="wrap")
    def _without_nothing(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in whole(self).items() if value != {}}

    @classmethod
    def of(cls, costs: Iterable[WriteCost]) -> Reprogramming:
        """The sum of `costs`, one write after the other."""
        costs = list(costs)
        amounts: Counter[str] = Counter()
        for cost in costs:
            amounts.update(cost.amounts)
        named = ("cells_written", "sram_bits_written", "tcdm_bytes_written")
        return cls(
            **{name: amounts.pop(name, 0) for name in named},
            energy_J=sum(cost.energy_J for cost in costs),
            time_s=sum(cost.time_s for cost in costs),
            wear=max((cost.wear for cost in costs), default=0.0),
            also_written=dict(amounts),
        )


class ModelWrite(Reprogramming):
    """The first programming of the model, and what a switch of its adapter costs after that."""

    adapter_switch: Reprogramming
