"""Wires of an array: what resistance lies between drivers, cells and converters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cimsim.errors import SpecError
from cimsim.values.ranges import require_number

LARGEST_ohm = 1e6
"""Choice: of a wire segment or an end of a line, a megaohm, beyond any wire."""
MOHM_PER_OHM = 1e-6
IdleRows = Literal["grounded", "open"]
Topology = Literal["crossed", "parallel"]


@dataclass(frozen=True)
class Wires:
    """Resistance of one segment between neighbouring cells and of the ends of lines; 0 is none.

    A word line is driven through `driver_ohm` and one segment at its first column, a bit line is
    held at virtual ground through one segment and `sense_ohm` below its last row.

    idle_rows: what becomes of rows of the tile that a product does not use, as other weights are
    stored there or none: `grounded` by their drivers, or `open` where cells have switches.

    topology: word lines that are `crossed` by the bit lines, or source lines `parallel` to them,
    with one voltage on all of them and rows switched by the gates of their cells. Then `word_ohm`
    and `driver_ohm` are those of a source line, driven above the first row through one segment,
    and idle rows are open.
    """

    word_ohm: float
    bit_ohm: float
    driver_ohm: float = 0.0
    sense_ohm: float = 0.0
    idle_rows: IdleRows = "grounded"
    topology: Topology = "crossed"

    def __post_init__(self) -> None:
        for name in ("word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"):
            require_number("wires", name, getattr(self, name), 0.0, LARGEST_ohm)
        if self.idle_rows not in ("grounded", "open"):
            raise SpecError(f"wires: idle_rows is grounded or open, got {self.idle_rows!r}.")
        if self.topology not in ("crossed", "parallel"):
            raise SpecError(f"wires: topology is crossed or parallel, got {self.topology!r}.")
        if self.topology == "parallel" and self.idle_rows != "open":
            raise SpecError(
                "wires: rows of parallel source lines are switched by gates, idle ones cannot be "
                "grounded: set idle_rows to open."
            )

    @property
    def megaohms(self) -> tuple[float, float, float, float]:
        """Of a word and a bit segment, a driver and a sense end: 1 / uS."""
        ohms = self.word_ohm, self.bit_ohm, self.driver_ohm, self.sense_ohm
        word, bit, driver, sense = (ohm * MOHM_PER_OHM for ohm in ohms)
        return word, bit, driver, sense
