"""Questions answered in words: the model generates, and the answer that it names is matched.

As HaLoRA evaluates (Wu et al., ACM TODAES 2026): "The correct answer is Answer1". Text in another
format names no answer and counts as wrong, so that this can fall below chance.

Shapes: D draws side by side, B examples, C choices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cimsim.errors import TaskError
from cimsim.functional import by_draw, side_by_side
from cimsim.tasks.classification import to_device_of
from cimsim.tasks.corpora import Question
from cimsim.tasks.measures import percent
from cimsim.tasks.model import TaskModel
from cimsim.tasks.task import Example, Metric
from cimsim.values.display import brief

NEW_TOKENS = 16
"""Choice: the sentence that is matched has 6 to 10 tokens."""
NAMED = re.compile(r"correct answer is\s*:?\s*answer\s*(\d+)", re.IGNORECASE)


@brief
@dataclass(frozen=True)
class GenerateAndMatch:
    """Greedy generation after the prompt; accuracy in percent.

    The score of the answer that the text names is 0, of all others -inf; of an example whose text
    names none, or one that there is not, all are -inf. There is no gradient: adapters are trained
    on likelihoods. `end` ends a text before `new_tokens`.
    """

    name: str
    train: tuple[Example, ...] = field(repr=False)
    test: tuple[Example, ...] = field(repr=False)
    tokenizer: Any = field(repr=False)
    choices: int
    end: int | None = None
    new_tokens: int = NEW_TOKENS
    metric: Metric = "accuracy"

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        """[D, B, C], 0 for the answer named; raises TaskError where gradients are wanted."""
        if torch.is_grad_enabled():
            raise TaskError(
                f"task {self.name!r} generates answers, which have no gradient: train on "
                "likelihoods (scoring='likelihood')."
            )
        found = torch.full((draws, len(examples), self.choices), -torch.inf)
        for numbers in _by_length(examples):
            texts = self.texts(model, [examples[n] for n in numbers], draws)
            for draw, of_draw in enumerate(texts):
                for number, text in zip(numbers, of_draw, strict=True):
                    answer = named_answer(text)
                    if answer is not None and 1 <= answer <= self.choices:
                        found[draw, number, answer - 1] = 0.0
        return found

    def texts(self, model: nn.Module, examples: Sequence[Example], draws: int) -> list[list[str]]:
        """What each of `draws` chips writes after prompts of one length."""
        prompts = torch.tensor([example.sequences[0] for example in examples])
        ids = to_device_of(model, {"input_ids": side_by_side(prompts, draws)})["input_ids"]
        ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        for _ in range(self.new_tokens):
            # Without a cache every token is computed as evaluation computes it elsewhere.
            output = model(input_ids=ids, logits_to_keep=1, use_cache=False)
            token = output.logits[:, -1].argmax(-1)
            ids = torch.cat([ids, token[:, None]], 1)
            if self.end is not None:
                ended |= token == self.end
                if bool(ended.all()):
                    break
        written = by_draw(ids[:, prompts.shape[1] :], draws).tolist()
        return [[self.tokenizer.decode(self._to_end(row)) for row in rows] for rows in written]

    def _to_end(self, tokens: list[int]) -> list[int]:
        return tokens[: tokens.index(self.end)] if self.end in tokens else tokens

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """1 where the right answer is named, else 0, float64 [D, B]."""
        labels = torch.tensor([example.label for example in examples])
        own = scores[:, torch.arange(len(examples)), labels]
        return own.isfinite().cpu().double()

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        """Accuracy of each draw in percent."""
        return percent(values)


def named_answer(text: str) -> int | None:
    """The number in "The correct answer is Answer1", of the first such place."""
    found = NAMED.search(text)
    return None if found is None else int(found.group(1))


def asked(question: Question) -> str:
    """The prompt: the question, its answers by name and the format that is matched."""
    answers = [f"Answer{n}" for n in range(1, len(question.choices) + 1)]
    listed = [
        f"{name}: {choice.strip()}" for name, choice in zip(answers, question.choices, strict=True)
    ]
    return "\n".join(
        [question.prompt, *listed, f"Answer format: The correct answer is {'/'.join(answers)}",
         "Response:"]
    )  # fmt: skip


def generated(
    name: str,
    train: Sequence[Question],
    test: Sequence[Question],
    model: TaskModel,
    limit: int,
) -> GenerateAndMatch:
    """The task of answering in words; a prompt that is too long loses its begin."""
    room = min(limit, model.max_tokens) - NEW_TOKENS

    def encoded(items: Sequence[Question]) -> tuple[Example, ...]:
        rows = model.tokenizer([asked(item) for item in items])["input_ids"] if items else []
        return tuple(
            Example((tuple(row[-room:]),), item.label)
            for row, item in zip(rows, items, strict=True)
        )

    choices = max(len(item.choices) for item in (*train, *test))
    end = model.tokenizer.eos_token_id
    return GenerateAndMatch(name, encoded(train), encoded(test), model.tokenizer, choices, end)


def _by_length(examples: Sequence[Example]) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for number, example in enumerate(examples):
        found.setdefault(len(example.sequences[0]), []).append(number)
    return list(found.values())
