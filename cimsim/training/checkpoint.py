"""The state of a training in one safetensors file, from which it goes on bit for bit.

Random streams are functions of the step (see `streams`) and need no state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from cimsim.errors import TaskError
from cimsim.files import write_bytes
from cimsim.training.callbacks import Evaluated
from cimsim.values.display import brief

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps for a parameter."""


@brief
@dataclass(frozen=True, eq=False)
class State:
    """Steps done, their losses and scores, those of a teacher if there is one; measurements."""

    step: int
    losses: list[float]
    scored: list[float]
    teacher: torch.Tensor | None
    evaluations: list[Evaluated] = field(default_factory=list)


def write_checkpoint(
    path: Path,
    identity: Mapping[str, str],
    state: State,
    parameters: Mapping[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    statistics: Mapping[str, torch.Tensor],
) -> None:
    """Replace `path` by the state; raises OutputError."""
    tensors = {"losses": torch.tensor(state.losses, dtype=torch.float64)}
    tensors["scored"] = torch.tensor(state.scored, dtype=torch.float64)
    tensors["done"] = torch.tensor(state.step)
    if state.teacher is not None:
        tensors["teacher"] = state.teacher
    for name, parameter in parameters.items():
        tensors[f"value {name}"] = parameter.detach()
        for moment in MOMENTS:
            tensors[f"{moment} {name}"] = optimiser.state[parameter][moment]
    tensors |= {f"statistic {name}": buffer for name, buffer in statistics.items()}
    packed = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    text = {
        "identity": json.dumps(dict(identity), sort_keys=True),
        "evaluations": json.dumps([asdict(each) for each in state.evaluations]),
    }
    write_bytes(path, save(packed, metadata=text))


def read_checkpoint(
    path: Path,
    identity: Mapping[str, str],
    parameters: Mapping[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    statistics: Mapping[str, torch.Tensor],
) -> State:
    """Put the state of `path` into parameters and optimiser.

    Raises TaskError for a file that is damaged or belongs to another training, naming what
    differs.
    """
    tensors, written, evaluations = _read(path)
    for part in (*identity, *sorted(written.keys() - identity.keys())):
        if written.get(part) != identity.get(part):
            raise TaskError(
                f"{path}: cannot resume, the checkpoint is of a training with another {part} "
                f"({_short(written.get(part))}, now {_short(identity.get(part))}): give what it "
                "was started with, or start again without resuming."
            )
    _check_names(path, tensors, parameters, statistics)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"value {name}"])
            device = parameter.device
            moments = {m: tensors[f"{m} {name}"].to(device) for m in MOMENTS}
            optimiser.state[parameter] = moments
        for name, buffer in statistics.items():
            buffer.copy_(tensors[f"statistic {name}"])
    losses, scored = tensors["losses"].tolist(), tensors["scored"].tolist()
    return State(int(tensors["done"]), losses, scored, tensors.get("teacher"), evaluations)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], list[Evaluated]]:
    try:
        data = path.read_bytes()
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + size])["__metadata__"]
        found = [Evaluated(**each) for each in json.loads(text["evaluations"])]
        return tensors, json.loads(text["identity"]), found
    except OSError as problem:
        raise TaskError(f"{path}: cannot read the checkpoint: {problem.strerror}.") from None
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise TaskError(f"{path}: the checkpoint is damaged: start again without it.") from None


def _check_names(
    path: Path, tensors: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.nn.Parameter],
    statistics: Iterable[str],
) -> None:  # fmt: skip
    expected: Sequence[str] = [
        "losses", "scored", "done",
        *(f"{kind} {n}" for n in parameters for kind in ("value", *MOMENTS)),
        *(f"statistic {name}" for name in statistics),
    ]  # fmt: skip
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise TaskError(f"{path}: the checkpoint lacks {missing[0]!r}: start again without it.")


def _short(text: str | None) -> str:
    return "none" if text is None else text if len(text) <= 60 else f"{text[:60]}..."
