"""Pruning while adapting: channels of pretrained weights are gated off, LoRA runs beside them.

Source: Ali et al., ASP-DAC 2025 (abstract): channel-wise binary masks by Gumbel-sigmoid prune the
backbone while LoRA adapts it; RoBERTa-base loses 24.5 % of its channels. That the mask is on the
outputs of the pretrained weight alone, y = m (W0 x) + B A x, is this reading; the paper has no
crossbars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cimsim.adaptation.columns import carrying, with_columns, written_columns
from cimsim.adaptation.protocol import AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import lora_weights, magnitudes, whole
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
class PrunedLora:
    """LoRA on `unit` beside weights of which a task gates off a share `sparsity` of the channels.

    Gated columns are not converted. Kept channels are spread over the arrays, so that conversions
    alone are saved; `packed` ones are neighbours, and arrays behind them have no work: one order
    of channels for all tasks. A switch writes LoRA and a bit for every channel.
    """

    # Source: Ali et al., ASP-DAC 2025, RoBERTa-base on GLUE
    sparsity: float = 0.245
    unit: WeightUnit = "sram"
    packed: bool = False
    name: ClassVar[str] = "pruned-lora"

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity < 1.0:
            raise MappingError(
                f"sparsity is the share of channels gated off, 0 to below 1, got {self.sparsity:g}."
            )

    @property
    def columns(self) -> ColumnScale:
        """The gates of a weight."""
        kept = 1.0 - self.sparsity
        return ColumnScale(
            kind="gate", bits=1, kept_share=kept, over="channels", packed=self.packed
        )  # fmt: skip

    def apply(self, workload: Workload) -> Workload:
        """The workload with gates on the channels of the weights that its adapter adapts.

        Raises MappingError for one without an adapter.
        """
        if not lora_weights(workload):
            raise MappingError(
                f"pruned-lora gates channels beside LoRA, and workload {workload.name!r} has none: "
                "trace the model with an adapter (--lora-rank)."
            )
        return with_columns(workload, self.columns, lora=True)

    def home(self, op: Linear) -> WeightUnit | None:
        """`unit` for LoRA and what is saved with it."""
        return self.unit if op.in_adapter else None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """The branch of `after`, all gates, magnitudes, and what either saves."""
        gates = written_columns(mapping, self.columns, before, after)
        branch = whole(mapping, lora_weights(after.workload))
        return (*branch, *gates, *magnitudes(mapping, before, after))

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model, whose adapted layers carry gates of whole channels for arrays of this size.

        Raises MappingError for any other model, and for one without an adapter.
        """
        from cimsim.adaptation.layers.columns import check_channels

        if not model.adapters:
            raise MappingError("pruned-lora has LoRA beside its gates, the model has no adapter.")
        found = carrying(model, "pruned-lora", self.columns)
        check_channels(found)
        return found
