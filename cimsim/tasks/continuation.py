"""Log-likelihoods of continuations by a causal model: choices between them, and perplexity.

Sequences are filled up on the right, where a causal model does not look and which its mask says,
and only the tokens before the last one are computed. The vocabulary's logits are computed from the
first to the last position that any sequence of the batch is scored at.

Shapes: D draws side by side, B examples, C choices, R rows (distinct inputs), T positions,
V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from cimsim.frontend.adapters import unwrap
from cimsim.functional import AnalogModel, by_draw, side_by_side
from cimsim.tasks.batching import pad
from cimsim.tasks.classification import to_device_of
from cimsim.tasks.measures import percent, perplexity, right
from cimsim.tasks.task import Example, Metric
from cimsim.values.display import brief

Tokens = tuple[int, ...]


@brief
@dataclass(frozen=True)
class MultipleChoice:
    """One sequence a choice: the prompt with that answer; accuracy in percent.

    A score is the plain log-likelihood of the answer, its sum over tokens (what evaluation
    harnesses call acc, not acc_norm). Answers may differ in number: missing ones score -inf.
    """

    name: str
    train: tuple[Example, ...] = field(repr=False)
    test: tuple[Example, ...] = field(repr=False)
    pad: int = 0
    metric: Metric = "accuracy"

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        """Log-likelihood of each answer in nats, [D, B, C], differentiable."""
        flat = log_likelihoods(model, examples, draws, self.pad)
        most = max(len(example.sequences) for example in examples)
        place = torch.tensor(
            [b * most + c for b, example in enumerate(examples) for c in _choices(example)],
            device=flat.device,
        )
        found = flat.new_full((draws, len(examples) * most), -torch.inf)
        return found.index_copy(1, place, flat).view(draws, len(examples), most)

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """1 for right, 0 for wrong, float64 [D, B]."""
        return right(scores, examples)

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        """Accuracy of each draw in percent."""
        return percent(values)


@brief
@dataclass(frozen=True)
class LanguageModelling:
    """One window of text an example; perplexity, over all tokens of all windows alike."""

    name: str
    train: tuple[Example, ...] = field(repr=False)
    test: tuple[Example, ...] = field(repr=False)
    pad: int = 0
    metric: Metric = "perplexity"

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        """Log-likelihood of each window in nats, [D, B, 1], differentiable."""
        return log_likelihoods(model, examples, draws, self.pad)[..., None]

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """Negative log-likelihood of each window in nats, float64 [D, B]."""
        return -scores[..., 0].detach().cpu().double()

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        """Perplexity of each draw."""
        return perplexity(values, sum(scored_tokens(example) for example in examples))


def scored_tokens(example: Example) -> int:
    """Tokens of an example's sequences that count."""
    pairs = zip(example.sequences, example.starts, strict=True)
    return sum(len(sequence) - start for sequence, start in pairs)


def log_likelihoods(
    model: nn.Module, examples: Sequence[Example], draws: int, fill: int
) -> torch.Tensor:
    """Summed log-likelihood in nats of what counts of every sequence, [D, sequences].

    Sequences of an example that differ in their last token alone, such as yes and no, are computed
    once.
    """
    pairs = [
        (number, sequence, start)
        for number, example in enumerate(examples)
        for sequence, start in zip(example.sequences, example.starts, strict=True)
    ]
    # Within an example only: what is computed must not depend on which examples share a batch.
    rows: dict[tuple[int, Tokens], int] = {}
    for number, sequence, _ in pairs:
        rows.setdefault((number, sequence[:-1]), len(rows))
    first = min(start for _, _, start in pairs) - 1
    logits_DRTV = _logits(model, [row for _, row in rows], first, draws, fill)
    norm_DRT = logits_DRTV.logsumexp(-1)
    counted = [
        (owner, rows[number, sequence[:-1]], i - 1 - first, sequence[i])
        for owner, (number, sequence, start) in enumerate(pairs)
        for i in range(start, len(sequence))
    ]
    owner, row, position, target = torch.tensor(counted, device=norm_DRT.device).T
    terms = logits_DRTV[:, row, position, target] - norm_DRT[:, row, position]
    return terms.new_zeros((draws, len(pairs))).index_add(1, owner, terms)


def _logits(
    model: nn.Module, rows: list[Tokens], first: int, draws: int, fill: int
) -> torch.Tensor:
    """Float32 logits [D, R, T, V] at positions `first` to the last one; 0 in the filling."""
    width = max(len(row) for row in rows)
    found: torch.Tensor | None = None
    for numbers in _together(model, rows):
        part = _call(model, [rows[n] for n in numbers], first, draws, fill)
        if len(numbers) == len(rows):
            return part
        if found is None:
            found = part.new_zeros((draws, len(rows), width - first, part.shape[-1]))
        filled = functional.pad(part, (0, 0, 0, width - first - part.shape[2]))
        found = found.index_copy(1, torch.tensor(numbers, device=part.device), filled)
    assert found is not None
    return found


def _together(model: nn.Module, rows: list[Tokens]) -> list[list[int]]:
    """Rows that are computed in one call: all, or by length where no mask can tell the filling.

    Most tokens first.
    """
    lengths: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        lengths.setdefault(len(row), []).append(number)
    if len(lengths) == 1 or _takes_mask(model):
        return [list(range(len(rows)))]
    return [n for _, n in sorted(lengths.items(), key=lambda item: -item[0] * len(item[1]))]


def _takes_mask(model: nn.Module) -> bool:
    inner = unwrap(model.model if isinstance(model, AnalogModel) else model)
    known = inspect.signature(inner.forward).parameters
    return "attention_mask" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())


def _call(
    model: nn.Module, rows: list[Tokens], first: int, draws: int, fill: int
) -> torch.Tensor:  # fmt: skip
    ids, mask = pad(rows, fill)
    given = {"input_ids": ids}
    if not bool(mask.all()):
        given["attention_mask"] = mask  # causal tokens do not look there, but tiles would
    inputs = to_device_of(model, given)
    keep = torch.arange(first, ids.shape[1], device=inputs["input_ids"].device)
    output = model(**side_by_side(inputs, draws), logits_to_keep=keep, use_cache=False)
    return by_draw(output.logits, draws).float()


def _choices(example: Example) -> range:
    return range(len(example.sequences))
