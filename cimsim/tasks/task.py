"""What a task is: labelled examples, how a model scores them, and what a score is worth.

Shapes: D noise draws side by side, B examples, C choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn

from cimsim.values.display import brief

Metric = Literal["accuracy", "perplexity"]


@brief
@dataclass(frozen=True)
class Example:
    """One question: a token sequence, or one for each choice, and the number of the right answer.

    `starts` holds, for tasks that score continuations, the position in each sequence of the
    first token that counts; classification leaves it empty.
    """

    sequences: tuple[tuple[int, ...], ...]
    label: int
    starts: tuple[int, ...] = ()


class Task(Protocol):
    """Tokenised data with its measure; the tokeniser it was made with belongs to one model."""

    @property
    def name(self) -> str:
        """Name in reports."""

    @property
    def metric(self) -> Metric:
        """What `summary` returns: accuracy in percent (higher is better), or perplexity."""

    @property
    def train(self) -> Sequence[Example]:
        """Examples to train on; empty where the task is for evaluation only."""

    @property
    def test(self) -> Sequence[Example]:
        """Examples to evaluate on, none of them in `train`."""

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        """Scores [D, B, C] of a batch, differentiable: logits, or log-likelihoods in nats.

        `model` may hold `draws` chips side by side (`cimsim.functional.side_by_side`). For
        perplexity C is 1 and the score the log-likelihood of the example's tokens.
        """

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """What each example contributes, float64 [D, B]: 1 for right and 0 for wrong, or nats."""

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        """The metric of each draw from `values` of all `examples`."""
