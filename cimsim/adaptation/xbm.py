"""XBM: a task is a bit on each column of each row block, which keeps its result or skips it.

Source: Zhang et al., ASP-DAC 2022 (abstract): column-wise binary masks, no cell is reprogrammed.
That the bit acts behind the converter, which a 0 does not start, is this reading.
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
from cimsim.ir import ColumnScale, Linear, Workload
from cimsim.mapping import Mapping, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class ColumnMask:
    """Binary masks on columns, of which a share `kept` is converted; a switch rewrites the bits.

    Masks are on the weights that the workload's adapter adapts, or on all linear ones of a workload
    without adapter or masks. `kept` is 1 unless masks were trained: no share is published. `slices`
    bits a column: 1, or one for each cell of a weight.
    """

    # choice: no conversion is saved that nobody has measured
    kept: float = 1.0
    slices: int = 1
    name: ClassVar[str] = "xbm"

    def __post_init__(self) -> None:
        check_kept(self.kept)
        check_slices(self.slices)

    @property
    def columns(self) -> ColumnScale:
        """The numbers of a weight."""
        return ColumnScale(kind="gate", bits=1, kept_share=self.kept, slices=self.slices)

    def apply(self, workload: Workload) -> Workload:
        """The workload without its adapter, with gates on the columns that it adapted."""
        return with_columns(workload, self.columns)

    def home(self, op: Linear) -> WeightUnit | None:
        """With the pretrained weights."""
        return None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """All mask bits; what either saves, whole."""
        return written_columns(mapping, self.columns, before, after)

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model, whose layers carry masks (`with_numbers`) for arrays of this size.

        Raises MappingError for any other, and for one with an adapter.
        """
        check_bare(model, "xbm")
        return carrying(model, "xbm", self.columns)
