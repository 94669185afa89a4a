"""What to make small or large, and what a design must keep to, read from text.

Objectives are `latency_s,energy_J,-phases.decode.tokens_per_s`, limits `area_used_mm2<=400`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cimsim.errors import CimsimError
from cimsim.exploration.pareto import F64
from cimsim.values.display import brief, shown
from cimsim.values.parsing import parse_list, parse_real

_KEY = r"[^\s,<>=-][^\s,<>=]*"
_OBJECTIVE = re.compile(rf"(-?)({_KEY})")
_CONSTRAINT = re.compile(rf"({_KEY})\s*(<=|>=)\s*(\S+)")
LARGER_IS_BETTER = ("accuracy",)
"""Keys, and what is below them, that are made large unless a `-` turns them around."""

Values = Mapping[str, float | str | None]
"""What a design gave, by key."""


@brief
@dataclass(frozen=True)
class Objective:
    """A key of the results to make small, or large where `maximise`."""

    key: str
    maximise: bool = False

    @classmethod
    def of(cls, text: str) -> Objective:
        """From `latency_s`, or `-latency_s` for the other sense; `accuracy` is made large.

        Raises CimsimError for what is no key.
        """
        found = _OBJECTIVE.fullmatch(text.strip())
        if not found:
            raise CimsimError(
                f"{shown(text)} is no objective: name a key of the report, such as latency_s, or "
                "-tokens_per_s to make it large."
            )
        turned, key = bool(found[1]), found[2]
        return cls(key, turned != _large(key))

    @property
    def sign(self) -> float:
        """What a value is multiplied by so that less is better."""
        return -1.0 if self.maximise else 1.0

    @property
    def text(self) -> str:
        """What reads to this objective."""
        return self.key if self.maximise == _large(self.key) else f"-{self.key}"

    def __str__(self) -> str:
        return f"{self.key} (more)" if self.maximise else self.key


def _large(key: str) -> bool:
    return key.partition(".")[0] in LARGER_IS_BETTER


@brief
@dataclass(frozen=True)
class Constraint:
    """A key of the results and the limit that a design must keep to, the limit itself allowed."""

    key: str
    sense: Literal["<=", ">="]
    limit: float

    @classmethod
    def of(cls, text: str) -> Constraint:
        """From `area_used_mm2<=400`; raises CimsimError for what is none."""
        found = _CONSTRAINT.fullmatch(text.strip())
        try:
            if found:
                sense: Literal["<=", ">="] = "<=" if found[2] == "<=" else ">="
                return cls(found[1], sense, parse_real(found[3]))
            why = "write KEY<=NUMBER or KEY>=NUMBER, such as area_used_mm2<=400"
        except ValueError as error:
            why = str(error)
        raise CimsimError(f"{shown(text)} is no constraint: {why}.")

    def excess(self, value: float) -> float:
        """How far `value` is beyond the limit, as a share of it (0 where it keeps to it).

        A limit of 0 counts as 1 in its unit. Infinite for a value that is not known (NaN).
        """
        beyond = value - self.limit if self.sense == "<=" else self.limit - value
        if math.isnan(beyond):
            return math.inf
        return max(0.0, beyond) / (abs(self.limit) or 1.0)

    def __str__(self) -> str:
        return f"{self.key}{self.sense}{self.limit:g}"


def parse_objectives(text: str | Sequence[str]) -> tuple[Objective, ...]:
    """Objectives of a list with commas, or one a text; raises CimsimError for a key named twice."""
    texts = parse_list(text, str) if isinstance(text, str) else text
    found = tuple(Objective.of(part) for part in texts)
    keys = [objective.key for objective in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise CimsimError(f"the objective {shown(twice)} stands twice: name each key once.")
    if not found:
        raise CimsimError("no objective: name at least one key of the report, such as latency_s.")
    return found


def number_of(values: Values, key: str) -> float:
    """The value of `key` as a number, NaN where there is none."""
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def costs(rows: Sequence[Values], objectives: Sequence[Objective]) -> F64:
    """Values (n, k) of the objectives, less is better; NaN where a result has none."""
    found = [[o.sign * number_of(values, o.key) for o in objectives] for values in rows]
    return np.array(found, np.float64).reshape(len(rows), len(objectives))


def excess_of(values: Values, constraints: Sequence[Constraint]) -> float:
    """How far a design is beyond all its limits, 0 where it keeps to them; see `excess`."""
    return sum(limit.excess(number_of(values, limit.key)) for limit in constraints)
