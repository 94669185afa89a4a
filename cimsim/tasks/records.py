"""A task of the user's own: a JSON Lines file, one example a line.

{"text": ..., "label": 0}, with "pair" for a second text: for encoders.
{"prompt": ..., "choices": [...], "label": 0}: for causal models.
{"text": ...}: perplexity of a causal model.
Each may have "split": "train" or "test". Without any, a permutation of the lines with seed 0
gives every fifth to test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from cimsim.errors import TaskError
from cimsim.tasks.corpora import SPLIT_SEED, Labelled, Question, TrainTest
from cimsim.values.display import brief
from cimsim.values.parsing import parse_json

Form = Literal["classification", "choice", "text"]
TEST_SHARE = 5
"""One line in as many goes to test where the file has no splits."""
_FIELDS: dict[Form, tuple[str, ...]] = {
    "classification": ("text", "label", "pair", "split"),
    "choice": ("prompt", "choices", "label", "split"),
    "text": ("text", "split"),
}


@dataclass(frozen=True)
class Line:
    """One example as it was read; `where` is its place, for errors."""

    where: str
    data: Mapping[str, Any]

    def fail(self, what: str) -> NoReturn:
        """Raise TaskError saying where `what` is wrong."""
        raise TaskError(f"{self.where}: {what}")

    def text(self, field: str) -> str:
        """A text that is not empty."""
        found = self.data.get(field)
        if not isinstance(found, str) or not found.strip():
            self.fail(f"{field} is to be a text that is not empty, got {_shown(self.data, field)}.")
        return found

    def label(self) -> int:
        """The number of the right answer."""
        found = self.data.get("label")
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            self.fail(f"label is to be a whole number from 0 on, got {_shown(self.data, 'label')}.")
        return found


@brief
@dataclass(frozen=True)
class Records:
    """What a file holds: its form, its examples by split, and the lines that they are from."""

    form: Form
    items: TrainTest[Labelled | Question | str]
    lines: tuple[Line, ...] = field(repr=False)

    @property
    def labels(self) -> int:
        """One more than the largest label."""
        items = (*self.items.train, *self.items.test)
        return 1 + max((item.label for item in items if not isinstance(item, str)), default=-1)

    def check_labels(self, limit: int, why: str) -> None:
        """Raise TaskError, with the line, for a label from `limit` on; `why` says whose limit."""
        for line in self.lines:
            if line.label() >= limit:
                line.fail(
                    f"label {line.label()} is out of range: {why}, so labels are 0 to {limit - 1}."
                )


def read_records(path: Path) -> Records:
    """Read the JSON Lines file at `path`; raises TaskError with file and line."""
    return records_of(path, _lines(path))


def records_of(source: object, lines: Sequence[Line]) -> Records:
    """The examples of `lines`, of which there is one or more; raises TaskError.

    `source` is what they come from, for errors.
    """
    form = _form(lines[0])
    items = [_item(line, form) for line in lines]
    sides = [_side(line) for line in lines]
    if not any(sides):
        test = _share(len(items))
        sides = ["test" if i in test else "train" for i in range(len(items))]
    for line, side in zip(lines, sides, strict=True):
        if side is None:
            line.fail("no split, but other lines have one. Give one to every line, or to none.")
    if "test" not in sides:
        raise TaskError(f'{source}: no line has "split": "test", so nothing can be measured.')
    pairs = list(zip(items, sides, strict=True))
    train, test_items = (tuple(i for i, side in pairs if side == s) for s in ("train", "test"))
    return Records(form, TrainTest(train, test_items), tuple(lines))


def _lines(path: Path) -> list[Line]:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise TaskError(f"{path}: cannot read the task file: {reason}.") from None
    lines = [
        Line(f"{path}: line {number}", _parsed(path, number, line))
        for number, line in enumerate(content.split("\n"), 1)
        if line.strip()
    ]
    if not lines:
        raise TaskError(f"{path}: the task file is empty. Write one JSON object a line.")
    return lines


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        data = parse_json(line)
    except ValueError as problem:
        reason = problem.msg if isinstance(problem, json.JSONDecodeError) else problem
        raise TaskError(f"{path}: line {number}: this is not valid JSON: {reason}.") from None
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise TaskError(
            f"{path}: line {number}: an escape such as \\ud800 alone is half a character, no text."
        ) from None
    if not isinstance(data, dict):
        raise TaskError(f"{path}: line {number}: a line is to be a JSON object.")
    return data


def _form(line: Line) -> Form:
    if "prompt" in line.data or "choices" in line.data:
        return "choice"
    return "classification" if "label" in line.data else "text"


def _item(line: Line, form: Form) -> Labelled | Question | str:
    known = _FIELDS[form]
    unknown = sorted(set(line.data) - set(known))
    if unknown:
        line.fail(f"{unknown[0]!r} is not known here; a line of this file has {', '.join(known)}.")
    makers: dict[Form, Callable[[Line], Labelled | Question | str]] = {
        "classification": _labelled, "choice": _question, "text": lambda line: line.text("text"),
    }  # fmt: skip
    return makers[form](line)


def _labelled(line: Line) -> Labelled:
    pair = line.text("pair") if "pair" in line.data else None
    return Labelled(line.text("text"), line.label(), pair)


def _question(line: Line) -> Question:
    choices = line.data.get("choices")
    if (
        not isinstance(choices, list)
        or len(choices) < 2
        or not all(isinstance(choice, str) and choice.strip() for choice in choices)
    ):
        line.fail(f"choices are to be 2 texts or more, got {_shown(line.data, 'choices')}.")
    if line.label() >= len(choices):
        line.fail(
            f"label {line.label()} is out of range: there are {len(choices)} choices, so labels "
            f"are 0 to {len(choices) - 1}."
        )
    spaced = tuple(c if c[0].isspace() else f" {c}" for c in choices)
    return Question(line.text("prompt").rstrip(), spaced, line.label())


def _side(line: Line) -> str | None:
    side = line.data.get("split")
    if "split" in line.data and side not in ("train", "test"):
        line.fail(f"split is train or test, got {_shown(line.data, 'split')}.")
    return side


def _share(count: int) -> set[int]:
    order: Sequence[int] = np.random.default_rng(SPLIT_SEED).permutation(count).tolist()
    return set(order[: max(1, count // TEST_SHARE)])


def _shown(data: Mapping[str, Any], field: str) -> str:
    return repr(data[field])[:60] if field in data else "nothing"
