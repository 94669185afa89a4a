"""Tasks by name, from a file, or made by the user's own function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cimsim.errors import TaskError
from cimsim.tasks.classification import Classification
from cimsim.tasks.continuation import LanguageModelling, MultipleChoice
from cimsim.tasks.corpora import (
    Labelled,
    Question,
    TrainTest,
    read_boolq,
    read_brown,
    read_piqa,
    read_sentiment,
)
from cimsim.tasks.domains import DOMAINS, TOPICS, read_domain, read_mail, read_news
from cimsim.tasks.encode import encode_labelled, encode_questions, encode_windows
from cimsim.tasks.generation import GenerateAndMatch, generated
from cimsim.tasks.model import Kind, TaskModel
from cimsim.tasks.records import Records, read_records
from cimsim.tasks.tables import MARK, is_table, read_table
from cimsim.tasks.task import Task
from cimsim.values.arguments import checked

SENTENCE_TOKENS = 128
PAIR_TOKENS = 256
PROMPT_TOKENS = 512
WINDOW_TOKENS = 256
BROWN_WINDOWS = 40
"""10,240 tokens, from texts of every genre."""
TASKS: dict[str, tuple[Kind, ...]] = {
    "sentiment": ("encoder", "causal"),
    **dict.fromkeys(DOMAINS, ("encoder", "causal")),
    "news": ("encoder",),
    "spam": ("encoder",),
    "boolq": ("encoder", "causal"),
    "piqa": ("causal",),
    "brown": ("causal",),
}
"""Tasks by name, and the kinds of model that each is for."""

_READERS: dict[str, Callable[[], TrainTest[Labelled]]] = {
    "sentiment": read_sentiment,
    "boolq": read_boolq,
    **{name: partial(read_domain, name) for name in DOMAINS},
    "news": read_news,
    "spam": read_mail,
}

SCORINGS = ("likelihood", "generate")
"""How answers to questions are scored: by their likelihood, or generated and matched."""
TaskSource = str | Path | Task | Callable[[TaskModel], Task]


@checked(TaskError)
def load_task(source: TaskSource, model: TaskModel, scoring: str = "likelihood") -> Task:
    """The task `source`, tokenised for `model`; `scoring` is for questions to causal models.

    `source` is a name (a key of `TASKS`), a JSON Lines file (see `records`), a data set (see
    `tables`), a function that makes a task for a model, or a task, which is handed back. Raises
    TaskError for a task that does not fit the model, and for data that are absent or broken.
    """
    if scoring not in SCORINGS:
        raise TaskError(f"scoring is one of {', '.join(SCORINGS)}, got {scoring!r}.")
    if not isinstance(source, str | Path):
        if scoring != "likelihood":
            raise TaskError("scoring is for tasks by name or from a file; this one scores itself.")
        return source(model) if callable(source) else source
    if str(source) in TASKS:
        return _scored(_named(str(source), model, scoring), scoring)
    return _scored(_from_records(_path(source), _records(source), model, scoring), scoring)


@checked(TaskError)
def label_count(source: str | Path) -> int:
    """Labels to load a model with for a task: 5 for news, else 2 for named ones, 1 for text."""
    if source == "news":
        return len(TOPICS)
    if str(source) in TASKS:
        return 2
    return max(1, _records(source).labels)


def _records(source: str | Path) -> Records:
    if is_table(source):
        return read_table(source)
    if Path(source).is_file():
        return read_records(Path(source))
    raise TaskError(
        f"{source}: no such task. Name one of {', '.join(TASKS)}, a JSON Lines file, or a data set "
        "(a folder, or a file of Parquet, CSV or Arrow)."
    )


def _path(source: str | Path) -> Path:
    """A file or folder without what is said about its columns."""
    return Path(str(source).partition(MARK)[0])


def _scored(task: Task, scoring: str) -> Task:
    if scoring == "generate" and not isinstance(task, GenerateAndMatch):
        raise TaskError(
            f"task {task.name!r} has no questions with answers that could be generated: leave "
            "scoring out, or ask a causal model piqa, boolq, sentiment or a file of choices."
        )
    return task


def _named(name: str, model: TaskModel, scoring: str) -> Task:
    _require(name, TASKS[name], model)
    if name == "brown":
        return _brown(model)
    if name == "piqa":
        return _choice(name, read_piqa(), model, scoring)
    split = _READERS[name]()
    if model.kind == "causal":
        ask = _yes_or_no if name == "boolq" else _tone
        asked = TrainTest(*(tuple(map(ask, side)) for side in _sides(split)))
        return _choice(name, asked, model, scoring)
    labels = label_count(name)
    if model.labels != labels:
        raise TaskError(
            f"task {name!r} has {labels} labels, the head of {model.name!r} tells {model.labels} "
            f"apart. Load the model with {labels} labels."
        )
    return _classification(name, split, model)


def _from_records(path: Path, records: Records, model: TaskModel, scoring: str) -> Task:
    kind: Kind = "encoder" if records.form == "classification" else "causal"
    _require(path.name, (kind,), model)
    split: Any = records.items
    if records.form == "choice":
        return _choice(path.stem, split, model, scoring)
    if records.form == "classification":
        records.check_labels(model.labels, f"the head of {model.name!r} tells {model.labels} apart")
        return _classification(path.stem, split, model)
    train, test = (encode_windows(side, model, WINDOW_TOKENS) for side in _sides(split))
    if not test:
        raise TaskError(f"{path}: no text to test on has 2 tokens or more.")
    return LanguageModelling(path.stem, train, test, model.pad)


def _require(task: str, kinds: tuple[Kind, ...], model: TaskModel) -> None:
    if model.kind in kinds:
        return
    fitting = [name for name, own in TASKS.items() if model.kind in own]
    raise TaskError(
        f"task {task!r} is for {' and '.join(kinds)} models, {model.name!r} is {_article(model)}. "
        f"Choose another model, or one of {', '.join(fitting)}."
    )


def _article(model: TaskModel) -> str:
    return "an encoder" if model.kind == "encoder" else "a causal model"


def _sides(split: TrainTest[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return split.train, split.test


def _classification(name: str, split: TrainTest[Labelled], model: TaskModel) -> Classification:
    paired = split.test[0].pair is not None
    limit = PAIR_TOKENS if paired else SENTENCE_TOKENS
    train, test = (encode_labelled(side, model, limit) for side in _sides(split))
    second = model.tokenizer.sep_token_id if paired and model.takes_token_types else None
    return Classification(name, train, test, model.labels, model.pad, second)


def _choice(
    name: str, split: TrainTest[Question], model: TaskModel, scoring: str
) -> MultipleChoice | GenerateAndMatch:
    if scoring == "generate":
        return generated(name, *_sides(split), model, PROMPT_TOKENS)
    train, test = (encode_questions(side, model, PROMPT_TOKENS) for side in _sides(split))
    return MultipleChoice(name, train, test, model.pad)


def _tone(item: Labelled) -> Question:
    return Question(f"{item.text}\nSentiment:", (" negative", " positive"), item.label)


def _yes_or_no(item: Labelled) -> Question:
    return Question(
        f"{item.pair}\nQuestion: {item.text}?\nAnswer:", (" no", " yes"), item.label
    )  # fmt: skip


def _brown(model: TaskModel) -> LanguageModelling:
    """The first window of 40 texts, spread evenly over the 500 and so over the genres."""
    texts = read_brown()
    chosen = [texts[i * len(texts) // BROWN_WINDOWS] for i in range(BROWN_WINDOWS)]
    # A token of prose has about 4 characters; 16 are enough for a window and quick to encode.
    cut = [text[: WINDOW_TOKENS * 16] for text in chosen]
    windows = [encode_windows([text], model, WINDOW_TOKENS)[0] for text in cut]
    return LanguageModelling("brown", (), tuple(windows), model.pad)
