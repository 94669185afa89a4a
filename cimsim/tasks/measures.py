"""What scores are worth: right answers in percent, and perplexity.

Shapes: D draws, B examples, C choices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cimsim.tasks.task import Example


def right(scores_DBC: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
    """1 where the label has the highest score, else 0, float64 [D, B]; NaN is never right."""
    scores = scores_DBC.detach()
    labels = torch.tensor([example.label for example in examples], device=scores.device)
    found = (scores.argmax(-1) == labels) & ~scores.isnan().any(-1)
    return found.cpu().double()


def percent(values_DB: torch.Tensor) -> list[float]:
    """Mean of each draw in percent."""
    return [100.0 * float(mean) for mean in values_DB.double().mean(1)]


def perplexity(nats_DB: torch.Tensor, tokens: int) -> list[float]:
    """Exponential of the mean nats of a token, for each draw; infinite where it is too large."""
    return [float(mean) for mean in (nats_DB.double().sum(1) / tokens).exp()]
