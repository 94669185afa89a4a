"""Texts become token sequences: for classifiers, for choices, and for windows of prose."""

from __future__ import annotations

from collections.abc import Sequence

from cimsim.errors import TaskError
from cimsim.tasks.corpora import Labelled, Question
from cimsim.tasks.model import TaskModel
from cimsim.tasks.task import Example

Tokens = tuple[int, ...]


def encode_labelled(
    items: Sequence[Labelled], model: TaskModel, limit: int
) -> tuple[Example, ...]:  # fmt: skip
    """One sequence of at most `limit` tokens an item; of a pair the longer text is cut."""
    limit = min(limit, model.max_tokens)
    found: list[Example] = []
    for paired in (False, True):
        chosen = [i for i, item in enumerate(items) if (item.pair is not None) == paired]
        if len(chosen) not in (0, len(items)):
            raise TaskError("either all texts of a task have a pair, or none has one.")
        if chosen:
            texts = [item.text for item in items]
            pairs = [item.pair for item in items] if paired else None
            rows = model.tokenizer(texts, pairs, truncation=True, max_length=limit)["input_ids"]
            found = [Example((tuple(r),), i.label) for r, i in zip(rows, items, strict=True)]
    return tuple(found)


def encode_questions(
    items: Sequence[Question], model: TaskModel, limit: int
) -> tuple[Example, ...]:  # fmt: skip
    """One sequence a choice, prompt and continuation; a prompt that is too long loses its begin.

    What counts begins at the first token in which prompt and whole sequence differ.
    """
    limit = min(limit, model.max_tokens)
    prompts = _plain([item.prompt for item in items], model)
    wholes = iter(_plain([i.prompt + choice for i in items for choice in i.choices], model))
    lead = _lead(model)
    found = []
    for item, prompt in zip(items, prompts, strict=True):
        rows = [next(wholes) for _ in item.choices]
        starts = [_start(prompt, row) for row in rows]
        cut = _surplus(rows, starts, limit - len(lead))
        if cut == 0 and len(lead) + min(starts) == 0:
            raise TaskError("a question needs a prompt that is not empty.")
        sequences = tuple(lead + row[cut:] for row in rows)
        found.append(Example(sequences, item.label, tuple(len(lead) + n - cut for n in starts)))
    return tuple(found)


def encode_windows(texts: Sequence[str], model: TaskModel, window: int) -> tuple[Example, ...]:
    """Windows of up to `window` tokens, side by side; every token but a window's first counts."""
    window = min(window, model.max_tokens)
    lead = _lead(model)
    size = window - len(lead)
    found = []
    for tokens in _plain(texts, model):
        for at in range(0, len(tokens), size):
            sequence = lead + tokens[at : at + size]
            if len(sequence) > 1:
                found.append(Example((sequence,), 0, (1,)))
    return tuple(found)


def _start(prompt: Tokens, whole: Tokens) -> int:
    same = (a == b for a, b in zip(prompt, whole, strict=False))
    start = next((i for i, equal in enumerate(same) if not equal), min(len(prompt), len(whole)))
    if start == len(whole):
        raise TaskError("a question needs choices that are not empty.")
    return start


def _surplus(rows: list[Tokens], starts: list[int], room: int) -> int:
    """Tokens that the prompt has too many, the same for every choice."""
    answer = max(len(row) - start for row, start in zip(rows, starts, strict=True))
    surplus = max(0, max(map(len, rows)) - room)
    if surplus and surplus >= min(starts):
        raise TaskError(
            f"a choice has {answer} tokens, the model takes {room} with the prompt. Shorten it."
        )
    return surplus


def _lead(model: TaskModel) -> Tokens:
    """The token that the tokeniser puts before every text, if any."""
    first = model.tokenizer("")["input_ids"][:1]
    return tuple(token for token in first if token == model.tokenizer.bos_token_id)


def _plain(texts: Sequence[str], model: TaskModel) -> list[Tokens]:
    rows = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return [tuple(row) for row in rows]
