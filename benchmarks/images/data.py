"""Fashion-MNIST as a base task and five others: the same garments seen in other ways.

Images are of Zalando's Fashion-MNIST (MIT licence) as Debian packages them
(`dataset-fashion-mnist`, 0.0~git20200523); cimsim ships none of them.
Shapes: D draws side by side, B examples.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cimsim.functional import by_draw
from cimsim.tasks.measures import percent, right
from cimsim.tasks.task import Example, Metric

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian puts it."""
SIDE, CLASSES = 28, 10
BASE_TRAIN, TRAIN, TEST = 20_000, 2_000, 1_000
"""Images that the base network learns from, those of each task behind them; of the test split."""
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def turned(images: torch.Tensor) -> torch.Tensor:
    """By a quarter."""
    return images.rot90(1, (-2, -1))


def negative(images: torch.Tensor) -> torch.Tensor:
    """Light for dark."""
    return 1.0 - images


def edges(images: torch.Tensor) -> torch.Tensor:
    """The size of the gradient (Sobel), at most 1: a drawing."""
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None]
    return (functional.conv2d(images, kernels, padding=1).norm(dim=1, keepdim=True) / 4.0).clamp(
        0, 1
    )


def coarse(images: torch.Tensor) -> torch.Tensor:
    """In squares of 4 x 4 pixels."""
    return functional.avg_pool2d(images, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)


def halves(images: torch.Tensor) -> torch.Tensor:
    """The left half where the right one was: a shift by half of the width, around the edge."""
    return images.roll(SIDE // 2, -1)


DOMAINS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "turned": turned,
    "negative": negative,
    "edges": edges,
    "coarse": coarse,
    "halves": halves,
}
TASKS = tuple(DOMAINS)


@cache
def images(folder: Path, split: str) -> tuple[torch.Tensor, list[int]]:
    """Images [B, 1, 28, 28] in 0 .. 1 and labels of `split`, train or t10k."""
    pixels = np.frombuffer(_read(folder / f"{split}-images-idx3-ubyte.gz"), np.uint8, offset=16)
    labels = np.frombuffer(_read(folder / f"{split}-labels-idx1-ubyte.gz"), np.uint8, offset=8)
    found = torch.from_numpy(pixels.copy()).float().view(-1, 1, SIDE, SIDE) / 255.0
    return found, labels.tolist()


def _read(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except OSError as problem:
        raise SystemExit(
            f"{path}: {problem.strerror}. Install Debian's package dataset-fashion-mnist, or "
            "unpack it and name its folder (--data)."
        ) from None


@dataclass(frozen=True)
class ImageTask:
    """A task of cimsim whose examples are one token each: the number of an image in `pixels`."""

    name: str
    train: tuple[Example, ...] = field(repr=False)
    test: tuple[Example, ...] = field(repr=False)
    pixels: torch.Tensor = field(repr=False)
    labels: int = CLASSES
    metric: Metric = "accuracy"

    def scores(self, model: nn.Module, examples: Sequence[Example], draws: int = 1) -> torch.Tensor:
        """Logits [D, B, 10]."""
        batch = self.pixels[[example.sequences[0][0] for example in examples]]
        return by_draw(model(images=batch.repeat(draws, 1, 1, 1)), draws)

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """1 for right, 0 for wrong, [D, B]."""
        return right(scores, examples)

    def summary(self, values: torch.Tensor, examples: Sequence[Example]) -> list[float]:
        """Percent right of each draw."""
        return percent(values)


def task(folder: Path, name: str) -> ImageTask:
    """The task `name`, or `base`, the garments as they are."""
    (train, train_labels), (test, test_labels) = images(folder, "train"), images(folder, "t10k")
    first, count = (0, BASE_TRAIN) if name == "base" else (BASE_TRAIN, TRAIN)
    seen = torch.cat([train[first : first + count], test[:TEST]])
    labels = train_labels[first : first + count] + test_labels[:TEST]
    examples = tuple(Example(((i,),), label) for i, label in enumerate(labels))
    pixels = seen if name == "base" else DOMAINS[name](seen)
    return ImageTask(name, examples[:count], examples[count:], pixels.contiguous())
