"""Classification of sequences by an encoder.

Shapes: D draws side by side, B examples, C labels, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from cimsim.functional import by_draw, side_by_side
from cimsim.tasks.batching import pad
from cimsim.tasks.measures import percent, right
from cimsim.tasks.task import Example, Metric
from cimsim.values.display import brief


@brief
@dataclass(frozen=True)
class Classification:
    """One sequence an example, one score a label; accuracy in percent.

    `second_after` is the token behind which the second of two texts begins, for models that are
    told which text a token belongs to (BERT's token types).
    """

    name: str
    train: tuple[Example, ...] = field(repr=False)
    test: tuple[Example, ...] = field(repr=False)
    labels: int
    pad: int = 0
    second_after: int | None = None
    metric: Metric = "accuracy"

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        """Logits [D, B, C] of a batch, differentiable."""
        ids, mask = pad([example.sequences[0] for example in examples], self.pad)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.second_after is not None:
            inputs["token_type_ids"] = second_text(ids, self.second_after) * mask
        output = model(**side_by_side(to_device_of(model, inputs), draws))
        logits = output if isinstance(output, torch.Tensor) else output.logits
        return by_draw(logits, draws)

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """1 for right, 0 for wrong, float64 [D, B]."""
        return right(scores, examples)

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        """Accuracy of each draw in percent."""
        return percent(values)


def second_text(ids_BT: torch.Tensor, separator: int) -> torch.Tensor:
    """1 behind the first separator of each row, else 0."""
    ends = (ids_BT == separator).long()
    return ((ends.cumsum(1) - ends) > 0).long()


def to_device_of(model: nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`inputs` where the parameters of `model` are."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return {name: tensor.to(device) for name, tensor in inputs.items()}
