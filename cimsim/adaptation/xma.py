"""XMA: a task is a power of two on each column of each row block, a shift of its result.

Source: Zhang et al., DAC 2022 (abstract): shift-based multi-level masks on columns over a frozen
backbone, no cell is reprogrammed. The bits and the set of levels are not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cimsim.adaptation.columns import (
    carrying,
    check_bare,
    check_kept,
    check_slices,
    with_columns,
    written_columns,
)
from cimsim.adaptation.protocol import AdaptedModel, AdaptedTask
from cimsim.errors import MappingError
from cimsim.ir import WORD_BITS, ColumnScale, Linear, Workload
from cimsim.mapping import Mapping, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class ColumnShift:
    """Shifts of results by signed numbers of `bits` on columns; a switch rewrites the numbers.

    They are on the weights that the workload's adapter adapts, or on all linear ones of a workload
    without adapter or masks. `bits` is assumed: it is not published, 2 at 64 rows come near to the
    printed saving of memory. `kept` is below 1 only where a level of 0 was trained, which skips a
    column. `word_bits` is the width of the accumulator that takes a shifted result: on torch in
    place of that of the layers, as energy in place of the machine's result words.
    """

    # assumed: 2 bits at 64 rows save 96.9 % of Piggyback's memory, the paper 96.6 %
    bits: int = 2
    # choice: no conversion is saved that nobody has measured
    kept: float = 1.0
    slices: int = 1
    word_bits: int | None = None
    name: ClassVar[str] = "xma"

    def __post_init__(self) -> None:
        # choice: a shift by more than 2^3 places leaves nothing of an ADC's word
        if not 1 <= self.bits <= 4:
            raise MappingError(f"bits of a shift are 1 to 4, got {self.bits}.")
        check_kept(self.kept)
        check_slices(self.slices)
        if self.word_bits is not None and not WORD_BITS[0] <= self.word_bits <= WORD_BITS[1]:
            raise MappingError(
                f"word_bits of a shifted result are {WORD_BITS[0]} to {WORD_BITS[1]}, got "
                f"{self.word_bits}."
            )

    @property
    def columns(self) -> ColumnScale:
        """The numbers of a weight."""
        return ColumnScale(
            kind="shift", bits=self.bits, kept_share=self.kept, slices=self.slices,
            word_bits=self.word_bits,
        )  # fmt: skip

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter, with shifts on the columns that it adapted."""
        return with_columns(workload, self.columns)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """All shifts; what either saves, whole."""
        return written_columns(mapping, self.columns, before, after)

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model, whose layers carry shifts (`with_numbers`) for arrays of this size.

        The width of a shifted word is `word_bits`, or that of the layers. Raises MappingError for
        any other model, and for one with an adapter.
        """
        from cimsim.adaptation.layers.columns import with_word_bits

        check_bare(model, "xma")
        found = carrying(model, "xma", self.columns)
        return found if self.word_bits is None else with_word_bits(found, self.word_bits)
