"""One line of the validation table: a published quantity beside the simulated one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class Judged:
    """`published` and `simulated` in `unit`; `fitted` says whether a constant behind the simulated
    value was fitted on this very row.

    `tolerance` is relative; None for a figure that its own source contradicts: shown, not judged.
    """

    group: str
    quantity: str
    unit: str
    published: float
    simulated: float
    tolerance: float | None
    fitted: bool
    source: str

    @property
    def error(self) -> float:
        """Relative error, signed."""
        return self.simulated / self.published - 1.0

    @property
    def passed(self) -> bool:
        """True within the tolerance, or where there is none."""
        return self.tolerance is None or abs(self.error) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """The row as values that JSON can hold."""
        return {**asdict(self), "error": self.error, "passed": self.passed}
