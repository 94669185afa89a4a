"""Parts that results share: phases, units and writes, and how a result is read from a file.

Times in s, energies in J.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json
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


class ModelWrite(Reprogramming):
    """The first programming of the model, and what a switch of its adapter costs after that."""

    adapter_switch: Reprogramming
