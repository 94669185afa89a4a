"""A pool of frozen LoRA adapters with the coefficients and magnitudes of a task, in directories.

pool.safetensors holds the pool, the same bytes for every task of it; fusion.safetensors what the
task has trained: `coefficients BLOCK`, magnitudes, and the modules saved with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import nn

from cimsim.adaptation.layers.pooled import Pair, pooled_layers, put_pools
from cimsim.adaptation.pool import block_of
from cimsim.errors import MappingError, TaskError
from cimsim.files import write_bytes
from cimsim.functional.mode import learning
from cimsim.training.parts import Fusion
from cimsim.training.record import RECORD_FILE, Record, load_record, raw_bytes
from cimsim.training.tensors import (
    check_base,
    check_modules,
    check_tensors,
    fill,
    on_cpu,
    read_tensors,
    release,
    saved_modules,
    twin,
)
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.tasks.model import TaskModel

POOL_FILE, FUSION_FILE = "pool.safetensors", "fusion.safetensors"
COEFFICIENTS = "coefficients "
"""Begins the names of coefficients; the block's follows."""
A, B = ".lora_A", ".lora_B"
"""End the names of the matrices of a pool."""
Pools = dict[str, tuple[list[Pair], float]]
"""A and B of each adapter and their scaling, by the path of the layer."""
Lora = dict[str, tuple[torch.Tensor, torch.Tensor, float]]
"""A, B and scaling of one adapter, by the path of the layer."""


@checked(TaskError)
def fused(model: TaskModel, part: Fusion, pools: Pools, seed: int = 0) -> nn.Module:
    """The model with a pool on its layers, in training mode; coefficients follow from `seed`.

    What learns are coefficients, magnitudes and the saved modules, which get memory of their own.
    Raises TaskError for a pool that does not fit the model, and for saved modules that it has not.
    """
    saved = saved_modules(model, part)
    check_modules(model, "saved modules", saved)
    own = twin(model.module)
    try:
        own = put_pools(own, pools, cross=part.cross, magnitudes=part.magnitudes, seed=seed)
    except MappingError as problem:
        raise TaskError(f"the pool does not fit model {model.name!r}: {problem}") from None
    release(own, saved)
    own.saved_modules = tuple(saved)  # type: ignore[assignment]
    learning(own)
    return own


def joined(adapters: Sequence[Lora]) -> Pools:
    """The pool of these adapters, in their order.

    Raises TaskError for adapters of other layers or scalings; shapes are for the layers to say.
    """
    first = adapters[0]
    for number, other in enumerate(adapters[1:], 2):
        if odd := sorted(set(first) ^ set(other)):
            raise TaskError(
                f"adapter {number} of the pool is on other layers than the first ({odd[0]}): "
                "adapters of a pool adapt the same layers."
            )
        for path, (_, _, scaling) in other.items():
            if scaling != first[path][2]:
                raise TaskError(
                    f"{path}: adapter {number} of the pool has the scaling {scaling:g}, the first "
                    f"{first[path][2]:g}: those of a pool have one (alpha / r)."
                )
    return {
        path: ([(other[path][0], other[path][1]) for other in adapters], scaling)
        for path, (_, _, scaling) in first.items()
    }


def coefficients_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The coefficients [adapters] of each block of `model`."""
    return {block_of(path): layer.coefficients for path, layer in pooled_layers(model).items()}


def fusion_loss(model: nn.Module, part: Fusion) -> torch.Tensor:
    """Penalty p mean |c| + d / 2 sum c^2 of all coefficients c; see `Fusion`."""
    every = torch.cat(list(coefficients_of(model).values()))
    penalty = part.coefficient_penalty * every.abs().mean()
    return penalty + 0.5 * part.coefficient_decay * every.square().sum()


def pool_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A [adapters, rank, in], B [adapters, out, rank] and the scaling of each layer; frozen."""
    state = {}
    for path, layer in pooled_layers(model).items():
        a, b, shape = layer.lora_A.weight, layer.lora_B.weight, (layer.adapters, layer.rank)
        state[f"{path}{A}"] = a.detach().view(*shape, -1)
        state[f"{path}{B}"] = b.detach().view(-1, *shape).transpose(0, 1)
        state[f"{path}.scaling"] = torch.tensor(layer.scaling, dtype=torch.float64)
    return state


def fusion_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a task has trained over a pool, by name."""
    layers = pooled_layers(model)
    owners = {id(layer.coefficients) for layer in layers.values()}
    state = {f"{COEFFICIENTS}{block}": c.detach() for block, c in coefficients_of(model).items()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in owners:
            state[name] = parameter.detach()
    return state


def pool_digest(model: nn.Module) -> str | None:
    """sha256 of the names and values of the pool; None without one."""
    state = pool_state(model)
    if not state:
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


@checked(TaskError)
def save_fusion(model: nn.Module, directory: str | Path, record: Record) -> None:
    """Write the pool, what was trained and training.json; TaskError if a file cannot be."""
    path = Path(directory)
    write_bytes(path / POOL_FILE, save(on_cpu(pool_state(model))))
    write_bytes(path / FUSION_FILE, save(on_cpu(fusion_state(model))))
    record.save(path)


@checked(TaskError)
def load_fusion(model: TaskModel, directory: str | Path) -> nn.Module:
    """The pool and the coefficients in `directory` on the exact model, in evaluation mode.

    Raises TaskError for missing or broken files and for a pool of another model.
    """
    path = Path(directory)
    state, pool = read_tensors(path / FUSION_FILE), read_tensors(path / POOL_FILE)
    record = load_record(path)
    if record is None or record.method.fusion is None:
        raise TaskError(f"{path}: {RECORD_FILE} is missing or of a training without a pool.")
    part = record.method.fusion
    check_base(model, path, saved_modules(model, part))
    try:
        found = fused(model, part, _pools(pool))
    except TaskError as problem:
        raise TaskError(f"{path}: {problem}") from None
    check_tensors(f"{path}: made for another model than {model.name!r}", state, fusion_state(found))
    if record.pool_sha256 != pool_digest(found):
        raise TaskError(
            f"{path}: {POOL_FILE} is another pool than that whose coefficients are in "
            f"{FUSION_FILE}: copy the one that the training left."
        )
    with torch.no_grad():
        for block, coefficients in coefficients_of(found).items():
            coefficients.copy_(state[f"{COEFFICIENTS}{block}"])
    fill(found, state)
    return found.eval()


def _pools(state: dict[str, torch.Tensor]) -> Pools:
    """The adapters of each layer in a file; TaskError where matrices are missing or odd."""
    found: Pools = {}
    for name, a in state.items():
        layer, end, _ = name.partition(A)
        if not end:
            continue
        b, scaling = state.get(f"{layer}{B}"), state.get(f"{layer}.scaling")
        if b is None or scaling is None or a.dim() != 3 or b.dim() != 3 or len(a) != len(b):
            raise TaskError(
                f"{POOL_FILE} is damaged: {layer} has not as many matrices B as A, and a scaling."
            )
        found[layer] = (list(zip(a, b, strict=True)), float(scaling))
    if not found:
        raise TaskError(f"{POOL_FILE} has no adapters.")
    return found
