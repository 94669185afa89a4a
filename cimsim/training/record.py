"""How an adapter or a model was made: training.json, beside its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cimsim.errors import TaskError
from cimsim.files import load_json, write_text
from cimsim.tasks.task import Example
from cimsim.training.method_json import method_from_json, method_to_json
from cimsim.training.methods import Method
from cimsim.values.arguments import checked
from cimsim.values.display import brief
from cimsim.version import VERSION

RECORD_FILE = "training.json"
SHOWN_LOSSES = 100


def versions() -> dict[str, str]:
    """Versions of cimsim and of the packages whose arithmetic a training depends on."""
    return {"cimsim": VERSION} | {name: version(name) for name in ("torch", "transformers", "peft")}


@brief
@dataclass(frozen=True)
class Record:
    """All that a training depended on, by value or by digest.

    `losses` are means over equal parts of the training, at most 100 of them. `data_sha256` is of
    the training examples, `base_sha256` of the weights that were adapted (in `base_dtype`, saved
    modules left out), `start_sha256` of the adapter that it started from, `mapping_sha256` of the
    mapping, `pool_sha256` of the frozen adapters that coefficients are over. `precision`
    is what torch's products were set to for it, if anything. `sources` is what the
    caller adds, such as names and hashes of downloaded packages.
    """

    method: Method
    seed: int
    model: str
    task: str
    train_examples: int
    data_sha256: str
    base_sha256: str
    base_dtype: str
    steps: int
    losses: tuple[float, ...] = ()
    start_sha256: str | None = None
    mapping_sha256: str | None = None
    architecture: str | None = None
    pool_sha256: str | None = None
    precision: str | None = None
    versions: Mapping[str, str] = field(default_factory=versions)
    sources: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object in the file."""
        return {**asdict(self), "method": method_to_json(self.method), "losses": [*self.losses]}

    def save(self, directory: Path) -> None:
        """Write training.json; raises OutputError."""
        text = json.dumps(self.to_json(), indent=1, sort_keys=True, allow_nan=False)
        write_text(directory / RECORD_FILE, text + "\n")


@checked(TaskError)
def load_record(directory: Path) -> Record | None:
    """The record in `directory`; None without one, TaskError if it is broken."""
    path = directory / RECORD_FILE
    if not path.exists():
        return None
    value = load_json(path, TaskError, "training record")
    known = {f.name for f in fields(Record)}
    if isinstance(value, dict):  # older records say nothing of what they did not have
        value.setdefault("pool_sha256", None)
        value.setdefault("precision", None)
    if not isinstance(value, dict) or set(value) != known:
        odd = sorted(known ^ set(value)) if isinstance(value, dict) else ["object"]
        raise TaskError(f"{path}: missing or unknown: {', '.join(odd)}; train again.")
    value["method"] = method_from_json(value["method"], f"{path}: method")
    value["losses"] = tuple(value["losses"])
    return Record(**value)


def smoothed(losses: Sequence[float], parts: int = SHOWN_LOSSES) -> tuple[float, ...]:
    """Means over at most `parts` equal runs of `losses`, to six digits."""
    count = min(parts, len(losses))
    cuts = [i * len(losses) // count for i in range(count + 1)] if count else []
    runs = [losses[a:b] for a, b in pairwise(cuts)]
    return tuple(float(f"{sum(run) / len(run):.6g}") for run in runs)


def digest_of_examples(examples: Iterable[Example]) -> str:
    """sha256 of tokens, labels and starts."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.sequences, example.label, example.starts)).encode())
    return digest.hexdigest()


def digest_of_weights(module: nn.Module, without: Sequence[str] = ()) -> str:
    """sha256 of names and values of the parameters, modules called `without` left out."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.named_parameters()):
        if not any(f".{part}." in f".{name}" for part in without):
            digest.update(name.encode())
            digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def raw_bytes(tensor: torch.Tensor) -> Any:
    """The values of a tensor of any type, in order."""
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return flat.numpy()


def dtype_of(module: nn.Module) -> str:
    """Type of the first parameter, such as float32."""
    return str(next(module.parameters()).dtype).removeprefix("torch.")
